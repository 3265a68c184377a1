"""Extraction: every segment through one instrument on the Dask workers, committed as the results come back."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from prefect import task
from prefect.cache_policies import NO_CACHE

import storage.segments
from storage.feature_store import FeatureStore
from storage.schema import Failure, Frames, Word, fingerprint
from storage.segments import Segment, State
from tasks import assets
from tasks.features import audio, speech, text, vision
from tasks.features.word_vectors import known_as
from tasks.progress import Progress
from tasks.recordings import Recording, measure_recording
from tasks.workers import Workers

log = logging.getLogger(__name__)

TEXT_FEATURES = ("glove", "bert", "pieces")
SEGMENT_SECONDS = 600.0
"""The longest that one segment is measured, the loading of models included: a decoder that hangs is ended then."""

COMMIT_SECONDS = 5.0
"""The most work, in seconds, that a killed run has to do again, beside the calls under way."""


@dataclass(frozen=True)
class Step:
    """A kind of result that every segment has: ``words`` or a feature, as the recipe of this fingerprint makes it."""

    name: str
    fingerprint: str
    columns: tuple[str, ...] = ()

    @classmethod
    def of(cls, feature: str, instrument: Instrument) -> Step:
        return cls(feature, fingerprint(instrument.recipe()), instrument.columns)

    def key(self, segment: Segment) -> str:
        """Under which the store knows this segment's result: the same where nothing it depends on differs."""
        if self.name == "words":
            return segment.speech_key
        if self.name == "audio":
            return segment.sound_key
        return segment.text_key if self.name in TEXT_FEATURES else segment.media_key


class Instrument(Protocol):
    """What measures one modality of a segment: its columns, its recipe, and the measuring itself."""

    columns: tuple[str, ...]

    def recipe(self) -> dict: ...

    def measure(self, *arguments: Any) -> Frames: ...


def modality(feature: str) -> str:
    """What a feature is measured on: text, vision or audio."""
    return "text" if feature in TEXT_FEATURES else feature


def instruments(
    text_encoder: str | None = None,
    frames_per_second: float | None = None,
    pitch_range: tuple[float, float] = (60.0, 500.0),
    word_vectors: str = text.READY,
    speech_encoder: str | None = None,
) -> dict[str, Instrument]:
    """The instruments by feature name.

    ``text_encoder``: None for the paper's BERT where it can be had. ``frames_per_second``: 0 or None for every picture.
    ``pitch_range``: hertz. ``speech_encoder``: None for the acoustic columns.
    """
    encoder = text_encoder or assets.first_available(("bert-base-uncased", "all-MiniLM-L6-v2"))
    return {
        "glove": text.Glove(word_vectors),
        "bert": text.Bert(encoder),
        "pieces": text.Pieces(encoder),
        "vision": vision.FaceLandmarker(frames_per_second=frames_per_second or None),
        "audio": speech.SpeechEncoder(speech_encoder) if speech_encoder else audio.Acoustics(*pitch_range),
    }


def instruments_of(recipes: Mapping[str, Mapping[str, Any]]) -> dict[str, Instrument]:
    """The instruments that have these recipes, by feature name, as far as their files and libraries are the same."""
    audio = recipes["audio"]
    ((vectors, sha256),) = (item for item in recipes["glove"].items() if item[0] != "code")
    pitch = {"pitch_range": (audio["f0_min"], audio["f0_max"])} if "f0_min" in audio else {}
    return instruments(
        recipes["bert"]["encoder"],
        recipes["vision"]["frames_per_second"],
        word_vectors=known_as(vectors, sha256),
        speech_encoder=audio.get("encoder"),
        **pitch,
    )


@task(task_run_name="extract {feature}", cache_policy=NO_CACHE)
def extract(
    store: FeatureStore, workers: Workers, raw: str, feature: str, instrument: Instrument, retry_failures: bool
) -> Step:
    """Measure the segments that the store has no result for, and commit values and failures alike.

    ``raw`` is the raw folder as the workers see it: a path or an http(s) address.
    """
    recipe = instrument.recipe()
    step = Step.of(feature, instrument)
    if retry_failures:
        store.forget_failures(feature, step.fingerprint)
    segments = sorted(usable(store), key=lambda segment: (segment.media, segment.start))  # so each video is read once
    commit_missing(
        name=f"extract {feature}",
        done=store.done(feature, step.fingerprint),
        arguments={step.key(segment): _arguments(feature, raw, segment) for segment in segments},
        measure=instrument.measure if modality(feature) == "text" else partial(measure_recording, instrument.measure),
        commit=lambda results: store.append(feature, recipe, instrument.columns, results),
        workers=workers,
    )
    return step


def segment_states(store: FeatureStore, segments: Sequence[Segment], steps: Sequence[Step]) -> list[State]:
    """The one state of every segment after these steps, by what the store holds."""
    results = [storage.segments.Step(step.name, step.key, store.done(step.name, step.fingerprint)) for step in steps]
    return storage.segments.states(segments, results)


def usable(store: FeatureStore) -> list[Segment]:
    """The segments that ingest found nothing wrong with."""
    return [segment for segment in store.segments() if segment.failure is None and not segment.excluded]


def _arguments(feature: str, raw: str, segment: Segment) -> tuple:
    if modality(feature) == "text":
        return (segment.text.split(),)
    recording = Recording.of_sound if feature == "audio" else Recording.of
    return (recording(segment, raw), segment.start, segment.end)


def commit_missing(
    name: str,
    done: Mapping[str, Failure | None],
    arguments: Mapping[str, tuple],
    measure: Callable[..., Any],
    commit: Callable[[Mapping[str, Frames | tuple[Word, ...] | Failure]], None],
    workers: Workers,
) -> None:
    """Measure what is not done and commit it every few seconds; what was measured is kept however this ends."""
    missing = {key: values for key, values in arguments.items() if key not in done}
    if not missing:
        if arguments:
            log.info("%s: nothing to do, all %d are in the store", name, len(arguments))
        return
    uncommitted: dict[str, Any] = {}
    last_commit = time.monotonic()
    with Progress(name, total=len(arguments), done=len(arguments) - len(missing)) as progress:
        try:
            for key, result in workers.measure(measure, missing, SEGMENT_SECONDS):
                uncommitted[key] = result
                progress.advance()
                if time.monotonic() - last_commit > COMMIT_SECONDS:
                    measured, uncommitted = uncommitted, {}  # so that nothing is committed again after a Ctrl-C
                    commit(measured)
                    last_commit = time.monotonic()
        finally:
            if uncommitted:
                commit(uncommitted)
