"""Whatever of a run is killed, and whatever Prefect forgets: the next run goes on, and ends as if nothing had been."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import icechunk
import psutil
import pytest

from storage.feature_store import FeatureStore
from storage.schema import StoreError
from tasks.extract import Step
from tests.conftest import REPOSITORY
from tests.faults import made_up_run

VIDEOS, SEGMENTS = 4, 96
RESULTS = 5 * SEGMENTS
"""Of the features; words are counted apart."""
PATIENCE = 120  # seconds; an idle machine needs a few


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> Path:
    return made_up_run.corpus(tmp_path_factory.mktemp("made-up") / "raw", VIDEOS, SEGMENTS)


@pytest.fixture(scope="module")
def undisturbed(raw, prefect_server, scheduler, tmp_path_factory) -> Home:
    home = Home(raw, tmp_path_factory.mktemp("undisturbed"), scheduler)
    assert home.run().is_completed()
    return home


class Home:
    """A home folder, and runs of the flow on it as far as extraction: here, or in a process of their own."""

    def __init__(self, raw: Path, folder: Path, scheduler: str) -> None:
        self.folder, self.log = folder, folder / "log"
        self.parameters = made_up_run.parameters(raw, folder / "home", dask=scheduler, stop_after="extract")

    def run(self):
        """Run the flow with the tests' Prefect server and workers; the state it ends in."""
        return made_up_run.dmd(self.parameters, return_state=True)

    @contextmanager
    def started(self) -> Iterator[subprocess.Popen]:
        """A process group that runs the flow, with a Prefect server and workers of its own, and commits often."""
        command = [sys.executable, "-m", "tests.faults.made_up_run", self.parameters.raw, self.parameters.home]
        command += ["--stop-after", "extract", "--commit-seconds", "0.1"]
        environment = {**os.environ, "PREFECT_HOME": str(self.folder / "prefect"), "TQDM_DISABLE": "1"}
        environment["PREFECT_CLIENT_MAX_RETRIES"] = "1"  # else it waits a minute at a time for a server that is gone
        environment.pop("PREFECT_API_URL", None)
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                list(map(str, command)), cwd=REPOSITORY, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        try:
            yield process
        finally:
            process.kill()  # what it started ends with it
            process.wait()

    def wait_for(self, count: int, process: subprocess.Popen) -> None:
        """Until the store has so many results."""
        deadline = time.monotonic() + PATIENCE
        while len(self.results()) < count:
            assert process.poll() is None and time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    @property
    def store(self) -> FeatureStore:
        return FeatureStore.open(self.parameters.store_url, create=False)

    def results(self) -> set[tuple[str, str]]:
        """Feature and key of all that the store holds; nothing where there is no store yet."""
        try:
            store = self.store
        except StoreError as error:
            assert error.reason == "absent"
            return set()
        steps = [Step.of(feature, tool) for feature, tool in made_up_run.instruments().items()]
        return {(step.name, key) for step in steps for key in store.done(step.name, step.fingerprint)}

    def snapshot(self) -> str:
        """Another one means that something was committed."""
        versions = icechunk.Repository.open(icechunk.local_filesystem_storage(self.parameters.store_url))
        return versions.lookup_branch("staging")


def test_a_run_goes_on_whatever_of_it_was_killed(raw, undisturbed, scheduler, tmp_path):
    """First the Prefect server, of which a run dies; then all that a run has started, at once."""
    home = Home(raw, tmp_path, scheduler)
    with home.started() as process:
        home.wait_for(1, process)
        family = psutil.Process(process.pid).children(recursive=True)
        for server in (member for member in family if "prefect" in member.cmdline()):
            server.kill()
        assert process.wait(timeout=PATIENCE) == 1
    assert "is gone: run again, what was done is kept" in home.log.read_text()
    _, alive = psutil.wait_procs(family, timeout=PATIENCE)
    assert not alive
    kept = home.results()
    assert 0 < len(kept) < RESULTS

    with home.started() as process:
        home.wait_for(len(kept) + 1, process)
        family = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGKILL)
    _, alive = psutil.wait_procs(family, timeout=PATIENCE)
    assert not alive, "the server too, which is in a session of its own"
    assert kept < home.results() and len(home.results()) < RESULTS

    assert home.run().is_completed()
    assert len(home.results()) == RESULTS and home.store.digest() == undisturbed.store.digest()


def test_prefect_may_forget_everything(undisturbed):
    """What is done is known from the store alone: a run with another database measures nothing and commits nothing."""
    before = undisturbed.snapshot()
    with undisturbed.started() as process:
        assert process.wait(timeout=PATIENCE) == 0, undisturbed.log.read_text()
    assert len(undisturbed.results()) == RESULTS and undisturbed.snapshot() == before


HOLDER = """
import sys
from storage.feature_store import FeatureStore
with FeatureStore.open(sys.argv[1]).coordinating():
    print(flush=True)
    sys.stdin.read()
"""


def test_a_run_on_a_store_that_another_run_writes_stops_with_a_sentence(undisturbed):
    before = undisturbed.snapshot()
    command = [sys.executable, "-c", HOLDER, undisturbed.parameters.store_url]
    with subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        state = undisturbed.run()
        holder.stdin.close()
    assert state.is_failed() and f"is being written by process {holder.pid}" in state.message
    assert undisturbed.snapshot() == before and undisturbed.run().is_completed()
