"""Limits: what one run of a deployment does at a time, by concurrency limits of Prefect, so that the others wait."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectAlreadyExists
from prefect.runtime import deployment

log = logging.getLogger(__name__)

LEASE_SECONDS = 60.0
"""How long the place of a run that was killed stays taken: the least that Prefect allows."""


@contextmanager
def one_at_a_time(name: str) -> Iterator[None]:
    """Hold the only place of the limit of this name, made where it is absent; wait while another run holds it.

    A run that was not started by a deployment has somebody before it, who need not wait without knowing for what: it
    takes no place, and locks alone stop it.
    """
    if not deployment.id:
        yield
        return
    with get_client(sync_client=True) as client:
        with suppress(ObjectAlreadyExists):
            client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=1))
        if client.read_global_concurrency_limit_by_name(name).active_slots:
            log.info("waiting: another run holds the concurrency limit %s", name)
    with concurrency(name, lease_duration=LEASE_SECONDS, strict=True, raise_on_lease_renewal_failure=False):
        yield
