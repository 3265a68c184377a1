"""Prediction on a video of one's own: the trained ensemble, the instruments that it knows, and what it reads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from prefect import task
from prefect.cache_policies import NO_CACHE

from storage.feature_store import FeatureStore
from storage.schema import AlignedDataset, fingerprint
from tasks.align import aligner_of
from tasks.champion import Ensemble, ensemble, serving
from tasks.evaluate import read_result
from tasks.extract import Instrument, Step, instruments_of, segment_states
from tasks.features.text import tokenizer
from tasks.features.words import Aligner
from tasks.pack import aligned_dataset
from tasks.progress import Progress
from tasks.segmentation import Limits
from tasks.train import PIECES
from tasks.word_rows import word_rows

if TYPE_CHECKING:
    from dmd_model.attribution import Readings
    from dmd_model.batch import Samples

MODALITIES = ("text", "vision", "audio")


class PredictionError(Exception):
    """A video that cannot be predicted on; the message says why and what to do.

    Reasons: ``not_trained``, ``imported_features``, ``other_recipe``, and that of the first segment where all failed.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Training:
    """What an ensemble was trained on: how it was measured, how long segments were, and how long a word (seconds).

    ``instruments`` by feature, the text's first; ``aligned``: frames were pooled into words.
    """

    aligner: Aligner
    instruments: Mapping[str, Instrument]
    aligned: bool
    longest: float
    most_words: int
    word_seconds: float

    def limits(self, pause: float) -> Limits:
        return Limits(pause, self.longest, self.most_words)


@dataclass(frozen=True)
class Reading:
    """What every seed's model (first axis, S) reads in the segments that came through; ``words`` are theirs.

    ``predictions`` [S, W] after each word; ``occlusion`` [S, W, 3] by modality; ``heads`` [S, W, 3] and ``edges``
    [S, W, 6] by unit, of DMD alone.
    """

    words: AlignedDataset
    predictions: np.ndarray
    occlusion: np.ndarray
    heads: Mapping[str, np.ndarray]
    edges: Mapping[str, np.ndarray]


def choose(models: Path, name: str | None) -> Ensemble:
    """The champion, or the model of that name with all its seeds on the data it was last trained on.

    Raises ChampionError where there is no champion, PredictionError where no training of the named one has ended.
    """
    if name is None:
        return serving(models)
    ended = [result.parent for result in models.glob("*/*/result.json") if result.parts[-3] == name]
    if not ended:
        raise PredictionError("not_trained", f"no training of {name} has ended in {models}: `dmd train --model {name}`")
    data = {run: json.loads((run / "data.json").read_text(encoding="utf-8")) for run in ended}
    newest = max(ended, key=lambda run: (run / "result.json").stat().st_mtime_ns)
    alike = [run for run in ended if data[run] == data[newest]]
    return ensemble(sorted(alike, key=lambda run: read_result(run)["seed"]))


def training_of(store: FeatureStore, chosen: Ensemble) -> Training:
    """What the ensemble was trained on. Raises PredictionError where features of the same make cannot be made here."""
    made_of = store.recipe("aligned", chosen.published.fingerprint)
    if "features" not in made_of:
        raise PredictionError(
            "imported_features",
            f"{chosen.model} was trained on features that were imported from a file: nobody here can measure such "
            "features of a video; train it on raw video (`dmd run --raw`)",
        )
    recipes = {name: store.recipe(name, made_of["features"][name]) for name in made_of["features"]}
    tools = instruments_of(recipes)
    tools = {name: tools[name] for name in (chosen.text, "vision", "audio")}
    for name, tool in tools.items():
        _refuse_other(name, recipes[name], tool.recipe(), chosen.model)
    aligned_by = store.recipe("words", made_of["words"])["aligner"]
    aligner = aligner_of(aligned_by)
    _refuse_other("words", aligned_by, aligner.recipe(), chosen.model)
    data = store.aligned(chosen.published.fingerprint, at=chosen.published.snapshot)
    lengths = json.loads((chosen.runs[0] / "config.json").read_text(encoding="utf-8"))["config"]["lengths"]
    return Training(
        aligner,
        tools,
        made_of["aligned"],
        longest=float(np.nanmax(data.ends)),
        most_words=int(min(np.diff(data.offsets).max(), *(lengths if made_of["aligned"] else lengths[:1]))),
        word_seconds=float(np.nanmedian(data.ends - data.starts)),
    )


def _refuse_other(name: str, trained: dict, here: dict, model: str) -> None:
    """Features made in another way than those in training mean something else."""
    if fingerprint(trained) == fingerprint(here):
        return
    others = [
        f"{key} {trained.get(key)!r} there, {here.get(key)!r} here"
        for key in sorted(trained.keys() | here.keys())
        if trained.get(key) != here.get(key)
    ]
    raise PredictionError(
        "other_recipe",
        f"{name}: {model} was trained on features of another make ({'; '.join(others)}): "
        "train it again on features that are made here (`dmd run`)",
    )


@task(cache_policy=NO_CACHE)
def predict(store: FeatureStore, steps: Sequence[Step], chosen: Ensemble, training: Training) -> Reading:
    """What every run of the ensemble reads in the segments that came through the steps, words first.

    Raises PredictionError where none did.
    """
    from dmd_model.attribution import occlude_words, read_words
    from dmd_model.checkpoint import load

    segments = store.segments()
    states = segment_states(store, segments, steps)
    through = [segment for segment, state in zip(segments, states, strict=True) if state.name == "extracted"]
    if not through:
        reason, message = (states[0].reason, states[0].message) if states else ("no_speech", "nobody speaks in it")
        raise PredictionError(reason, f"none of {len(segments)} segments can be read; the first: {message}")
    words, *features = steps
    columns = {step.name: step.columns for step in features}
    data = aligned_dataset(store, through, words, features, columns, training.aligned)
    rows, mask_piece = word_rows(data, (chosen.text, "vision", "audio")), _mask_piece(training)
    readings: list[Readings] = []
    occlusion = []
    with Progress(f"predict by {chosen.model}", total=len(chosen.runs), unit="seed") as progress:
        for run in chosen.runs:
            trained = load(run)
            samples = _samples(data, chosen.text, trained.run.columns)
            readings.append(read_words(trained, samples, rows))
            occlusion.append(occlude_words(trained, samples, rows, mask_piece))
            progress.advance()

    def stacked(kind: str) -> dict[str, np.ndarray]:
        return {unit: np.stack([getattr(reading, kind)[unit] for reading in readings])
                for unit in getattr(readings[0], kind)}  # fmt: skip

    predictions = np.stack([reading.prediction for reading in readings])
    return Reading(data, predictions, np.stack(occlusion), stacked("heads"), stacked("edges"))


def _mask_piece(training: Training) -> int | None:
    """The word piece that hides another, of the encoder whose pieces were trained on; None where there are none."""
    pieces = training.instruments.get(PIECES)
    return tokenizer(pieces.encoder).mask_token_id if pieces else None


def _samples(data: AlignedDataset, text: str, columns: Mapping[str, tuple[str, ...]]) -> Samples:
    """Every segment, with the modalities that were measured; the others are absent."""
    from dmd_model.batch import Samples, Sequences

    def sequences(modality: str) -> Sequences:
        feature = text if modality == "text" else modality
        if feature not in data.features:
            names = columns[modality]
            nothing = np.zeros((0, len(names)), np.float32), np.zeros(len(data.ids) + 1, np.int64)
            return Sequences(*nothing, columns=names)
        offsets = data.feature_offsets(feature)
        return Sequences(data.features[feature], offsets, data.masks[feature], data.columns[feature])

    return Samples(data.ids, data.labels, *map(sequences, MODALITIES))
