"""How long a deployed run takes that has nothing to do, from the command that asks for it to its completion."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import requests

from tests.faults.made_up_run import corpus, parameters

ROOMS = ("flows", "tasks", "storage", "dmd_model", "tests", "prefect.yaml")
REPOSITORY = Path(__file__).resolve().parent.parent
PORT = 4287
TIMES = 4


def deployment(home: Path) -> None:
    """Deploys on a server of its own, runs each deployment once so that all is done, and then again and again."""
    clone = home / "clone"
    clone.mkdir(parents=True, exist_ok=True)
    for room in ROOMS:
        (clone / room).unlink(missing_ok=True)
        (clone / room).symlink_to(REPOSITORY / room)
    environment = {**os.environ, "PREFECT_HOME": str(home / "prefect"), "PWD": str(clone), "TQDM_DISABLE": "1"}
    environment["PREFECT_API_URL"] = f"http://127.0.0.1:{PORT}/api"

    def call(*arguments: str) -> None:
        subprocess.run(
            [sys.executable, "-m", *arguments], cwd=clone, env=environment, check=True, stdout=subprocess.DEVNULL
        )

    call("flows", "up", "--home", str(home / "service"), "--port", str(PORT))
    try:
        call("prefect", "--no-prompt", "deploy", "tests/faults/made_up_run.py:dmd", "-n", "made-up", "-p", "cpu")
        made_up = parameters(corpus(home / "raw-93", 93, 2_199), home / "run-93").model_dump(mode="json")
        for name, run in (("dmd/made-up", made_up), ("dmd/full", {"home": str(home / "sample")})):
            asked = ["prefect", "deployment", "run", name, "--watch", "--param", f"run={json.dumps(run)}"]
            seconds = []
            for _ in range(TIMES + 1):
                began = time.time()
                call(*asked)
                seconds.append(_ended() - began)
            rest = ", ".join(f"{each:.1f}" for each in seconds[1:])
            print(f"{name}: first {seconds[0]:.1f} s, then {rest} s (aim: 20 s)", flush=True)
    finally:
        call("flows", "down", "--home", str(home / "service"))


def _ended() -> float:
    """When the newest run ended."""
    address = f"http://127.0.0.1:{PORT}/api/flow_runs/filter"
    (run,) = requests.post(address, json={"sort": "END_TIME_DESC", "limit": 1}, timeout=30).json()
    if run["state_type"] != "COMPLETED":
        raise RuntimeError(f"{run['name']} ended as {run['state']}")
    return datetime.fromisoformat(run["end_time"]).timestamp()
