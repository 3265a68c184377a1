"""The steps of extraction with workers that are warm, each behind a clock."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from flows.parameters import RunParameters
from storage.feature_store import FeatureStore
from storage.segments import Segment
from tasks.align import POCKETSPHINX, align, aligner_named
from tasks.extract import Step, extract, instruments
from tasks.workers import Workers

WARM_UP = 2
"""Segments that every worker measures before the clock starts: models are loaded, librosa's loops compiled."""


def tools(rate: float | None = None) -> dict:
    """The instruments as a run has them, at its own rate of pictures or at another."""
    run = RunParameters()
    return instruments(run.text_encoder, rate or run.frames_per_second, run.pitch_range)


@contextmanager
def pinned(cores: int) -> Iterator[None]:
    """The body, and the workers that it starts, on so many cores."""
    all_cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(sorted(all_cores)[:cores]))
    try:
        yield
    finally:
        os.sched_setaffinity(0, all_cores)


def cpu_seconds() -> float:
    """Of this process and those that it started and that live."""
    family = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return sum(sum(member.cpu_times()[:2]) for member in family)


@dataclass(frozen=True)
class Run:
    """All steps over a table of segments in a new store, with workers that are warm."""

    store: FeatureStore
    workers: Workers
    raw: Path
    instruments: Mapping

    def steps(self) -> Iterator[tuple[str, Callable[[], Step]]]:
        """The name of each step and what does it."""
        raw, aligner = str(self.raw), aligner_named(POCKETSPHINX)
        yield "words", lambda: align.fn(self.store, self.workers, raw, aligner, False, False)
        for feature, tool in self.instruments.items():
            yield feature, lambda f=feature, t=tool: extract.fn(self.store, self.workers, raw, f, t, False)

    def measured(self, clock: Callable[[], float]) -> dict[str, float]:
        """What each step takes by this clock."""
        taken = {}
        for name, step in self.steps():
            began = clock()
            step()
            taken[name] = clock() - began
        return taken


@contextmanager
def warm_run(folder: Path, raw: Path, segments: Sequence[Segment], cores: int, rate: float | None = None):
    """A Run over the segments, after each worker has measured some, on so many cores."""
    shutil.rmtree(folder, ignore_errors=True)
    with pinned(cores), Workers() as workers:
        store = FeatureStore.open(str(folder / "store"))
        store.write_segments(segments[: cores * WARM_UP])
        run = Run(store, workers, raw, tools(rate))
        run.measured(time.monotonic)
        store.write_segments(segments)
        yield run
