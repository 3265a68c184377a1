"""A home folder that is run through once, stage by stage, and copies of it for whatever else is to be run."""

from __future__ import annotations

import csv
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import icechunk
import pytest
import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from dmd_model.dmd import DMD
from dmd_model.registry import configure
from flows.parameters import RunParameters, Stage
from storage.feature_store import FeatureStore
from storage.schema import fingerprint
from storage.segments import State
from tasks.align import POCKETSPHINX, aligner_named
from tasks.extract import Step, instruments, segment_states
from tasks.pack import extracted as extracted_segments
from tasks.pack import recipe

NAME = "tiny"
SLOW_EYES = 5.0
"""Pictures a second: a face is found in each by the same code as in all of them."""
ENCODER = "all-MiniLM-L6-v2"
"""What the text is encoded by: the one that is always to be had."""
API = requests.Session()
"""Asks Prefect's server again where that is busy (503), as Prefect's own client does."""
API.mount(
    "http://", HTTPAdapter(max_retries=Retry(6, backoff_factor=0.5, status_forcelist=[503], allowed_methods=None))
)


@pytest.fixture(autouse=True)
def _sigterm():
    """The command handles SIGTERM from its start on; the tests' own process is to end by it as before."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


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
            "text_encoder": ENCODER,
        }
        return RunParameters(**standard | changes)

    def run(self, **changes):
        """Run the flow; the state it ends in."""
        from flows.dmd import dmd

        return dmd(self.parameters(**changes), return_state=True)

    @property
    def store(self) -> FeatureStore:
        return FeatureStore.open(str(self.folder / NAME / "store"), create=False)

    def snapshots(self) -> dict[str, str]:
        """What the branches of the store point to: another snapshot means that something was committed."""
        versions = icechunk.Repository.open(icechunk.local_filesystem_storage(str(self.folder / NAME / "store")))
        return {branch: versions.lookup_branch(branch) for branch in ("staging", "main")}

    @property
    def page(self) -> Path:
        return self.folder / NAME / "report.html"

    @property
    def results(self) -> dict[Path, int]:
        """When each finished training was written."""
        return {path: path.stat().st_mtime_ns for path in (self.folder / NAME).glob("models/*/*/result.json")}

    def steps(self, aligner: str = POCKETSPHINX, **changes) -> list[Step]:
        """The steps of a run with these changes, as its recipes name them."""
        run = self.parameters(aligner=aligner, **changes)
        words = {"aligner": aligner_named(aligner).recipe(), "trust_given": run.trusts_word_times}
        features = instruments(run.text_encoder, run.frames_per_second, run.pitch_range)
        return [
            Step("words", fingerprint(words)),
            *(Step.of(name, tool) for name, tool in features.items()),
        ]

    def states(self, **changes) -> dict[str, State]:
        """Where every segment stands, by id."""
        segments = self.store.segments()
        states = segment_states(self.store, segments, self.steps(**changes))
        return {str(segment.id): state for segment, state in zip(segments, states, strict=True)}

    def copy(self, to: Path, raw: Path | None = None) -> Home:
        shutil.copytree(self.folder, to)
        return Home(to, raw or self.raw, self.scheduler)


@dataclass(frozen=True)
class Reached:
    """What a home holds after a run that stopped after one stage."""

    completed: bool
    steps: frozenset[str]
    segments: int
    packed: bool
    published: bool
    trained: bool
    page: bool


def reached(home: Home, completed: bool) -> Reached:
    store, (words, *features) = home.store, home.steps()
    segments = extracted_segments(store.segments(), segment_states(store, store.segments(), home.steps()))
    return Reached(
        completed,
        frozenset(step.name for step in (words, *features) if store.done(step.name, step.fingerprint)),
        len(store.segments()),
        store.has_aligned(fingerprint(recipe(segments, words, features))),
        store.published() is not None,
        bool(home.results),
        home.page.exists(),
    )


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
def unpooled(extracted, ctc_model, tmp_path_factory) -> Home:
    """The home when a small DMD has read frames, and word pieces of words that another aligner timed."""
    config, training = configure("dmd")
    home = extracted.copy(tmp_path_factory.mktemp("unpooled") / "home")
    with pytest.MonkeyPatch.context() as patch:
        small = replace(config, d=8, heads=2), replace(training, max_epochs=1)
        patch.setattr(DMD, "PRESETS", {"default": small})
        assert home.run(aligned=False, text="pieces", aligner=str(ctc_model)).is_completed()
    return home


@pytest.fixture(scope="session")
def after(run_through) -> dict[Stage, Reached]:
    return run_through[2]


@pytest.fixture(scope="session")
def prefect_home(tmp_path_factory) -> Path:
    """Where Prefect keeps its database when the command line starts a server of its own."""
    return tmp_path_factory.mktemp("prefect-home")


@pytest.fixture
def corpus_with(corpus, tmp_path) -> Callable[..., Path]:
    """A function that copies the corpus, with the rows of its label file changed by a function of them."""

    def make(change: Callable[[list[dict[str, str]]], list[dict[str, str]]]) -> Path:
        return rewrite(Path(shutil.copytree(corpus, tmp_path / "raw")), change)

    return make


def rewrite(raw: Path, change: Callable[[list[dict[str, str]]], list[dict[str, str]]]) -> Path:
    """The folder, whose label file has the rows that ``change`` makes of its rows."""
    with (raw / "label.csv").open(encoding="utf-8") as stream:
        rows = change(list(csv.DictReader(stream)))
    with (raw / "label.csv").open("w", newline="", encoding="utf-8") as stream:
        table = csv.DictWriter(stream, fieldnames=list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return raw
