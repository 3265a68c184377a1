"""Validate: the gate between a packed data set and its publication (Great Expectations)."""

from __future__ import annotations

import html
import json
import logging
import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from prefect import task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE

from storage.feature_store import FeatureStore, Published
from storage.schema import AlignedDataset, fingerprint
from tasks import dataset_tables
from tasks.drift import ColumnDrift, FeatureDrift, drift_since_published
from tasks.expectations import Rule, Thresholds, dataset_rules, feature_rules
from tasks.extract import Step, segment_states
from tasks.files import write_text
from tasks.labels import SPLITS

if TYPE_CHECKING:
    import great_expectations as gx  # four seconds, so it is imported where it is used

log = logging.getLogger(__name__)

CODE_VERSION = 3
"""Of the rules and of what is recorded: another version judges again."""

IDS_IN_SENTENCE = 5
RECORDED = ("passed", "checks", "drift")
"""What of a verdict is kept beside the Data Docs."""
INDEX = {"segments": "segment", "columns": "column", "videos": "video"}
"""The column that names a row of each table."""


@dataclass(frozen=True)
class Check:
    """One expectation and what came of it.

    ``observed`` is the share of segments (columns, videos, ...) that meet it, ``threshold`` the least share that must;
    ``failing_ids`` are those that do not, which a check that passed may have too. A failed check of severity
    ``warning`` does not fail the data set. ``sentence`` says it all for people.
    """

    name: str
    severity: str
    passed: bool
    observed: float
    threshold: float
    failing_ids: tuple[str, ...]
    sentence: str


@dataclass(frozen=True)
class Verdict:
    """Whether the data set may be published, every check, the first page of the Data Docs, and how its new segments
    differ from those of the data set that was published before, if one was.
    """

    passed: bool
    checks: tuple[Check, ...]
    docs: Path
    drift: tuple[FeatureDrift, ...] = ()

    @property
    def failed(self) -> tuple[Check, ...]:
        """The failed checks, those that fail the data set first."""
        return tuple(sorted((check for check in self.checks if not check.passed), key=lambda check: check.severity))


class GateRefused(Exception):
    """The data set did not pass its checks, so it was not published and nothing was trained on it."""

    reason = "gate_refused"


@task(cache_policy=NO_CACHE)
def validate(
    store: FeatureStore, dataset: str, steps: Sequence[Step], min_coverage: float, docs_folder: Path
) -> Verdict:
    """Judge a packed data set and the coverage of the steps that made it, unless that was done before."""
    segments = segment_states(store, store.segments(), steps) if steps else []
    lost = Counter(state.reason for state in segments if state.name == "failed")
    thresholds = Thresholds(coverage=min_coverage)
    case = fingerprint({"code": CODE_VERSION, "data": dataset, "lost": lost, "thresholds": asdict(thresholds)})
    record = docs_folder / "verdict.json"
    if (verdict := _read_verdict(record, case)) is not None:
        log.info("this data set was judged before: %s", "passed" if verdict.passed else "refused")
        return verdict
    verdict = replace(
        judge(store.aligned(dataset, at="staging"), lost, docs_folder, thresholds),
        drift=drift_since_published(store, dataset),
    )
    if verdict.drift:
        rows = [{name: value for name, value in asdict(one).items() if name != "largest"} for one in verdict.drift]
        create_table_artifact(rows, key="drift", description="How new segments differ from those published before.")
    known = asdict(verdict)
    write_text(record, json.dumps({"case": case} | {name: known[name] for name in RECORDED}))
    return verdict


@task(cache_policy=NO_CACHE)
def publish(store: FeatureStore, dataset: str) -> Published:
    """Let everybody read the data set: ``main`` moves to it."""
    return store.publish(dataset)


def refuse(verdict: Verdict, page: Path) -> None:
    """Raises GateRefused, with all reasons, if the verdict is no."""
    if not verdict.passed:
        reasons = " ".join(check.sentence for check in verdict.failed if check.severity == "critical")
        raise GateRefused(f"the data set was refused: {reasons} The report is {page}")


def judge(
    dataset: AlignedDataset,
    lost: Mapping[str, int],
    docs_folder: Path,
    thresholds: Thresholds = Thresholds(),  # noqa: B008  frozen
) -> Verdict:
    """Judge a packed data set; ``lost`` counts, by reason, the usable rows of the label file that are not in it.

    Critical: coverage, unique ids, words with texts and times in order, labels in range, one split a video, a labelled
    segment in each split where there are labels; and for every feature finite values, values in the ranges that
    ``dataset_tables.RANGES`` states, enough measured words, and columns that vary. Warnings: long segments, features
    that stand still within a segment, and single constant columns, which small data sets often have and do no harm.

    ``docs_folder`` takes the Data Docs, a web site of its own.
    """
    os.environ["GX_ANALYTICS_ENABLED"] = "false"  # releases before 1.24 read it when imported
    tables = {
        "segments": dataset_tables.segments(dataset),
        "columns": dataset_tables.columns(dataset),
        "videos": dataset_tables.videos(dataset),
    }
    rules = dataset_rules(dataset, sum(lost.values()), thresholds)
    for name in dataset.features:
        rules += feature_rules(name, dataset.columns[name], name in dataset.frame_offsets, thresholds)
    results = _run(tables, rules, docs_folder)
    checks = tuple(_check(rule, results[rule.name], len(dataset.ids), lost) for rule in rules)
    passed = all(check.passed for check in checks if check.severity == "critical")
    return Verdict(passed, checks, docs_folder / "index.html")


def _read_verdict(record: Path, case: str) -> Verdict | None:
    if not record.exists():
        return None
    known = json.loads(record.read_text())
    if known["case"] != case:
        return None
    checks = (Check(**check | {"failing_ids": tuple(check["failing_ids"])}) for check in known["checks"])
    drift = (
        FeatureDrift(**one | {"largest": tuple(ColumnDrift(**column) for column in one["largest"])})
        for one in known["drift"]
    )
    return Verdict(known["passed"], tuple(checks), record.with_name("index.html"), tuple(drift))


def _run(tables: Mapping[str, pd.DataFrame], rules: Sequence[Rule], docs_folder: Path) -> dict[str, dict]:
    """The results of Great Expectations by rule; a suite for each table and severity. Writes the Data Docs."""
    import great_expectations as gx

    logging.getLogger("great_expectations.data_context.types.base").setLevel(logging.WARNING)  # else: a folder was made
    context = _context(docs_folder)
    source = context.data_sources.add_pandas("dataset")
    suites: dict[tuple[str, str], list[Rule]] = defaultdict(list)
    for rule in rules:
        suites[rule.table, rule.severity].append(rule)
    results = {}
    for (table, severity), members in suites.items():
        name = table if severity == "critical" else f"{table}_{severity}s"
        suite = context.suites.add(gx.ExpectationSuite(name=name))
        for rule in members:
            rule.expectation.meta = {"name": rule.name}
            rule.expectation.description = rule.says
            suite.add_expectation(rule.expectation)
        batch = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe(name)
        validation = context.validation_definitions.add(gx.ValidationDefinition(name=name, data=batch, suite=suite))
        run = validation.run(
            batch_parameters={"dataframe": tables[table].map(_escaped)},
            result_format={"result_format": "COMPLETE", "unexpected_index_column_names": [INDEX[table]]},
        )
        for result in run.results:  # in an order of their own
            if not result.result:
                raise RuntimeError(
                    f"{result.expectation_config.meta['name']} could not be judged: {result.exception_info}"
                )
            results[result.expectation_config.meta["name"]] = {"success": result.success, **result.result}
    context.build_data_docs()
    return results


def _escaped(cell: object) -> object:
    """Text as it may stand in a page: the Data Docs print ids as they come."""
    return html.escape(cell) if isinstance(cell, str) else cell


def _context(docs_folder: Path) -> gx.data_context.EphemeralDataContext:
    """A context that keeps nothing but the Data Docs, and is silent."""
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    for site in list(context.variables.data_docs_sites):
        context.delete_data_docs_site(site)
    store = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs_folder.absolute())}
    site = {
        "class_name": "SiteBuilder",
        "store_backend": store,
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
    }
    context.add_data_docs_site("validation", site)
    return context


def _check(rule: Rule, result: dict, segments: int, lost: Mapping[str, int]) -> Check:
    unit, failing = rule.table, ()
    if rule.name == "coverage":
        met, total = segments, segments + sum(lost.values())
    elif rule.name == "labelled_splits":
        unit, failing, total = "splits", tuple(sorted(result.get("partial_missing_list", ()))), len(SPLITS)
        met = total - len(failing)
    else:
        total = result["element_count"] - result["missing_count"]
        met = total - result["unexpected_count"]
        failing = tuple(dict.fromkeys(html.unescape(row[INDEX[rule.table]]) for row in result["unexpected_index_list"]))
    sentence = f"{rule.says}: so in {met} of {total} {unit}"
    if failing:
        more = f" and {len(failing) - IDS_IN_SENTENCE} more" if len(failing) > IDS_IN_SENTENCE else ""
        sentence += f", but not in {', '.join(failing[:IDS_IN_SENTENCE])}{more}"
    if rule.name == "coverage" and lost:
        reasons = sorted(lost.items(), key=lambda item: (-item[1], item[0]))
        sentence += f"; lost were {', '.join(f'{count} by {reason}' for reason, count in reasons)}"
    observed = met / total if total else 1.0
    return Check(rule.name, rule.severity, bool(result["success"]), observed, rule.threshold, failing, f"{sentence}.")
