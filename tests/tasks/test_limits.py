"""Limits: runs of deployments queue for a place and give it back; who runs by hand takes none.

That the deployments wait for each other is in ``tests/flows/test_deployments.py``.
"""

from __future__ import annotations

import pytest
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound

from tasks.limits import one_at_a_time


def places_taken(name: str) -> int | None:
    """None where there is no such limit."""
    with get_client(sync_client=True) as client:
        try:
            return client.read_global_concurrency_limit_by_name(name).active_slots
        except ObjectNotFound:
            return None


def test_a_run_of_a_deployment_holds_its_place_to_the_end_however_it_ends(prefect_server, monkeypatch):
    monkeypatch.setenv("PREFECT__RUNTIME__DEPLOYMENT__ID", "of this test")
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), one_at_a_time("dmd-store-of-this-test"):
            assert places_taken("dmd-store-of-this-test") == 1
            raise ZeroDivisionError
        assert places_taken("dmd-store-of-this-test") == 0


def test_who_runs_by_hand_takes_no_place_and_waits_for_nobody(prefect_server):
    with one_at_a_time("dmd-store-by-hand"), one_at_a_time("dmd-store-by-hand"):
        assert places_taken("dmd-store-by-hand") is None
