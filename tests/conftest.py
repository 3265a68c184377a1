"""What every test may use."""

import json
import logging
import os
import signal
import string
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
SEGMENTS, SEED = 12, 0
"""Of the sample corpus that tests share: three videos, one a split."""


def pytest_configure() -> None:
    """Started in the background, this process is deaf to Ctrl-C, and so would be what the tests start and interrupt."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


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
    from prefect.settings import (
        PREFECT_HOME,
        PREFECT_SERVER_CONCURRENCY_MAXIMUM_CONCURRENCY_SLOT_WAIT_SECONDS,
        PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS,
        temporary_settings,
    )
    from prefect.testing.utilities import prefect_test_harness

    settings = {
        PREFECT_HOME: tmp_path_factory.mktemp("prefect"),
        PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS: 120,
        PREFECT_SERVER_CONCURRENCY_MAXIMUM_CONCURRENCY_SLOT_WAIT_SECONDS: 1,  # between two tries for a place
    }
    with temporary_settings(settings), prefect_test_harness(server_startup_timeout=None):
        yield


@pytest.fixture(scope="session")
def scheduler(tmp_path_factory) -> Iterator[str]:
    """The address of a Dask scheduler with two workers, which keep their models from test to test."""
    with dask_processes(tmp_path_factory.mktemp("dask")) as (address, _):
        yield address


@pytest.fixture
def s3(monkeypatch) -> Iterator[str]:
    """``s3://`` and the name of an empty bucket, on a server of the tests' own that speaks S3."""
    for package in ("moto.server", "flask_cors"):
        pytest.importorskip(package, reason="the extra 'test' (moto, flask, flask-cors) is not installed")
    import boto3
    import requests
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    requests.post(f"http://{host}:{port}/moto-api/reset", timeout=10).raise_for_status()  # it outlives its server
    boto3.client("s3").create_bucket(Bucket="corpora")
    yield "s3://corpora"
    server.stop()


@pytest.fixture(scope="session")
def ctc_model(tmp_path_factory) -> Path:
    """A folder with a small Wav2Vec2ForCTC of random weights, in the files that the hub gives."""
    import torch
    import transformers

    folder = tmp_path_factory.mktemp("ctc")
    symbols = ["<pad>", "<s>", "</s>", "<unk>", "|", "'", *string.ascii_uppercase]
    (folder / "vocab.json").write_text(json.dumps({symbol: number for number, symbol in enumerate(symbols)}))
    torch.manual_seed(0)
    config = transformers.Wav2Vec2Config(
        vocab_size=len(symbols),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=[8] * 7,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
    )
    transformers.Wav2Vec2ForCTC(config).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return folder


@pytest.fixture
def serve() -> Iterator[Callable[[Path], str]]:
    """A function that serves a folder over http and returns its address."""

    class Silent(SimpleHTTPRequestHandler):
        def log_message(self, *_) -> None:
            return

    with ExitStack() as servers:

        def start(folder: Path) -> str:
            server = servers.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=folder)))
            servers.callback(server.shutdown)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            return f"http://127.0.0.1:{server.server_port}"

        yield start


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
