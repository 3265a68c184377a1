"""Prefect on one machine: a loopback server, workers and the deployments, started and ended together."""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NoReturn

import psutil
import requests
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.settings import PREFECT_API_URL, temporary_settings

from tasks.processes import die_with_parent
from tasks.progress import Progress

SETTINGS = Path("prefect.toml")
MARK = "# Written by `dmd up`, removed by `dmd down`.\n"
GOODBYE_SECONDS = 5.0
"""How long a process goes on whose server is gone."""
CHOICES = """\
[server.concurrency]
# by default kept in memory, and a server that was killed would never free the places of who held a limit
lease_storage = "prefect.server.concurrency.lease_storage.filesystem"
[worker]
# by default a run waits up to 10 s for a worker to look
query_seconds = 2
"""
POOLS = {"cpu": None, "gpu": 1}
"""How many runs each work pool takes at a time; None is any number."""


class ServerError(Exception):
    """Prefect could not be started or is in the way; one sentence says what to do."""

    reason = "server"


def up(home: Path, port: int) -> str:
    """Start server and workers, deploy, and point Prefect's commands in this folder at the server; return its address.

    Raises ServerError if something else uses the port, or if a ``prefect.toml`` of somebody else's lies here.
    """
    if SETTINGS.exists() and not _ours(SETTINGS):
        raise ServerError(
            f"{SETTINGS.absolute()} is not from `dmd up`: move it away, or start Prefect's server yourself"
        )
    if running(home):
        raise ServerError("already up: `dmd status` shows it, `dmd down` ends it")
    address = f"http://127.0.0.1:{port}"
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise ServerError(f"another server listens at {address}: end it, or choose another --port")
    home.mkdir(parents=True, exist_ok=True)
    SETTINGS.write_text(f'{MARK}[api]\nurl = "{address}/api"\n{CHOICES}')
    try:
        with Progress("start Prefect", total=2 + len(POOLS), unit="step") as progress:
            processes = {"server": _start(home, "server", *_server_arguments(port))}
            _remember(home, processes)
            _wait_for(address, processes["server"], home)
            progress.advance("server")
            _make_pools(address)
            _prefect("deploy", "--all")
            progress.advance("deployments")
            for pool in POOLS:
                name = f"{pool}-worker"
                processes[name] = _start(home, name, "worker", "start", "--pool", pool, "--name", name)
                _remember(home, processes)
                progress.advance(name)
    except BaseException:
        down(home)
        raise
    return address


def down(home: Path) -> int:
    """End what `up` started, with all that it started in turn; return how many processes that were."""
    ended = _end(reversed(running(home).values()))
    (home / "processes.json").unlink(missing_ok=True)
    if _ours(SETTINGS):
        SETTINGS.unlink()
    return ended


@contextmanager
def at_hand() -> Iterator[None]:
    """A server for the flows in the body: the one that Prefect's settings name, else one of our own until we exit.

    Prefect would start one too, but in our process group, where Ctrl-C ends it before it can hear how the run ended.
    From here on, SIGTERM ends this process in good order, with exit code 143.
    """
    signal.signal(signal.SIGTERM, _exit_in_order)
    if address := PREFECT_API_URL.value():
        if _ours(SETTINGS) and not _answers(address.removesuffix("/api")):
            raise ServerError(f"the server of `dmd up` does not answer at {address}: `dmd down` forgets it")
        with _missed(address.removesuffix("/api")):
            yield
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tempfile.TemporaryDirectory(prefix="dmd-server-")
    server = _start(Path(folder.name), "server", *_server_arguments(port), "--no-services", dies_with_us=True)
    # Not at the end of the body: Prefect's threads send their last logs when the interpreter shuts down.
    atexit.register(folder.cleanup)
    atexit.register(_end, [server], patience=10)
    address = f"http://127.0.0.1:{port}"
    _wait_for(address, server, Path(folder.name))
    try:
        with temporary_settings({PREFECT_API_URL: f"{address}/api"}), _missed(address):
            yield
    except ServerError:
        folder.cleanup()  # for this process will not exit in good order
        raise


@contextmanager
def _missed(address: str) -> Iterator[None]:
    """A server that ends during the body is a sentence.

    Prefect's threads would go on sending to it for minutes: this process ends without them.
    """
    try:
        yield
    except Exception as error:
        if _answers(address):
            raise
        leaving = threading.Timer(GOODBYE_SECONDS, os._exit, [1])
        leaving.daemon = True
        leaving.start()
        raise ServerError(f"Prefect's server at {address} is gone: run again, what was done is kept") from error


def _exit_in_order(received: int, _) -> NoReturn:
    sys.exit(128 + received)


def _ours(settings: Path) -> bool:
    return settings.exists() and settings.read_text().startswith(MARK)


def _server_arguments(port: int) -> tuple[str, ...]:
    return ("server", "start", "--host", "127.0.0.1", "--port", str(port))


def running(home: Path) -> dict[str, psutil.Process]:
    """The processes that `up` started and that still live, by name."""
    record = home / "processes.json"
    if not record.exists():
        return {}
    found = {}
    for name, (pid, created) in json.loads(record.read_text()).items():
        # A number alone may by now be somebody else's process.
        if psutil.pid_exists(pid) and psutil.Process(pid).create_time() == created:
            found[name] = psutil.Process(pid)
    return found


def _end(processes: Iterable[psutil.Process], patience: float = 20) -> int:
    """End processes and all that they started, gently at first; return how many there were."""
    count = 0
    for process in processes:
        family = [process, *process.children(recursive=True)]
        process.send_signal(signal.SIGTERM)
        _, stubborn = psutil.wait_procs(family, timeout=patience)
        for member in stubborn:
            member.kill()
        count += len(family)
    return count


def _start(folder: Path, name: str, *arguments: str, dies_with_us: bool = False) -> psutil.Process:
    with open(folder / f"{name}.log", "ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=partial(die_with_parent, signal.SIGTERM) if dies_with_us else None,
        )
    return psutil.Process(process.pid)


def _make_pools(address: str) -> None:
    from prefect.workers.process import ProcessWorker  # a second, and only `dmd up` needs it

    template = ProcessWorker.get_default_base_job_template()
    with temporary_settings({PREFECT_API_URL: f"{address}/api"}), get_client(sync_client=True) as client:
        for name, limit in POOLS.items():
            pool = WorkPoolCreate(name=name, type="process", base_job_template=template, concurrency_limit=limit)
            client.create_work_pool(pool, overwrite=True)


def _prefect(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", *arguments],
        env={**os.environ, "PWD": os.getcwd()},  # prefect.yaml says that flows run there
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise ServerError(f"`prefect {' '.join(arguments)}` failed: {done.stdout}{done.stderr}")


def _remember(home: Path, processes: dict[str, psutil.Process]) -> None:
    record = {name: (process.pid, process.create_time()) for name, process in processes.items()}
    partial = home / "processes.json.partial"
    partial.write_text(json.dumps(record))
    os.replace(partial, home / "processes.json")


def _answers(address: str) -> bool:
    try:
        return requests.get(f"{address}/api/health", timeout=2).ok
    except (requests.ConnectionError, requests.Timeout):
        return False


def _wait_for(address: str, server: psutil.Process, home: Path, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not _answers(address):
        if not server.is_running() or server.status() == psutil.STATUS_ZOMBIE or time.monotonic() > deadline:
            raise ServerError(f"Prefect's server did not start: {home / 'server.log'} says why")
        time.sleep(0.5)
