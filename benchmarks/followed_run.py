"""A run of the flow with made-up instruments, as a process of its own whose memory is followed."""

from __future__ import annotations

import itertools
import json
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

POLL_SECONDS = 0.5
FEWEST = 8
"""Looks at the memory during a task, below which nothing is said of it."""
MIB = 2**20


@dataclass(frozen=True)
class Followed:
    """What was seen of a run.

    Its seconds, those of CPU of all its processes, when each task began and ended, and the resident bytes of all
    processes with the time of each look.
    """

    seconds: float
    cpu_seconds: float
    tasks: dict[str, tuple[float, float]]
    memory: list[tuple[float, int]]

    def memory_at_the_ends(self, began: float, ended: float) -> tuple[float, float] | None:
        """Bytes, the means of the first and the last quarter of this time; None where it was short."""
        inside = [size for when, size in self.memory if began <= when <= ended]
        if len(inside) < FEWEST:
            return None
        first, *_, last = np.array_split(inside, 4)
        return float(np.mean(first)), float(np.mean(last))


def followed(raw: Path, home: Path) -> Followed:
    """One run, with a Prefect server and workers of its own."""
    record = home.with_name(f"{home.name}.json")
    before, began, memory = _cpu_of_children(), time.time(), []
    process = psutil.Popen([sys.executable, "-m", "tests.faults.made_up_run", raw, home, "--record", record])
    while process.poll() is None:
        memory.append((time.time(), resident(process)))
        time.sleep(POLL_SECONDS)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    ends = json.loads(record.read_text())
    tasks = {name: (before, after) for (_, before), (name, after) in itertools.pairwise(ends)}
    return Followed(time.time() - began, _cpu_of_children() - before, tasks, memory)


def resident(process: psutil.Process) -> int:
    """Bytes of a process and all that it started."""
    total = 0
    for member in (process, *process.children(recursive=True)):
        try:
            total += member.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def _cpu_of_children() -> float:
    """Of all processes that have ended and been waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
