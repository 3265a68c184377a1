"""SIGKILL, at random times, of all that can be killed: what is lost, and what the store is in the end."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from storage.feature_store import FeatureStore
from storage.schema import StoreError
from tasks.extract import Step
from tests.conftest import dask_processes
from tests.faults.made_up_run import corpus, instruments, parameters

COORDINATORS = 50
KINDS = ("the flow's process", "its process group", "a Dask worker", "the Prefect server", "SIGTERM")
TIMES = 5
VIDEOS, SEGMENTS = 8, 240
PATIENCE = 600


def kills(home: Path) -> None:
    """Prints a table: what was killed how often, what was lost, and how many stores ended like an undisturbed one."""
    print("| killed | kills | results lost | stores equal to an undisturbed run's | till all had ended |", flush=True)
    print("|---|---|---|---|---|")
    coordinators(home / "coordinators")
    raw, folder = corpus(home / f"raw-{VIDEOS}", VIDEOS, SEGMENTS), home / "killed"
    shutil.rmtree(folder, ignore_errors=True)
    wait(start(raw, folder / "undisturbed"))
    whole, everything = store_of(raw, folder / "undisturbed").digest(), results(raw, folder / "undisturbed")
    dice = random.Random(0)
    for what in KINDS:
        lost, same, slowest = 0, 0, 0.0
        for number in range(TIMES):
            place = folder / f"{what} {number}"
            process = start(raw, place)
            until(raw, place, dice.randrange(1, 3 * SEGMENTS), process)
            slowest = max(slowest, end(what, process, dice))
            kept = results(raw, place)
            wait(start(raw, place))
            lost += len((kept | everything) - results(raw, place))
            same += store_of(raw, place).digest() == whole
        print(f"| {what} | {TIMES} | {lost} | {same} of {TIMES} | {slowest:.1f} s |", flush=True)


def coordinators(folder: Path) -> None:
    """The process that coordinates and commits, at random times, on workers that stay."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with dask_processes(folder) as (address, _):
        command = [sys.executable, "-m", "tests.faults.kill_at_random", folder / "stores", address, str(COORDINATORS)]
        done = subprocess.run(
            command, env={**os.environ, "TQDM_DISABLE": "1"}, stdout=subprocess.PIPE, text=True, check=True
        )
    found = json.loads(done.stdout.splitlines()[-1])
    same = found["digests"] == [found["undisturbed"]]
    print(f"| the process that commits | {found['kills']} | {found['lost']} | {'all' if same else 'not all'} of "
          f"{found['stores']} | |", flush=True)  # fmt: skip


def start(raw: Path, home: Path) -> psutil.Popen:
    """A run, as the leader of a process group."""
    home.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.faults.made_up_run", raw, home, "--stop-after", "extract"]
    environment = {**os.environ, "PREFECT_HOME": str(home / "prefect"), "TQDM_DISABLE": "1"}
    with (home / "log").open("ab") as log:
        return psutil.Popen(
            [*command, "--commit-seconds", "0.2"], env=environment, stdout=log, stderr=log, start_new_session=True
        )


def until(raw: Path, home: Path, count: int, process: psutil.Popen) -> None:
    """Wait for so many results."""
    while len(results(raw, home)) < count:
        if process.poll() is not None:
            raise RuntimeError(f"the run ended early: {home / 'log'} says why")
        time.sleep(0.1)


def end(what: str, process: psutil.Popen, dice: random.Random) -> float:
    """Kill this of a run; the seconds until it has ended with all that it started."""
    family = process.children(recursive=True)
    began = time.monotonic()
    if what == "its process group":
        os.killpg(process.pid, signal.SIGKILL)
    elif what == "a Dask worker":
        workers = [member for member in family if "spawn_main" in " ".join(member.cmdline())]
        dice.choice(workers).kill()
    elif what == "the Prefect server":
        for member in family:
            if "prefect" in member.cmdline():
                member.kill()
    else:
        process.send_signal(signal.SIGTERM if what == "SIGTERM" else signal.SIGKILL)
    process.wait(timeout=PATIENCE)
    _, alive = psutil.wait_procs(family, timeout=PATIENCE)
    if alive:
        raise RuntimeError(f"left running after {what}: {alive}")
    return time.monotonic() - began


def wait(process: psutil.Popen) -> None:
    if process.wait(timeout=PATIENCE):
        raise subprocess.CalledProcessError(process.returncode, process.args)


def store_of(raw: Path, home: Path) -> FeatureStore:
    return FeatureStore.open(parameters(raw, home).store_url, create=False)


def results(raw: Path, home: Path) -> set[tuple[str, str]]:
    """Feature and key of all that the store holds; nothing where there is none yet."""
    try:
        store = store_of(raw, home)
    except StoreError as error:
        if error.reason != "absent":
            raise
        return set()
    steps = [Step.of(feature, tool) for feature, tool in instruments().items()]
    return {(step.name, key) for step in steps for key in store.done(step.name, step.fingerprint)}
