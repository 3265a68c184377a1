"""What every test may use."""

from collections.abc import Iterator
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
def scheduler() -> Iterator[str]:
    """The address of a Dask scheduler with two workers, which keep their models from test to test."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0") as cluster:
        yield cluster.scheduler_address
