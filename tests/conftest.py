"""What every test may use."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
SEGMENTS, SEED = 12, 0
"""Of the sample corpus that tests share: three videos, one a split."""


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real recordings and labels that cannot be shipped with the code, beside the clone."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real data absent: {folder}")
    return folder


@pytest.fixture(scope="session")
def sample_extra() -> None:
    for package in ("piper", "skimage"):
        pytest.importorskip(package, reason="the extra 'sample' (piper-tts, scikit-image) is not installed")


@pytest.fixture(scope="session")
def corpus(sample_extra, tmp_path_factory) -> Path:
    """The sample corpus of SEGMENTS segments. Nobody writes to it."""
    from tasks.sample import build

    return build(tmp_path_factory.mktemp("sample") / "corpus", SEGMENTS, SEED)


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory) -> Iterator[None]:
    """Prefect with a server and a database of the tests' own."""
    from prefect.settings import PREFECT_HOME, PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    settings = {
        PREFECT_HOME: tmp_path_factory.mktemp("prefect"),
        PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS: 120,
    }
    with temporary_settings(settings), prefect_test_harness(server_startup_timeout=None):
        yield


@pytest.fixture(scope="session")
def scheduler(tmp_path_factory) -> Iterator[str]:
    """The address of a Dask scheduler with two workers, which keep their models from test to test."""
    with dask_processes(tmp_path_factory.mktemp("dask")) as (address, _):
        yield address


@contextmanager
def dask_processes(folder: Path) -> Iterator[tuple[str, list[subprocess.Popen]]]:
    """A scheduler and two workers, started from the command line as on a cluster: the address, and their processes."""
    file = folder / "scheduler.json"
    scheduler = "scheduler --host 127.0.0.1 --port 0 --no-dashboard --no-show".split()
    worker = f"worker --nthreads 1 --no-dashboard --death-timeout 60 --local-directory {folder}".split()
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.dask_{command}", *options, "--scheduler-file", str(file)],
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for command, *options in (scheduler, worker, worker)
    ]
    try:
        while not file.exists():
            assert processes[0].poll() is None, "the scheduler did not start"
            time.sleep(0.1)
        yield json.loads(file.read_text())["address"], processes
    finally:
        for process in processes:
            process.kill()  # what they started ends with them
            process.wait()
