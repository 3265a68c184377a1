"""The report of a run: one self-contained page of what the data set holds and what the models make of it."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment
from markupsafe import Markup
from prefect import task
from prefect.artifacts import create_link_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from storage.feature_store import FeatureStore, Published
from storage.schema import AlignedDataset, fingerprint
from storage.segments import Segment
from tasks import figures, funnel
from tasks.align import forced_against_given
from tasks.evaluate import METRICS, Row, read_result
from tasks.extract import Step, segment_states
from tasks.features import media
from tasks.files import digest, write_text
from tasks.labels import SPLITS
from tasks.transcribe import Transcriber
from tasks.validate import Verdict

log = logging.getLogger(__name__)

TEMPLATE = Path(__file__).parent / "templates" / "report.html"
FACES = 10
TRACKS_PER_FEATURE = 4


@task(cache_policy=NO_CACHE)
def report(
    store: FeatureStore,
    dataset: str,
    steps: Sequence[Step],
    verdict: Verdict | None,
    published: Published | None,
    rows: Sequence[Row],
    runs: Sequence[Path],
    raw: Path | None,
    path: Path,
) -> Path:
    """Write the page at ``path``, in the data set's folder, and return its path.

    ``steps`` are those of extraction, words first; an imported data set has none, and no ``raw`` video either. Without
    a verdict nothing was validated, because the data set was published before.
    """
    segments = store.segments()
    states = segment_states(store, segments, steps)
    case = fingerprint(
        {
            "code": digest([Path(__file__), Path(figures.__file__), Path(funnel.__file__), TEMPLATE]),
            "data": dataset,
            "source": store.source(),
            "lost": [(str(s.id), state.message or state.reason) for s, state in zip(segments, states, strict=True)],
            "checks": [check.sentence for check in verdict.checks] if verdict else [],
            "published": published and published.snapshot,
            "runs": [str(run) for run in runs],
        }
    )
    mark = f'<meta name="case" content="{case}">'
    if path.exists() and mark in path.read_text(encoding="utf-8"):
        log.info("nothing new to report: %s", path)
        return path
    data = store.aligned(dataset, at="staging")
    with figures.style():
        sections = dataset_section(data, store, dataset) | results_section(data, rows, runs)
        if raw is not None:
            sections |= funnel_section(store, steps)
            sections |= boundaries_section(forced_against_given(store, steps[0]))
            sections |= example_section(data, store.segments(), raw) if data.ids else {}
    template = Environment(autoescape=True).from_string(TEMPLATE.read_text(encoding="utf-8"))
    page = template.render(
        **sections,
        mark=Markup(mark),
        notes=_notes(data, store, steps),
        name=path.parent.name,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        published=published,
        verdict=verdict,
        docs=os.path.relpath(verdict.docs, path.parent) if verdict else "",
    )
    write_text(path, page)
    create_link_artifact(path.as_uri(), link_text=str(path), key="report", description="The report of the run.")
    return path


def dataset_section(data: AlignedDataset, store: FeatureStore, dataset: str) -> dict[str, Any]:
    """How many segments and words of which split and label, and what each feature measured."""
    splits, videos, lengths = np.array(data.splits), np.array(data.videos), np.diff(data.offsets)
    counts = []
    for split in dict.fromkeys((*(name for name in SPLITS if name in data.splits), *data.splits)):
        among = splits == split
        labels = data.labels[among & np.isfinite(data.labels)]
        counts.append(
            {
                "split": split or "none",
                "segments": int(among.sum()),
                "videos": len(set(videos[among])),
                "words": int(lengths[among].sum()),
                "mean label": f"{labels.mean():+.2f}" if len(labels) else "",
            }
        )
    create_table_artifact(counts, key="dataset", description="Segments and words by split.")
    fingerprints = store.recipe("aligned", dataset).get("features", {})  # an imported data set has none
    features = [
        {
            "name": name,
            "columns": values.shape[1],
            "measured": float(data.masks[name].mean()) if data.words else 0.0,
            "recipe": json.dumps(store.recipe(name, fingerprints[name])) if name in fingerprints else "imported",
        }
        for name, values in data.features.items()
    ]
    labelled = np.isfinite(data.labels)
    return {
        "total": {"segments": len(data.ids), "videos": len(set(data.videos)), "words": len(data.words)},
        "splits": counts,
        "features": features,
        "label_figure": figures.labels(data.labels[labelled], splits[labelled]) if labelled.any() else "",
        "length_figure": figures.lengths(lengths) if data.ids else "",
    }


def _notes(data: AlignedDataset, store: FeatureStore, steps: Sequence[Step]) -> list[str]:
    """What a reader should know before the figures."""
    notes = []
    if source := store.source():
        notes.append(f"Raw data: layout {source['layout']}, rows of {source['labels']}, splits by {source['splits']}.")
    if source.get("untold"):
        notes.append(
            f"{source['untold']} segments came without a text: what is said in them is what "
            f"{Transcriber().model} heard (faster-whisper), not a transcript by people."
        )
    if not np.isfinite(data.labels).any():
        notes.append("The data set has no labels, so nothing is trained on it.")
    encoders = [store.recipe("bert", step.fingerprint)["encoder"] for step in steps if step.name == "bert"]
    if encoders and encoders[0] != "bert-base-uncased":
        notes.append(f"The text encoder is {encoders[0]}; the paper's is bert-base-uncased.")
    return notes


def funnel_section(store: FeatureStore, steps: Sequence[Step]) -> dict[str, Any]:
    """How many rows of the labels reach each stage, and why the others do not."""
    segments = store.segments()
    states = segment_states(store, segments, steps)
    found = funnel.make_funnel(segments, states)
    create_table_artifact([{"stage": stage, "segments": n} for stage, n in found.reached.items()], key="funnel")
    stages = [(f"{stage}: {funnel.STAGES[stage]}", n) for stage, n in found.reached.items()]
    return {
        "funnel_figure": figures.funnel(stages),
        "losses": [{"count": n, "stage": stage, "reason": why} for (stage, why), n in found.lost.most_common()],
        "lost": [
            {"id": str(segment.id), "row": segment.row, "reason": state.reason, "message": state.message}
            for segment, state in zip(segments, states, strict=True)
            if state.reason
        ],
        "errata": store.source().get("errata", ()),
    }


def boundaries_section(errors: np.ndarray) -> dict[str, Any]:
    """How far forced word boundaries lie from the true ones, where those are known; ``errors`` in seconds."""
    if not len(errors):
        return {}
    milliseconds = 1000 * np.abs(errors)
    return {
        "boundary_figure": figures.boundary_errors(np.abs(errors)),
        "boundaries": {
            "count": len(errors),
            "median": float(np.median(milliseconds)),
            "p90": float(np.percentile(milliseconds, 90)),
            "within_50": 100 * float((milliseconds <= 50).mean()),
        },
    }


def results_section(data: AlignedDataset, rows: Sequence[Row], runs: Sequence[Path]) -> dict[str, Any]:
    """The results table with every run, training curves, predictions, and the edges that DMD learned."""
    if not runs:
        return {}
    results = [read_result(run) for run in runs]
    histories = [json.loads((run / "history.json").read_text()) for run in runs]
    by_model: dict[str, list] = {}
    for result, history in zip(results, histories, strict=True):
        by_model.setdefault(result["model"], []).append((history, result["best_epoch"]))
    return {
        "results": rows,
        "metrics": METRICS,
        "runs": results,
        "curve_figure": figures.training_curves(by_model),
        "prediction_figure": _predictions(data, results),
        "edge_figure": _edges([history for history, _ in by_model.get("dmd", ())]),
    }


def _predictions(data: AlignedDataset, records: Sequence[Mapping[str, Any]]) -> str:
    """Test labels against the first model's predictions, meaned over its seeds."""
    tests = [record["predictions"]["test"] for record in records if record["model"] == records[0]["model"]]
    labels = dict(zip(data.ids, data.labels, strict=True))
    truth = np.array([labels[segment] for segment in tests[0]])
    return figures.predictions(truth, np.mean([list(test.values()) for test in tests], axis=0))


def _edges(histories: Sequence[Sequence[Mapping[str, Any]]]) -> str:
    """The edges of both graph distillation units, meaned over the seeds as far as the shortest run goes."""
    if not histories:
        return ""
    epochs = min(map(len, histories))
    units = {"homogeneous (HomoGD)": "edges_homo", "heterogeneous (HeteroGD)": "edges_hetero"}
    return figures.graph_edges(
        {
            title: np.mean([[record["train"][key] for record in history[:epochs]] for history in histories], axis=0)
            for title, key in units.items()
        }
    )


def example_section(data: AlignedDataset, segments: Sequence[Segment], raw: Path) -> dict[str, Any]:
    """One segment of the test split (or the first one) with its faces, sound, words and strongest feature columns."""
    place = next((i for i, split in enumerate(data.splits) if split == "test"), 0)
    segment = next(segment for segment in segments if str(segment.id) == data.ids[place])
    path = raw / segment.media
    waveform = media.waveform(path, segment.start, segment.end)
    seconds = len(waveform) / media.SAMPLE_RATE
    pictures = list(media.frames(path, segment.start, segment.end, frames_per_second=FACES / seconds))
    rows = slice(data.offsets[place], data.offsets[place + 1])
    words = list(zip(data.words[rows], data.starts[rows], data.ends[rows], strict=True))
    return {
        "example": {
            "id": data.ids[place],
            "text": " ".join(data.words[rows]),
            "label": float(data.labels[place]) if np.isfinite(data.labels[place]) else None,
        },
        "example_figure": figures.aligned_segment(
            waveform, media.SAMPLE_RATE, pictures[:FACES], words, _tracks(data, rows)
        ),
    }


def _tracks(data: AlignedDataset, rows: slice) -> dict[str, np.ndarray]:
    """For face and voice, the columns that vary most for their range, scaled to [0, 1] over the data set."""
    tracks = {}
    for name in ("vision", "audio"):
        values, measured = data.features[name], data.masks[name]
        low, high = np.percentile(values[measured], (2, 98), axis=0)
        scaled = np.clip((values - low) / np.where(high > low, high - low, 1), 0, 1)
        scaled[~measured] = np.nan
        spread = np.where(high > low, np.nanstd(scaled, axis=0), 0)
        for column in np.argsort(-spread)[:TRACKS_PER_FEATURE]:
            tracks[data.columns[name][column]] = scaled[rows, column]
    return tracks
