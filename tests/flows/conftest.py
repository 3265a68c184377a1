"""A home folder that is run through once, stage by stage, and copies of it for whatever else is to be run."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import pytest

from flows.parameters import RunParameters, Stage
from storage.feature_store import FeatureStore
from storage.segments import Segment, State
from tasks.align import ForcedAligner
from tasks.extract import Step, instruments, segment_states
from storage.schema import fingerprint

NAME = "tiny"
SLOW_EYES = 5.0
"""Pictures a second: a face is found in each by the same code as in all of them."""


@dataclass(frozen=True)
class Home:
    """A home folder with one data set, and what its store says."""

    folder: Path
    raw: Path
    scheduler: str

    def parameters(self, **changes) -> RunParameters:
        standard = {
            "dataset": NAME,
            "raw": self.raw,
            "home": self.folder,
            "seeds": [1111],
            "dask": self.scheduler,
            "trust_word_times": False,
            "frames_per_second": SLOW_EYES,
        }
        return RunParameters(**standard | changes)

    def run(self, **changes):
        """Run the flow; the state it ends in."""
        from flows.dmd import dmd

        return dmd(self.parameters(**changes), return_state=True)

    @property
    def store(self) -> FeatureStore:
        return FeatureStore.open(str(self.folder / NAME / "store"), create=False)

    @property
    def page(self) -> Path:
        return self.folder / NAME / "report.html"

    @property
    def results(self) -> dict[Path, int]:
        """When each finished training was written."""
        return {path: path.stat().st_mtime_ns for path in (self.folder / NAME).glob("models/*/*/result.json")}

    def steps(self, frames_per_second: float | None = SLOW_EYES, trust_word_times: bool = False) -> list[Step]:
        """The steps of a run, as its recipes name them."""
        words = {"aligner": ForcedAligner().recipe(), "trust_given": trust_word_times}
        features = instruments(None, frames_per_second)
        return [
            Step("words", fingerprint(words)),
            *(Step(name, fingerprint(tool.recipe()), tool.columns) for name, tool in features.items()),
        ]

    def states(self, **steps) -> dict[str, State]:
        """Where every segment stands, by id."""
        segments = self.store.segments()
        return dict(zip(map(str_id, segments), segment_states(self.store, segments, self.steps(**steps)), strict=True))

    def copy(self, to: Path, raw: Path | None = None) -> Home:
        shutil.copytree(self.folder, to)
        return Home(to, raw or self.raw, self.scheduler)


def str_id(segment: Segment) -> str:
    return str(segment.id)


@dataclass(frozen=True)
class Reached:
    """What a home holds after a run that stopped after one stage."""

    completed: bool
    steps: frozenset[str]
    segments: int
    aligned: bool
    published: bool
    trained: bool
    page: bool


def reached(home: Home, completed: bool) -> Reached:
    store = home.store
    done = {step.name for step in home.steps() if store.done(step.name, step.fingerprint)}
    return Reached(
        completed,
        frozenset(done),
        len(store.segments()),
        any(path.startswith("aligned/") for path in store._repository.paths("staging")),
        is_published(store),
        bool(home.results),
        home.page.exists(),
    )


def is_published(store: FeatureStore) -> bool:
    return store.published() is not None


@pytest.fixture(scope="session")
def run_through(corpus, prefect_server, scheduler, tmp_path_factory) -> tuple[Home, Home, dict[Stage, Reached]]:
    """The home when everything is extracted, the home when everything is done, and what was there after each stage."""
    folder = tmp_path_factory.mktemp("homes")
    home, extracted = Home(folder / "finished", corpus, scheduler), None
    after = {}
    for stage in get_args(Stage):
        state = home.run(stop_after=stage)
        after[stage] = reached(home, state.is_completed())
        if stage == "extract":
            extracted = home.copy(folder / "extracted")
    return extracted, home, after


@pytest.fixture(scope="session")
def extracted(run_through) -> Home:
    return run_through[0]


@pytest.fixture(scope="session")
def finished(run_through) -> Home:
    return run_through[1]


@pytest.fixture(scope="session")
def after(run_through) -> dict[Stage, Reached]:
    return run_through[2]


@pytest.fixture
def corpus_with(corpus, tmp_path) -> Callable[..., Path]:
    """A function that copies the corpus, with the rows of its label file changed by a function of them."""

    def make(change: Callable[[list[dict[str, str]]], list[dict[str, str]]]) -> Path:
        raw = tmp_path / "raw"
        shutil.copytree(corpus, raw)
        with (raw / "label.csv").open(encoding="utf-8") as stream:
            rows = change(list(csv.DictReader(stream)))
        with (raw / "label.csv").open("w", newline="", encoding="utf-8") as stream:
            table = csv.DictWriter(stream, fieldnames=list(rows[0]))
            table.writeheader()
            table.writerows(rows)
        return raw

    return make
