"""Workers: every call has one outcome, whatever it does to the process it runs in, and nothing is left running."""

from __future__ import annotations

import math
import os
import re
import string
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from distributed import LocalCluster
from hypothesis import given
from hypothesis import strategies as st

from storage.schema import Failure
from tasks import workers as workers_module
from tasks.assets import AssetError
from tasks.features.media import MediaError
from tasks.workers import Runs, Workers, WorkersError
from tests.conftest import REPOSITORY, dask_processes


def work(value: str, folder: Path) -> str:
    """What the value says: give something back, fail in one way or another, or take the worker along."""
    if value == "damaged":
        raise MediaError("truncated", "the file was cut")
    if value == "broken":
        raise ZeroDivisionError("by nothing")
    if value == "unfetched":
        raise AssetError("no model file")
    if value == "deadly":
        os._exit(1)
    if value == "endless":
        time.sleep(1000)
    if value == "endless, and keeps Python for itself":
        re.match("(a+)+b", 1000 * "a")
    if value == "deadly once" and not (folder / "died").exists():
        (folder / "died").touch()
        os._exit(1)
    return value.upper()


@pytest.fixture(scope="module", params=["workers of our own", "a running scheduler"])
def workers(request) -> Iterator[Workers]:
    own = request.param == "workers of our own"
    with Workers(None if own else request.getfixturevalue("scheduler")) as workers:
        yield workers


def outcomes(workers: Workers, folder: Path, *values: str, time_limit: float = math.inf) -> dict[str, str | Failure]:
    found = list(workers.measure(work, {value: (value, folder) for value in values}, time_limit))
    assert len(found) == len(values), "one outcome for each"
    return dict(found)


def left_of(started: set[psutil.Process]) -> list[psutil.Process]:
    """Those that do not end; multiprocessing keeps one for itself, which ends with the interpreter."""
    ours = [process for process in started if process.is_running() and "resource_tracker" not in str(process.cmdline())]
    return psutil.wait_procs(ours, timeout=20)[1]


def test_errors_become_failures_and_the_others_come_through(workers, tmp_path):
    assert outcomes(workers, tmp_path, "a", "damaged", "b", "broken", "c", "d", "e") == {
        **{value: value.upper() for value in "abcde"},
        "damaged": Failure("truncated", "the file was cut"),
        "broken": Failure("unexpected", "ZeroDivisionError: by nothing"),
    }


LETTERS = string.ascii_lowercase
"""So many that the first are measured in one call."""


def test_a_segment_that_kills_its_worker_fails_and_what_shares_its_call_comes_through(workers, tmp_path):
    found = outcomes(workers, tmp_path, "a", "deadly", *LETTERS[1:])
    failure = found.pop("deadly")
    assert failure == Failure("crash", "the worker that measured this segment died 2 times")
    assert found == {value: value.upper() for value in LETTERS}


def test_a_segment_whose_worker_died_once_is_tried_again(workers, tmp_path):
    assert outcomes(workers, tmp_path, "a", "deadly once", "b") == {"a": "A", "deadly once": "DEADLY ONCE", "b": "B"}
    assert (tmp_path / "died").exists()


def test_segments_that_never_end_are_ended_and_what_shares_their_call_comes_through(workers, tmp_path):
    endless = "endless", "endless, and keeps Python for itself"
    found = outcomes(workers, tmp_path, "a", *endless, *LETTERS[1:], time_limit=2.0)
    for value in endless:
        assert found.pop(value) == Failure("timeout", "this segment was not measured within 2 s")
    assert found == {value: value.upper() for value in LETTERS}


def test_quick_segments_share_calls_and_the_last_ones_do_not(workers, tmp_path, monkeypatch):
    sizes, start = [], workers_module._Calls.start
    monkeypatch.setattr(
        workers_module._Calls, "start", lambda self, *call: (sizes.append(len(call[1])), start(self, *call))
    )
    assert outcomes(workers, tmp_path, *LETTERS) == {value: value.upper() for value in LETTERS}
    assert sum(sizes) == len(LETTERS) and len(sizes) < 20 and sizes[0] > 4 and sizes[-1] == 1


def test_a_call_ends_in_time_or_at_a_missing_model_file(tmp_path, monkeypatch):
    calls = [(value, tmp_path) for value in ("a", "damaged", "b", "unfetched", "c")]
    results = workers_module._attempts(work, calls, math.inf)
    assert results[:3] == ["A", Failure("truncated", "the file was cut"), "B"]
    assert isinstance(results[3], AssetError) and len(results) == 4
    monkeypatch.setattr(workers_module, "CALL_SECONDS", 0.0)
    assert workers_module._attempts(work, calls, math.inf) == ["A"]


def test_a_missing_model_file_is_nobodys_segment(workers, tmp_path):
    with pytest.raises(AssetError, match="no model file"):
        outcomes(workers, tmp_path, "a", "b", "c", "d", "unfetched")
    assert outcomes(workers, tmp_path, "a", "b") == {"a": "A", "b": "B"}, "and it ends no worker"


def test_a_scheduler_that_was_running_before_is_left_running(scheduler, tmp_path):
    with Workers(scheduler) as workers:
        assert outcomes(workers, tmp_path, "a") == {"a": "A"}
    with Workers(scheduler) as workers:
        assert outcomes(workers, tmp_path, "b") == {"b": "B"}


def test_a_scheduler_that_is_killed_is_a_sentence_and_what_was_measured_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(workers_module, "ANSWER_SECONDS", 5.0)
    found = []
    with (
        dask_processes(tmp_path) as (address, (scheduler, *_)),
        Workers(address) as workers,
        pytest.raises(WorkersError, match=f"the Dask scheduler at {address} is gone"),
    ):
        for outcome in workers.measure(work, {value: (value, tmp_path) for value in ("a", "b", "endless")}):
            found.append(outcome)
            if len(found) == 2:
                scheduler.kill()
    assert dict(found) == {"a": "A", "b": "B"}


def test_a_scheduler_without_workers_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(workers_module, "PATIENCE", 2.0)
    with LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0") as cluster:
        with Workers(cluster.scheduler_address) as workers, pytest.raises(WorkersError, match="start some there"):
            outcomes(workers, tmp_path, "a")


def test_workers_of_our_own_start_when_needed_and_end_with_us(tmp_path):
    before = set(psutil.Process().children(recursive=True))
    with Workers() as workers:
        assert list(workers.measure(work, {})) == []
        assert set(psutil.Process().children(recursive=True)) == before, "nothing to measure, nothing started"
        assert outcomes(workers, tmp_path, "a", "damaged", "b").keys() == {"a", "damaged", "b"}
        started = set(psutil.Process().children(recursive=True)) - before
        assert len(started) >= len(os.sched_getaffinity(0))
    assert not left_of(started)


def test_workers_of_our_own_have_one_thread_and_keep_the_memory_that_they_free():
    with Workers() as workers:
        variables = workers.client.run(lambda: dict(os.environ))
    assert len(variables) == len(os.sched_getaffinity(0))
    for worker in variables.values():
        assert "MALLOC_TRIM_THRESHOLD_" not in worker and worker["OMP_NUM_THREADS"] == "1"


def test_workers_end_with_us_when_we_fail(tmp_path):
    before = set(psutil.Process().children(recursive=True))
    with pytest.raises(AssetError), Workers() as workers:
        outcomes(workers, tmp_path, "unfetched")
    assert not left_of(set(psutil.Process().children(recursive=True)) - before)


MEASURING = """
import sys
from pathlib import Path
from tasks.workers import Workers
from tests.tasks.test_workers import work

if __name__ == "__main__":
    with Workers() as workers:
        for _ in workers.measure(work, {value: (value, Path()) for value in ("a", sys.argv[1])}):
            print(flush=True)
"""


@pytest.mark.parametrize("value", ["endless", "endless, and keeps Python for itself"])
def test_workers_end_with_us_when_we_are_killed(tmp_path, value):
    (tmp_path / "measuring.py").write_text(MEASURING)
    process = subprocess.Popen(
        [sys.executable, "measuring.py", value],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
    )
    process.stdout.readline()
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) > 1
    process.kill()
    process.communicate()
    _, alive = psutil.wait_procs(family, timeout=30)
    assert not alive


@given(st.integers(0, 60), st.integers(1, 8), st.randoms())
def test_runs_give_every_key_once_and_neighbours_to_one_worker(count, worker_count, chance):
    """Also where a worker gives back what it did not get done."""
    keys = [f"{number:02}" for number in range(count)]
    runs, given_to = Runs(keys), {worker: [] for worker in range(worker_count)}
    while runs:
        worker = chance.randrange(worker_count)
        if taken := runs.take(worker, chance.randint(1, 5)):
            done = chance.randint(1, len(taken))
            runs.put_back(worker, taken[done:])
            given_to[worker] += taken[:done]
    assert sorted(sum(given_to.values(), [])) == keys
    assert not any(runs.take(worker, 1) for worker in given_to)
    jumps = sum(int(b) != int(a) + 1 for run in given_to.values() for a, b in zip(run, run[1:], strict=False))
    assert jumps <= worker_count * (count.bit_length() + 1)


def test_a_key_that_is_added_again_comes_after_those_of_the_same_worker_and_alone():
    runs = Runs("abc")
    assert runs.take("one", 1) == ["a"] and len(runs) == 2
    runs.add("a")
    runs.add("x")
    assert [runs.take("one", 3) for _ in range(4)] == [["b", "c"], ["a"], ["x"], []]
