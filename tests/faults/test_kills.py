"""Nothing is lost and nothing is done twice, wherever in the store's code a process dies."""

import json
import os
import subprocess
import sys

from tests.conftest import REPOSITORY

KILLS = 10
"""Fifty, and more kinds of them, are in `benchmarks/orchestration.py`."""


def test_sigkill_at_random_moments_of_an_extraction_loses_nothing(scheduler, tmp_path):
    found = result_of("kill_at_random", str(tmp_path / "stores"), scheduler, str(KILLS))
    assert found["kills"] == KILLS and found["lost"] == 0
    assert found["digests"] == [found["undisturbed"]]


def test_sigkill_at_every_line_of_the_store_leaves_what_an_undisturbed_run_does(tmp_path):
    found = result_of("kill_at_every_line", str(tmp_path))
    assert found["lines"] > 60 and found["kills"] == found["lines"]
    assert found["digests"] == [found["undisturbed"]]


def result_of(program: str, *arguments: str) -> dict:
    """What a program of this folder prints in the end."""
    done = subprocess.run(
        [sys.executable, "-m", f"tests.faults.{program}", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "TQDM_DISABLE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
