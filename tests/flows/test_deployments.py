"""The deployments of prefect.yaml go to processes, to containers and to a cluster without a change of code."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL

from dmd_model.registry import MODELS
from flows.dmd import coordinators, dmd
from flows.parameters import RunParameters
from tasks.limits import one_at_a_time
from tests.conftest import REPOSITORY
from tests.flows.conftest import API

NAMES = {"full": "cpu", "extract": "cpu", "train": "gpu", "compare": "gpu", "nightly": "cpu", "video": "cpu"}
FORMS = {
    "full": "RunParameters",
    "extract": "ExtractParameters",
    "train": "TrainParameters",
    "compare": "CompareParameters",
    "nightly": "RetrainParameters",
    "video": "PredictParameters",
}
IMAGE = (REPOSITORY / "Dockerfile").read_text()
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


@pytest.fixture(scope="module")
def api(prefect_server) -> str:
    return PREFECT_API_URL.value()


@pytest.fixture(scope="module")
def clone(api, tmp_path_factory) -> Path:
    """A folder that holds the project as a clone does, deployed to pools of processes."""
    folder = rooms(tmp_path_factory.mktemp("clone"))
    for pool in ("cpu", "gpu"):
        prefect(api, folder, "work-pool", "create", pool, "--type", "process", "--overwrite")
    prefect(api, folder, "deploy", "--all")
    return folder


def test_all_of_them_run_in_processes_in_the_clone(api, clone):
    found = deployments(api)
    assert {name: entry["work_pool_name"] for name, entry in found.items()} == NAMES
    assert {directory(entry) for entry in found.values()} == {str(clone)}


def test_each_has_a_form_that_says_what_every_parameter_is(api, clone):
    for name, entry in deployments(api).items():
        assert entry["description"]
        schema = entry["parameter_openapi_schema"]
        form = schema["definitions"][FORMS[name]]
        assert FORMS[name] in json.dumps(schema["properties"]["run"])
        assert len(form["properties"]) >= 7
        assert all(len(field.get("description", "")) > 10 for field in form["properties"].values()), name


def test_what_a_form_leaves_out_is_what_the_deployment_is_for(api, clone):
    """Who extracts another data set need not say again that nothing is to be trained, nor who compares, what."""
    found = deployments(api)
    assert {name: entry["parameters"] for name, entry in found.items()} == {
        name: {} if name == "video" else {"run": {}} for name in NAMES
    }
    forms = {name: entry["parameter_openapi_schema"]["definitions"][FORMS[name]] for name, entry in found.items()}
    assert forms["full"]["properties"]["stop_after"]["default"] == "train"
    assert forms["extract"]["properties"]["stop_after"]["default"] == "validate"
    assert forms["compare"]["properties"]["models"]["default"] == list(MODELS)
    assert len(forms["compare"]["properties"]["seeds"]["default"]) == 5


def test_a_run_has_another_deployment_train(api, clone, finished, tmp_path):
    """As where extraction and training are on different machines with one home."""
    home = finished.copy(tmp_path / "home")
    with worker(api, clone, "gpu"):
        page = dmd(home.parameters(train_with="dmd/train", models=["lf-lstm"], seeds=[1]))
    assert "lf-lstm" in page.read_text(encoding="utf-8")
    assert len(home.results) == len(finished.results) + 1
    runs = API.post(f"{api}/flow_runs/filter", json={"sort": "START_TIME_DESC"}, timeout=10).json()
    child = next(run for run in runs if run["deployment_id"])
    assert child["state_type"] == "COMPLETED" and child["parent_task_run_id"]


def test_runs_of_all_deployments_wait_for_each_other_where_they_have_one_store(api, clone, tmp_path, monkeypatch):
    (tmp_path / "raw" / "Raw").mkdir(parents=True)
    (tmp_path / "raw" / "label.csv").write_text("video_id,clip_id,text\nv,1,nobody filmed this\n")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "label.csv").write_text("no,label,file\n")
    data = {"dataset": "one", "home": str(tmp_path / "home"), "raw": str(tmp_path / "raw")}
    limit = coordinators(RunParameters(**data))
    with worker(api, clone, "cpu"):
        monkeypatch.setenv("PREFECT__RUNTIME__DEPLOYMENT__ID", "of this test")
        with one_at_a_time(limit):
            started = {
                "full": start(api, "full", data | {"stop_after": "ingest"}),
                "extract": start(api, "extract", data | {"stop_after": "ingest"}),
                "nightly": start(api, "nightly", data | {"raw": str(tmp_path / "bad")}),
            }
            waiting = f"waiting: another run holds the concurrency limit {limit}"
            until(lambda: said(api, waiting) >= set(started.values()))
            assert all(state(api, run)["type"] == "RUNNING" for run in started.values())
            assert not ingested(api, started.values()), "nobody coordinates yet"
        until(lambda: all(state(api, run)["type"] in ENDED for run in started.values()))
    ends = {name: state(api, run)["type"] for name, run in started.items()}
    assert ends == {"full": "COMPLETED", "extract": "COMPLETED", "nightly": "FAILED"}
    assert "label.csv" in state(api, started["nightly"])["message"], "it had its turn, and found no labels"
    times = ingested(api, started.values())
    assert len(times) == 3 and all(end <= start for (_, end), (start, _) in zip(times, times[1:], strict=False))


@pytest.mark.parametrize("kind", ["docker", "kubernetes"])
def test_all_of_them_fit_pools_of_other_kinds(kind, api, clone, tmp_path):
    rooms(tmp_path)
    (tmp_path / "prefect.yaml").unlink()
    written = (REPOSITORY / "prefect.yaml").read_text()
    chosen = written.replace("<<: *process_cpu", f"<<: *{kind}_cpu").replace("<<: *process_gpu", f"<<: *{kind}_gpu")
    assert chosen != written
    (tmp_path / "prefect.yaml").write_text(chosen)
    template = ["--base-job-template", str(REPOSITORY / "docs" / "kubernetes-pool.json")]
    for pool in ("cpu", "gpu"):
        options = template if kind == "kubernetes" else []
        prefect(api, tmp_path, "work-pool", "create", f"{kind}-{pool}", "--type", kind, "--overwrite", *options)
    prefect(api, tmp_path, "deploy", "--all")
    found = deployments(api)
    assert {name: entry["work_pool_name"] for name, entry in found.items()} == {
        name: f"{kind}-{pool}" for name, pool in NAMES.items()
    }
    (workdir,) = re.findall(r"^WORKDIR (.+)$", IMAGE, flags=re.MULTILINE)
    assert {directory(entry) for entry in found.values()} == {workdir}
    name = f"dmd:{PROJECT['project']['version']}"
    assert f"docker build -t {name} ." in IMAGE
    assert {entry["job_variables"]["image"] for entry in found.values()} == {name}
    (volume,) = re.findall(r"^VOLUME (.+)$", IMAGE, flags=re.MULTILINE)
    if kind == "docker":
        assert all(entry["job_variables"]["volumes"] == [f"dmd-data:{volume}"] for entry in found.values())
    else:
        assert f'"mountPath": "{volume}"' in Path(template[1]).read_text()


def test_the_image_holds_every_package_and_keeps_everything_on_its_volume():
    packages = {pattern.removesuffix("*") for pattern in PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]}
    assert packages == {room for room, _ in re.findall(r"^COPY (\w+) (\w+)$", IMAGE, flags=re.MULTILINE)}
    assert re.search(r"^FROM python:(3\.\d+)", IMAGE, flags=re.MULTILINE)[1] in ("3.11", "3.12")
    (volume,) = re.findall(r"^VOLUME (.+)$", IMAGE, flags=re.MULTILINE)
    kept = dict(word.split("=") for word in re.search(r"^ENV (.+)$", IMAGE, flags=re.MULTILINE)[1].split())
    assert kept.keys() == {"DMD_HOME", "XDG_CACHE_HOME"} and all(
        Path(to).is_relative_to(volume) for to in kept.values()
    )


def rooms(folder: Path) -> Path:
    """A folder that holds the project as a clone does."""
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


@contextmanager
def worker(api: str, folder: Path, pool: str) -> Iterator[None]:
    """A worker of the pool, until its runs have ended."""
    environment = {**os.environ, "PREFECT_API_URL": api, "PREFECT_WORKER_QUERY_SECONDS": "1"}
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool]
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=folder, env=environment, **silent) as process:
        try:
            yield
        finally:
            process.kill()


def deployments(api: str) -> dict[str, dict]:
    return {one["name"]: one for one in API.post(f"{api}/deployments/filter", json={}, timeout=10).json()}


def directory(deployment: dict) -> str:
    """Where its runs happen."""
    (step,) = deployment["pull_steps"]
    return step["prefect.deployments.steps.set_working_directory"]["directory"]


def start(api: str, deployment: str, run: dict) -> str:
    """The id of a new run of a deployment."""
    address = f"{api}/deployments/{deployments(api)[deployment]['id']}/create_flow_run"
    wanted = {"parameters": {"run": run}, "state": {"type": "SCHEDULED"}}
    return API.post(address, json=wanted, timeout=10).json()["id"]


def state(api: str, run: str) -> dict:
    return API.get(f"{api}/flow_runs/{run}", timeout=10).json()["state"]


def said(api: str, message: str) -> set[str]:
    """The runs that said so, and those whose children did."""
    logs = API.post(f"{api}/logs/filter", json={"sort": "TIMESTAMP_DESC"}, timeout=10).json()
    speakers = {log["flow_run_id"] for log in logs if log["message"] == message}
    parents = [API.get(f"{api}/flow_runs/{run}", timeout=10).json()["parent_task_run_id"] for run in speakers]
    callers = [API.get(f"{api}/task_runs/{task}", timeout=10).json()["flow_run_id"] for task in parents if task]
    return speakers | set(callers)


def ingested(api: str, runs) -> list[tuple[str, str]]:
    """When each of these runs, or its child, began and ended to read the labels, in that order."""
    tasks = API.post(f"{api}/task_runs/filter", json={"sort": "EXPECTED_START_TIME_DESC"}, timeout=10).json()
    family = set(runs)
    for task in tasks:
        if task["flow_run_id"] in family and task["state"]["state_details"].get("child_flow_run_id"):
            family.add(task["state"]["state_details"]["child_flow_run_id"])
    return sorted(
        (task["start_time"], task["end_time"])
        for task in tasks
        if task["flow_run_id"] in family and task["name"].startswith("ingest")
    )


def until(reached) -> None:
    deadline = time.monotonic() + 180
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.5)
