"""Prefect on one machine: `dmd up` makes it answer and take runs, `dmd down` leaves nothing of it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows import local_server
from flows.local_server import ServerError
from flows.watch import watch
from tests.conftest import REPOSITORY
from tests.flows.conftest import API
from tests.tasks.judged_folder import JudgedFolder

ENDED = ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"]
ROOMS = ("flows", "tasks", "storage", "dmd_model", "prefect.yaml")


@pytest.fixture
def clone(tmp_path, prefect_home, monkeypatch) -> Path:
    """A folder that holds the project as a clone does, to be in."""
    folder = tmp_path / "clone"
    folder.mkdir()
    for name in ROOMS:
        (folder / name).symlink_to(REPOSITORY / name)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PREFECT_HOME", str(prefect_home))
    return folder


@pytest.fixture
def port() -> int:
    return free_port()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def postgresql(port) -> Iterator[str]:
    """The address of an empty database on a PostgreSQL server of the test's own."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin")) or [Path(shutil.which("initdb") or "").parent]
    if not (found[-1] / "initdb").exists():
        pytest.skip("PostgreSQL is not installed (Debian's package: postgresql)")
    root = os.geteuid() == 0  # as whom it refuses to run
    folder = Path(tempfile.mkdtemp(prefix="dmd-postgresql-"))
    if root:
        shutil.chown(folder, "postgres", "postgres")
    postgres_port = free_port()

    def run(program: str, *options: str) -> None:
        command = [str(found[-1] / program), "--pgdata", str(folder / "data"), *options]
        subprocess.run(command, check=True, cwd=folder, user="postgres" if root else None, stdout=subprocess.DEVNULL)

    run("initdb", "--username", "prefect", "--auth", "trust", "--no-sync")
    run("pg_ctl", "-w", "-l", str(folder / "log"), "-o", f"-h 127.0.0.1 -p {postgres_port} -k {folder} -F", "start")
    try:
        yield f"postgresql+asyncpg://prefect@127.0.0.1:{postgres_port}/postgres"
    finally:
        run("pg_ctl", "-w", "-m", "immediate", "stop")
        shutil.rmtree(folder)


def dmd(*arguments: str) -> str:
    """What the command prints; it must succeed."""
    done = subprocess.run([sys.executable, "-m", "flows", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def unfilmed(folder: Path) -> Path:
    """A raw folder with labels and no recording."""
    raw = folder / "raw"
    (raw / "Raw").mkdir(parents=True)
    (raw / "label.csv").write_text("video_id,clip_id,text\nv,1,nobody filmed this\n")
    return raw


def test_up_takes_runs_of_the_deployments_and_down_leaves_nothing(clone, port, tmp_path):
    raw, home = unfilmed(tmp_path), tmp_path / "home"
    try:
        assert f"http://127.0.0.1:{port}" in dmd("up", "--home", str(home), "--port", str(port))
        api = f"http://127.0.0.1:{port}/api"
        assert API.get(f"{api}/health", timeout=10).ok
        deployments = API.post(f"{api}/deployments/filter", json={}, timeout=10).json()
        pools = {entry["name"]: entry["work_pool_name"] for entry in deployments}
        assert pools == {
            "full": "cpu", "extract": "cpu", "train": "gpu", "compare": "gpu", "nightly": "cpu", "video": "cpu",
        }  # fmt: skip
        found = API.post(f"{api}/work_pools/filter", json={}, timeout=10).json()
        assert {pool["name"]: pool["concurrency_limit"] for pool in found} == local_server.POOLS
        assert dmd("status", "--home", str(home)).count("running, process") == 3
        with pytest.raises(ServerError, match="already up"):
            local_server.up(home, port)

        # by `prefect` itself, which finds the server through the settings that were written here
        run = {"dataset": "tiny", "raw": str(raw), "home": str(tmp_path / "runs"), "stop_after": "ingest"}
        arguments = ["deployment", "run", "dmd/full", "--watch", "--param", f"run={json.dumps(run)}"]
        done = subprocess.run([sys.executable, "-m", "prefect", *arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        runs = API.post(f"{api}/flow_runs/filter", json={}, timeout=10).json()
        assert [entry["state_type"] for entry in runs if entry["deployment_id"]] == ["COMPLETED"]
        assert (tmp_path / "runs" / "tiny" / "store").is_dir()

        (nightly,) = (entry for entry in deployments if entry["name"] == "nightly")
        assert [schedule["schedule"]["cron"] for schedule in nightly["schedules"]] == ["0 3 * * *"]
        assert_arriving_files_start_it(api, nightly["id"], tmp_path / "watched" / "tiny")

        started = list(local_server.running(home).values())
        ending = [child for process in started for child in process.children(recursive=True)]
        psutil.wait_procs(ending, timeout=60)  # a run's process outlives the run a little
        started += [child for process in started for child in process.children(recursive=True)]
    finally:
        said = dmd("down", "--home", str(home))
    assert said == f"ended {len(started)} processes\n"
    _, alive = psutil.wait_procs(started, timeout=10)
    assert not alive
    assert {path.name for path in clone.iterdir()} == set(ROOMS)
    assert local_server.running(home) == {} and local_server.down(home) == 0
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)), "nobody listens any more"


def test_prefect_keeps_its_records_in_postgresql_where_it_is_told_to(clone, port, postgresql, tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_SERVER_DATABASE_CONNECTION_URL", postgresql)
    run = {"dataset": "tiny", "raw": str(unfilmed(tmp_path)), "home": str(tmp_path / "runs"), "stop_after": "ingest"}
    try:
        api = f"{local_server.up(tmp_path / 'home', port)}/api"
        extract = API.get(f"{api}/deployments/name/dmd/extract", timeout=10).json()["id"]
        wanted = {"parameters": {"run": run}, "state": {"type": "SCHEDULED"}}
        API.post(f"{api}/deployments/{extract}/create_flow_run", json=wanted, timeout=10).raise_for_status()
        assert [entry["state_type"] for entry in ended_runs(api, extract)] == ["COMPLETED"]
    finally:
        local_server.down(tmp_path / "home")
    assert rows(postgresql, "SELECT state_type FROM flow_run WHERE end_time IS NOT NULL") == [("COMPLETED",)]
    assert len(rows(postgresql, "SELECT name FROM deployment")) == 6
    ((limit, taken),) = rows(postgresql, "SELECT name, active_slots FROM concurrency_limit_v2 WHERE name LIKE 'dmd-%'")
    assert limit.startswith("dmd-store-tiny-") and taken == 0


def rows(database: str, query: str) -> list[tuple]:
    async def ask() -> list[tuple]:
        connection = await asyncpg.connect(database.replace("+asyncpg", ""))
        try:
            return [tuple(row) for row in await connection.fetch(query)]
        finally:
            await connection.close()

    return asyncio.run(ask())


def assert_arriving_files_start_it(api: str, deployment: str, folder: Path) -> None:
    """`dmd watch` sends an event, Prefect's automation starts the deployment, and the run finds what it finds."""
    data = JudgedFolder(folder)
    data.put("1")
    data.judge()
    run = {"dataset": folder.name, "home": str(folder.parent), "raw": str(data.raw)}
    API.patch(f"{api}/deployments/{deployment}", json={"parameters": {"run": run}}, timeout=10).raise_for_status()
    command = [sys.executable, "-m", "flows", "watch", str(data.raw), "--settle-seconds", "0.5"]
    watching = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert watching.stdout.readline() == f"watching {data.raw}: 2 files\n"
        (data.raw / "Raw" / "v" / "unlabelled.mp4").write_bytes(b"film")
        assert watching.stdout.readline() == f"dmd.data.arrived: 1 files in {data.raw}\n"
        runs = ended_runs(api, deployment)
    finally:
        watching.send_signal(signal.SIGINT)
        watching.communicate()
    assert watching.returncode == 130
    assert [(entry["state_type"], entry["state"]["message"][:20]) for entry in runs] == [
        ("COMPLETED", "nothing new to judge")
    ]


def ended_runs(api: str, deployment: str) -> list[dict]:
    """The deployment's runs that have ended, as soon as there is one; the schedule makes some for nights to come."""
    query = {"flow_runs": {"deployment_id": {"any_": [deployment]}, "state": {"type": {"any_": ENDED}}}}
    deadline = time.monotonic() + 180
    while not (runs := API.post(f"{api}/flow_runs/filter", json=query, timeout=10).json()):
        assert time.monotonic() < deadline, "no run has ended"
        time.sleep(0.5)
    return runs


def test_watching_without_a_server_that_could_hear_of_it_is_a_sentence(tmp_path):
    with temporary_settings(restore_defaults={PREFECT_API_URL}), pytest.raises(ServerError, match="dmd up"):
        next(watch(tmp_path, settle_seconds=1))


def test_settings_of_somebody_else_are_left_alone(clone, port, tmp_path):
    (clone / "prefect.toml").write_text('[api]\nurl = "https://prefect.example.org/api"\n')
    before = (clone / "prefect.toml").read_bytes()
    with pytest.raises(ServerError, match=f"{clone / 'prefect.toml'} is not from `dmd up`"):
        local_server.up(tmp_path / "home", port)
    assert local_server.down(tmp_path / "home") == 0
    assert (clone / "prefect.toml").read_bytes() == before and not (tmp_path / "home").exists()


def test_a_port_that_somebody_uses_is_refused(clone, port, tmp_path):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", port))
        listener.listen()
        with pytest.raises(ServerError, match=f"http://127.0.0.1:{port}.*another --port"):
            local_server.up(tmp_path / "home", port)
    assert not (clone / "prefect.toml").exists() and not (tmp_path / "home").exists()


def test_a_server_that_does_not_start_leaves_nothing_but_its_log(clone, port, tmp_path, monkeypatch):
    database = "sqlite+aiosqlite:////nowhere/prefect.db"
    monkeypatch.setenv("PREFECT_SERVER_DATABASE_CONNECTION_URL", database)
    with pytest.raises(ServerError, match="did not start: .*server.log says why"):
        local_server.up(tmp_path / "home", port)
    assert not (clone / "prefect.toml").exists()
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["server.log"]
    assert "unable to open database file" in (tmp_path / "home" / "server.log").read_text()


def test_a_number_that_another_process_has_got_is_not_ours(tmp_path):
    """After a crash or a restart, what is recorded may name somebody else's process: it must not be ended."""
    bystander = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        created = psutil.Process(bystander.pid).create_time()
        (tmp_path / "processes.json").write_text(json.dumps({"server": [bystander.pid, created - 100]}))
        assert local_server.running(tmp_path) == {} and local_server.down(tmp_path) == 0
        assert bystander.poll() is None
        assert not (tmp_path / "processes.json").exists()
    finally:
        bystander.communicate(b"\n")


def test_a_server_of_our_own_ends_with_us_however_we_end(prefect_home):
    """What `dmd run` starts where there is no server is gone when the process is killed."""
    script = (
        "import os, signal; from flows.local_server import at_hand; from prefect.settings import PREFECT_API_URL\n"
        "with at_hand(): print(PREFECT_API_URL.value(), flush=True); input()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=REPOSITORY,
        env={**os.environ, "PREFECT_HOME": str(prefect_home)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        address = process.stdout.readline().strip()
        assert API.get(f"{address}/health", timeout=10).ok
        family = psutil.Process(process.pid).children(recursive=True)
        assert family
    finally:
        process.kill()
        process.communicate()
    _, alive = psutil.wait_procs(family, timeout=20)
    assert not alive
