"""Workers: every call has one outcome, whatever it does to the process it runs in, and nothing is left running."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from distributed import LocalCluster

from storage.schema import Failure
from tasks.assets import AssetError
from tasks.features.media import MediaError
from tasks.workers import Workers


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
    if value == "deadly once" and not (folder / "died").exists():
        (folder / "died").touch()
        os._exit(1)
    return value.upper()


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0") as running:
        yield running


@pytest.fixture(scope="module")
def workers(cluster) -> Iterator[Workers]:
    """On a scheduler that was running before, and that goes on running."""
    with Workers(cluster.scheduler_address) as workers:
        yield workers


def outcomes(workers: Workers, folder: Path, *values: str) -> dict[str, str | Failure]:
    found = list(workers.measure(work, {value: (value, folder) for value in values}))
    assert len(found) == len(values), "one outcome for each"
    return dict(found)


def left_of(started: set[psutil.Process]) -> list[psutil.Process]:
    """Those that do not end; multiprocessing keeps one for itself, which ends with the interpreter."""
    _, alive = psutil.wait_procs(started, timeout=20)
    return [process for process in alive if "resource_tracker" not in " ".join(process.cmdline())]


def test_errors_become_failures_and_the_others_come_through(workers, tmp_path):
    assert outcomes(workers, tmp_path, "a", "damaged", "b", "broken", "c", "d", "e") == {
        **{value: value.upper() for value in "abcde"},
        "damaged": Failure("truncated", "the file was cut"),
        "broken": Failure("unexpected", "ZeroDivisionError: by nothing"),
    }


def test_a_segment_that_kills_its_worker_fails_and_its_neighbours_come_through(workers, tmp_path):
    found = outcomes(workers, tmp_path, "a", "deadly", "b", "c", "d", "e", "f")
    failure = found.pop("deadly")
    assert failure == Failure("worker_died", "the worker that measured this segment died 2 times")
    assert found == {value: value.upper() for value in "abcdef"}


def test_a_segment_whose_worker_died_once_is_tried_again(workers, tmp_path):
    assert outcomes(workers, tmp_path, "a", "deadly once", "b") == {"a": "A", "deadly once": "DEADLY ONCE", "b": "B"}
    assert (tmp_path / "died").exists()


def test_a_missing_model_file_is_nobodys_segment(workers, tmp_path):
    found = []
    with pytest.raises(AssetError, match="no model file"):
        for key, _ in workers.measure(work, {value: (value, tmp_path) for value in ("a", "b", "c", "d", "unfetched")}):
            found.append(key)
    assert {"a", "b", "c"} <= set(found), "what was measured before is not lost"


def test_a_scheduler_that_was_running_before_is_left_running(cluster, tmp_path):
    with Workers(cluster.scheduler_address) as workers:
        assert outcomes(workers, tmp_path, "a") == {"a": "A"}
    with Workers(cluster.scheduler_address) as workers:
        assert outcomes(workers, tmp_path, "b") == {"b": "B"}


def test_workers_of_our_own_start_when_needed_and_end_with_us(tmp_path):
    before = set(psutil.Process().children(recursive=True))
    with Workers() as workers:
        assert list(workers.measure(work, {})) == []
        assert set(psutil.Process().children(recursive=True)) == before, "nothing to measure, nothing started"
        assert outcomes(workers, tmp_path, "a", "damaged", "b").keys() == {"a", "damaged", "b"}
        started = set(psutil.Process().children(recursive=True)) - before
        assert len(started) >= len(os.sched_getaffinity(0))
    assert not left_of(started)


def test_workers_end_with_us_when_we_fail(tmp_path):
    before = set(psutil.Process().children(recursive=True))
    with pytest.raises(AssetError), Workers() as workers:
        outcomes(workers, tmp_path, "unfetched")
    assert not left_of(set(psutil.Process().children(recursive=True)) - before)
