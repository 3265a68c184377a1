"""Extraction: every segment through one instrument on the Dask workers, committed as the results come back."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from storage.feature_store import FeatureStore
from storage.schema import Failure, Frames, Word, fingerprint
from storage.segments import Segment
from tasks import assets
from tasks.features import audio, text, vision
from tasks.progress import Progress
from tasks.workers import Workers

log = logging.getLogger(__name__)

FEATURES = ("glove", "bert", "vision", "audio")
COMMIT_SECONDS = 5.0
"""The most work, in seconds, that a killed run has to do again."""


class Instrument(Protocol):
    """What measures one modality of a segment: its config, its columns and the recipe of both."""

    columns: tuple[str, ...]

    def recipe(self) -> dict: ...

    def measure(self, *arguments: Any) -> Frames: ...


@dataclass(frozen=True)
class Step:
    """One kind of result that a segment can have: where it lies in the store and under which key of the segment."""

    name: str
    fingerprint: str
    key: Callable[[Segment], str]


def instruments(text_encoder: str | None = None, frames_per_second: float | None = None) -> dict[str, Instrument]:
    """The instruments by feature name; ``text_encoder`` None takes the paper's BERT where it can be had."""
    encoder = text_encoder or assets.first_available(("bert-base-uncased", "all-MiniLM-L6-v2"))
    return {
        "glove": text.Glove(),
        "bert": text.Bert(encoder),
        "vision": vision.FaceLandmarker(frames_per_second=frames_per_second),
        "audio": audio.Acoustics(),
    }


def extract(
    store: FeatureStore,
    workers: Workers,
    raw: Path,
    feature: str,
    instrument: Instrument,
    segments: Iterable[Segment],
    progress: Progress,
) -> Step:
    """Measure the segments that the store has no result for, and commit values and failures alike."""
    recipe = instrument.recipe()
    if feature in ("glove", "bert"):
        step = Step(feature, fingerprint(recipe), lambda segment: segment.text_key)
        arguments = {step.key(segment): (segment.text.split(),) for segment in segments}
    else:
        step = Step(feature, fingerprint(recipe), lambda segment: segment.media_key)
        arguments = {step.key(segment): (raw / segment.media, segment.start, segment.end) for segment in segments}
    commit_missing(
        done=store.done(feature, step.fingerprint),
        arguments=arguments,
        measure=instrument.measure,
        commit=lambda results: store.append(feature, recipe, instrument.columns, results),
        workers=workers,
        progress=progress,
    )
    return step


def commit_missing(
    done: Mapping[str, Failure | None],
    arguments: Mapping[str, tuple],
    measure: Callable[..., Any],
    commit: Callable[[Mapping[str, Frames | tuple[Word, ...] | Failure]], None],
    workers: Workers,
    progress: Progress,
) -> None:
    """Measure what is not done and commit it every few seconds; what was measured is kept however this ends."""
    missing = {key: values for key, values in arguments.items() if key not in done}
    progress.start(total=len(arguments), done=len(arguments) - len(missing))
    uncommitted: dict[str, Any] = {}
    last_commit = time.monotonic()
    try:
        for key, result in workers.measure(measure, missing):
            uncommitted[key] = result
            if time.monotonic() - last_commit > COMMIT_SECONDS:
                commit(uncommitted)
                uncommitted, last_commit = {}, time.monotonic()
            progress.advance()
    finally:
        if uncommitted:
            commit(uncommitted)
        progress.close()
