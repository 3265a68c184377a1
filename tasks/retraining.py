"""The page of a retraining: what arrived, how it differs, who serves now, and why."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from prefect import task
from prefect.artifacts import create_link_artifact
from prefect.cache_policies import NO_CACHE

from tasks.arrivals import Arrivals
from tasks.challenge import Outcome
from tasks.champion import Champion
from tasks.evaluate import METRICS
from tasks.files import write_text
from tasks.pages import render
from tasks.validate import Verdict


@task(cache_policy=NO_CACHE)
def retraining_page(
    champion: Champion,
    arrivals: Arrivals,
    verdict: Verdict,
    outcome: Outcome | None,
    report: Path,
    path: Path,
) -> Path:
    """Write the page at ``path``, beside the ``report`` of the data set, and return it.

    ``champion`` is the one that was challenged; without an ``outcome`` the gate refused the data.
    """
    page = render(
        "retraining.html",
        name=path.parent.name,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        champion=champion,
        arrivals=arrivals,
        drift=verdict.drift,
        refused=[check.sentence for check in verdict.failed if check.severity == "critical"],
        outcome=outcome,
        metrics=METRICS,
        report=os.path.relpath(report, path.parent),
    )
    write_text(path, page)
    create_link_artifact(path.as_uri(), link_text=str(path), key="retraining-page", description="The retraining.")
    return path
