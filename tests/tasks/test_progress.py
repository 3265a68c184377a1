"""Progress: a bar for people at a terminal, and within a task one in Prefect's pages that ends where it should."""

from __future__ import annotations

import pytest
from prefect import task
from prefect.client.orchestration import get_client
from prefect.client.schemas.sorting import ArtifactSort

from tasks import progress
from tasks.progress import Progress

pytestmark = pytest.mark.filterwarnings("ignore:Logger 'prefect.task_runs' attempted to send logs")


def shown(name: str) -> list[float]:
    """What the bars of this name show in Prefect's pages now."""
    with get_client(sync_client=True) as client:
        return [
            found.data for found in client.read_artifacts(sort=ArtifactSort.CREATED_DESC) if found.description == name
        ]


def test_outside_of_prefect_there_is_a_bar_in_the_terminal_alone(capfd):
    with Progress("read", total=4, done=1, unit="file") as bar:
        bar.advance()
        bar.advance("half of it")
        bar.advance()
    drawn = capfd.readouterr().err.split("\r")[-1]
    assert drawn.startswith("read: 100%") and "4/4" in drawn


def test_in_a_task_the_page_starts_with_what_was_done_and_ends_with_all_of_it(prefect_server):
    seen = []

    @task
    def measure():
        with Progress("measure", total=4, done=1) as bar:
            seen.append(shown("measure"))
            for _ in range(3):
                bar.advance()

    measure()
    assert seen == [[25.0]] and shown("measure") == [100.0]


def test_the_page_follows_but_not_at_every_step(prefect_server, monkeypatch):
    seen = []

    @task
    def measure(name: str, seconds: float):
        monkeypatch.setattr(progress, "ARTIFACT_SECONDS", seconds)
        with Progress(name, total=4) as bar:
            bar.advance()
            seen.append(shown(name))

    measure("often", 0.0)
    measure("seldom", 3600.0)
    assert seen == [[25.0], [0.0]]
