"""The deployments of prefect.yaml go to processes, to containers and to a cluster without a change of code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from prefect.settings import PREFECT_API_URL

from flows.dmd import dmd
from tests.conftest import REPOSITORY

NAMES = {"full": "cpu", "extract": "cpu", "train": "gpu", "compare": "gpu", "nightly": "cpu", "video": "cpu"}


@pytest.fixture
def api(prefect_server) -> str:
    return PREFECT_API_URL.value()


@pytest.mark.parametrize("kind", ["process", "docker", "kubernetes"])
def test_all_of_them_fit_pools_of_every_kind(kind, api, tmp_path):
    rooms(tmp_path)
    (tmp_path / "prefect.yaml").unlink()
    written = (REPOSITORY / "prefect.yaml").read_text()
    chosen = written.replace("<<: *process_cpu", f"<<: *{kind}_cpu").replace("<<: *process_gpu", f"<<: *{kind}_gpu")
    assert (chosen == written) == (kind == "process")
    (tmp_path / "prefect.yaml").write_text(chosen)
    prefix = "" if kind == "process" else f"{kind}-"
    template = ["--base-job-template", str(REPOSITORY / "docs" / "kubernetes-pool.json")]
    for pool in ("cpu", "gpu"):
        options = template if kind == "kubernetes" else []
        prefect(api, tmp_path, "work-pool", "create", prefix + pool, "--type", kind, "--overwrite", *options)
    prefect(api, tmp_path, "deploy", "--all")
    deployments = requests.post(f"{api}/deployments/filter", json={}, timeout=10).json()
    assert {entry["name"]: entry["work_pool_name"] for entry in deployments} == {
        name: prefix + pool for name, pool in NAMES.items()
    }
    for entry in deployments:
        (step,) = entry["pull_steps"]
        folder = step["prefect.deployments.steps.set_working_directory"]["directory"]
        assert folder == (str(tmp_path) if kind == "process" else "/opt/dmd")
        assert "image" in entry["job_variables"] or kind == "process"


def test_a_run_has_another_deployment_train(api, finished, tmp_path):
    """As where extraction and training are on different machines with one home."""
    room = rooms(tmp_path / "clone")
    prefect(api, room, "work-pool", "create", "cpu", "--type", "process", "--overwrite")
    prefect(api, room, "work-pool", "create", "gpu", "--type", "process", "--overwrite")
    prefect(api, room, "deploy", "--all")
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "gpu", "--limit", "1"]
    environment = {**os.environ, "PREFECT_API_URL": api}
    home = finished.copy(tmp_path / "home")
    with subprocess.Popen(
        command, cwd=room, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as worker:
        try:
            page = dmd(home.parameters(train_with="dmd/train", models=["lf-lstm"], seeds=[1]))
        finally:
            worker.kill()  # its only run has ended
    assert "lf-lstm" in page.read_text(encoding="utf-8")
    assert len(home.results) == len(finished.results) + 1
    runs = requests.post(f"{api}/flow_runs/filter", json={"sort": "START_TIME_DESC"}, timeout=10).json()
    child = next(run for run in runs if run["deployment_id"])
    assert child["state_type"] == "COMPLETED" and child["parent_task_run_id"]


def rooms(folder: Path) -> Path:
    """A folder that holds the project as a clone does."""
    folder.mkdir(exist_ok=True)
    for room in ("flows", "tasks", "storage", "dmd_model", "prefect.yaml"):
        (folder / room).symlink_to(REPOSITORY / room)
    return folder


def prefect(api: str, folder, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", *arguments],
        cwd=folder,
        env={**os.environ, "PREFECT_API_URL": api, "PWD": str(folder)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, json.dumps(arguments) + done.stdout + done.stderr
