"""The report of a run: one self-contained page of what the data set holds and what the models make of it."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from markupsafe import Markup
from prefect import task
from prefect.artifacts import create_link_artifact
from prefect.cache_policies import NO_CACHE

from storage.feature_store import FeatureStore, Published
from storage.schema import fingerprint
from tasks import figures, funnel, sections
from tasks.align import forced_against_given
from tasks.evaluate import Row
from tasks.extract import Step, segment_states
from tasks.files import digest, write_text
from tasks.pages import TEMPLATES, render
from tasks.sections.data import boundaries_section, dataset_notes, dataset_section, example_section, funnel_section
from tasks.sections.feature_health import health_section
from tasks.sections.insides import insides_section
from tasks.sections.results import PARTS, results_section
from tasks.validate import Verdict

log = logging.getLogger(__name__)


@task(cache_policy=NO_CACHE)
def report(
    store: FeatureStore,
    dataset: str,
    steps: Sequence[Step],
    verdict: Verdict | None,
    published: Published | None,
    rows: Sequence[Row],
    runs: Sequence[Path],
    raw: Path | None,
    path: Path,
) -> Path:
    """Write the page at ``path``, in the data set's folder, and return its path.

    Its figures are also in the folder ``<page>-figures`` beside it, as SVG and PNG, with their numbers as CSV.

    ``steps`` are those of extraction, words first; an imported data set has none, and no ``raw`` video either. Without
    a verdict nothing was validated, because the data set was published before.
    """
    case = _case(store, dataset, steps, verdict, published, runs)
    mark = f'<meta name="case" content="{case}">'
    folder = path.with_name(f"{path.stem}-figures")
    if path.exists() and folder.exists() and mark in path.read_text(encoding="utf-8"):
        log.info("nothing new to report: %s", path)
        return path
    data = store.aligned(dataset, at="staging")
    with figures.style():
        shown = dataset_section(data, store, dataset) | results_section(data, rows, runs) | insides_section(data, runs)
        if raw is not None:
            shown |= funnel_section(store, steps)
            shown |= boundaries_section(forced_against_given(store, steps[0]))
            shown |= example_section(data, store.segments(), raw) if data.ids else {}
        drawings = {name: value for name, value in shown.items() if isinstance(value, figures.Drawing)}
        drawn = figures.write(folder, drawings)
    page = render(
        "report.html",
        **{name: value for name, value in shown.items() if name not in drawings},
        health=health_section(data, raw),
        figures=drawn,
        folder=folder.name,
        parts=PARTS.values(),
        mark=Markup(mark),
        notes=dataset_notes(data, store, steps),
        name=path.parent.name,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        published=published,
        verdict=verdict,
        drift=verdict.drift if verdict else (),
        docs=os.path.relpath(verdict.docs, path.parent) if verdict else "",
    )
    write_text(path, page)
    create_link_artifact(path.as_uri(), link_text=str(path), key="report", description="The report of the run.")
    return path


def _case(
    store: FeatureStore,
    dataset: str,
    steps: Sequence[Step],
    verdict: Verdict | None,
    published: Published | None,
    runs: Sequence[Path],
) -> str:
    """Names all that decides what the page says."""
    segments = store.segments()
    states = segment_states(store, segments, steps)
    return fingerprint(
        {
            "code": digest([Path(__file__), Path(funnel.__file__), *_sources()]),
            "data": dataset,
            "source": store.source(),
            "lost": [(str(s.id), state.message or state.reason) for s, state in zip(segments, states, strict=True)],
            "checks": [check.sentence for check in verdict.checks] if verdict else [],
            "drift": [asdict(one) for one in verdict.drift] if verdict else [],
            "published": published and published.snapshot,
            "runs": [str(run) for run in runs],
        }
    )


def _sources() -> list[Path]:
    """The files that decide what the page looks like."""
    packages = (Path(package.__file__).parent for package in (figures, sections))
    return sorted([*TEMPLATES.iterdir(), *(source for package in packages for source in package.glob("*.py"))])
