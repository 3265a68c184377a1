"""Prefect on one machine: a loopback server, a worker and the deployments, started and ended together."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import requests

SETTINGS = Path("prefect.toml")
MARK = "# Written by `dmd up`, removed by `dmd down`.\n"
POOL = "cpu"


class ServerError(Exception):
    """Prefect could not be started or is in the way; one sentence says what to do."""


def up(home: Path, port: int) -> str:
    """Start server and worker, deploy, and point Prefect's commands in this folder at the server; return its address.

    Raises ServerError if something else uses the port, or if a ``prefect.toml`` of somebody else's lies here.
    """
    if SETTINGS.exists() and not SETTINGS.read_text().startswith(MARK):
        raise ServerError(
            f"{SETTINGS.absolute()} is not from `dmd up`: move it away, or start Prefect's server yourself"
        )
    if running(home):
        raise ServerError("already up: `dmd status` shows it, `dmd down` ends it")
    address = f"http://127.0.0.1:{port}"
    if _answers(address):
        raise ServerError(f"another server answers at {address}: end it, or choose another --port")
    home.mkdir(parents=True, exist_ok=True)
    SETTINGS.write_text(f'{MARK}[api]\nurl = "{address}/api"\n')
    processes = {"server": _start(home, "server", "server", "start", "--host", "127.0.0.1", "--port", str(port))}
    _remember(home, processes)
    _wait_for(address, processes["server"], home)
    _prefect("work-pool", "create", POOL, "--type", "process", "--overwrite")
    _prefect("deploy", "--all")
    processes["worker"] = _start(home, "worker", "worker", "start", "--pool", POOL, "--name", "dmd")
    _remember(home, processes)
    return address


def down(home: Path) -> int:
    """End what `up` started, with all that it started in turn; return how many processes that were."""
    ended = []
    for process in reversed(running(home).values()):
        family = [process, *process.children(recursive=True)]
        process.send_signal(signal.SIGTERM)
        _, alive = psutil.wait_procs(family, timeout=20)
        for stubborn in alive:
            stubborn.kill()
        ended += family
    (home / "processes.json").unlink(missing_ok=True)
    if SETTINGS.exists() and SETTINGS.read_text().startswith(MARK):
        SETTINGS.unlink()
    return len(ended)


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


def _start(home: Path, name: str, *arguments: str) -> psutil.Process:
    with open(home / f"{name}.log", "ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return psutil.Process(process.pid)


def _prefect(*arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", "prefect", "--no-prompt", *arguments], capture_output=True, text=True)
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
    except requests.ConnectionError:
        return False


def _wait_for(address: str, server: psutil.Process, home: Path, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not _answers(address):
        if not server.is_running() or server.status() == psutil.STATUS_ZOMBIE or time.monotonic() > deadline:
            raise ServerError(f"Prefect's server did not start: {home / 'server.log'} says why")
        time.sleep(0.5)
