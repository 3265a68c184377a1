"""Validate: the gate between a packed data set and its publication (Great Expectations)."""

from __future__ import annotations

import html
import math
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from storage.schema import AlignedDataset
from tasks import dataset_tables
from tasks.labels import LABEL_RANGE, SPLITS

if TYPE_CHECKING:
    import great_expectations as gx

IDS_IN_SENTENCE = 5
INDEX = {"segments": "segment", "columns": "column", "videos": "video"}
"""The column that names a row of each table."""


@dataclass(frozen=True)
class Thresholds:
    """What a data set must reach.

    ``coverage``: least share of the usable rows of the label file that are in the data set. ``measured_words``: least
    share of a segment's words during which a feature was measured (a face seen, a word known), and
    ``measured_segments`` the least share of segments that reach it. ``varying_columns``: least share of a feature's
    columns that are not constant. ``most_words``: longer segments give a warning; the
    field's word-aligned files are cut at 50. ``label_range``: both ends included.
    """

    coverage: float = 0.95
    measured_words: float = 0.5
    measured_segments: float = 0.95
    varying_columns: float = 0.5
    most_words: int = 50
    label_range: tuple[float, float] = LABEL_RANGE


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
    """Whether the data set may be published, every check, and the first page of the Data Docs."""

    passed: bool
    checks: tuple[Check, ...]
    docs: Path

    @property
    def failed(self) -> tuple[Check, ...]:
        """The failed checks, those that fail the data set first."""
        return tuple(sorted((check for check in self.checks if not check.passed), key=lambda check: check.severity))


@dataclass(frozen=True)
class _Rule:
    """One expectation about one table: its name, what it says in plain words, and what it is in Great Expectations."""

    name: str
    table: str
    says: str
    expectation: gx.expectations.Expectation
    threshold: float = 1.0
    severity: str = "critical"


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
    tables = {
        "segments": dataset_tables.segments(dataset),
        "columns": dataset_tables.columns(dataset),
        "videos": dataset_tables.videos(dataset),
    }
    rules = _dataset_rules(dataset, sum(lost.values()), thresholds)
    for name in dataset.features:
        rules += _feature_rules(name, dataset.columns[name], thresholds)
    results = _run(tables, rules, docs_folder)
    checks = tuple(_check(rule, results[rule.name], len(dataset.ids), lost) for rule in rules)
    passed = all(check.passed for check in checks if check.severity == "critical")
    return Verdict(passed, checks, docs_folder / "index.html")


# --- what is expected of them


def _dataset_rules(dataset: AlignedDataset, lost: int, thresholds: Thresholds) -> list[_Rule]:
    from great_expectations import expectations as gxe

    low, high = thresholds.label_range
    least_rows = max(1, math.ceil(thresholds.coverage * (len(dataset.ids) + lost) - 1e-9))
    rules = [
        _Rule(
            "coverage",
            "segments",
            f"At least {thresholds.coverage:.0%} of the usable segments come through every step",
            gxe.ExpectTableRowCountToBeBetween(min_value=least_rows),
            thresholds.coverage,
        ),
        _Rule("unique_ids", "segments", "Every id is there once", gxe.ExpectColumnValuesToBeUnique(column="segment")),
        _Rule("words_per_segment", "segments", "Every segment has a word", _between("words", 1, None)),
        _Rule("words_not_empty", "segments", "Every word has a text", _between("empty_words", None, 0)),
        _Rule(
            "word_times",
            "segments",
            "Words start before they end and follow each other",
            _between("time_faults", None, 0),
        ),
        _Rule("label_in_range", "segments", f"Every label lies in [{low:g}, {high:g}]", _between("label", low, high)),
        _Rule("one_split_a_video", "videos", "Every video is in one split only", _between("splits", None, 1)),
        _Rule(
            "segment_length",
            "segments",
            f"No segment has over {thresholds.most_words} words",
            _between("words", None, thresholds.most_words),
            severity="warning",
        ),
    ]
    if np.isfinite(dataset.labels).any():
        labelled = gxe.ExpectColumnDistinctValuesToContainSet(column="labelled_split", value_set=list(SPLITS))
        rules.append(
            _Rule(
                "labelled_splits",
                "segments",
                f"Each of the splits {', '.join(SPLITS)} has a labelled segment",
                labelled,
            )
        )
    return rules


def _feature_rules(name: str, columns: Sequence[str], thresholds: Thresholds) -> list[_Rule]:
    share, segments = thresholds.measured_words, thresholds.measured_segments
    rules = [
        _Rule(f"{name}_finite", "segments", f"Every value of {name} is finite", _between(f"{name}_finite", 1, None)),
        _Rule(
            f"{name}_measured",
            "segments",
            f"In {segments:.0%} of the segments, {name} was measured during at least {share:.0%} of the words",
            _between(f"{name}_measured", share, None, segments),
            segments,
        ),
        _Rule(
            f"{name}_moves",
            "segments",
            f"{name} is not the same in all words of a segment",
            _true(f"{name}_moves"),
            severity="warning",
        ),
        _Rule(
            f"{name}_varies",
            "columns",
            f"At least {thresholds.varying_columns:.0%} of the columns of {name} vary",
            _true(f"{name}_varies", thresholds.varying_columns),
            thresholds.varying_columns,
        ),
        _Rule(
            f"{name}_columns_vary",
            "columns",
            f"No column of {name} is constant",
            _true(f"{name}_varies"),
            severity="warning",
        ),
    ]
    if any(column in dataset_tables.RANGES for column in columns):
        in_range = _between(f"{name}_in_range", 1, None)
        rules.append(
            _Rule(f"{name}_in_range", "segments", f"Every value of {name} lies in its column's range", in_range)
        )
    return rules


def _between(column: str, low: float | None, high: float | None, mostly: float = 1.0) -> gx.expectations.Expectation:
    from great_expectations import expectations as gxe

    return gxe.ExpectColumnValuesToBeBetween(column=column, min_value=low, max_value=high, mostly=mostly)


def _true(column: str, mostly: float = 1.0) -> gx.expectations.Expectation:
    from great_expectations import expectations as gxe

    return gxe.ExpectColumnValuesToBeInSet(column=column, value_set=[True], mostly=mostly)


# --- Great Expectations


def _run(tables: Mapping[str, pd.DataFrame], rules: Sequence[_Rule], docs_folder: Path) -> dict[str, dict]:
    """The results of Great Expectations by rule; a suite for each table and severity. Writes the Data Docs."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations as gx

    context = _context(docs_folder)
    source = context.data_sources.add_pandas("dataset")
    suites: dict[tuple[str, str], list[_Rule]] = defaultdict(list)
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


def _check(rule: _Rule, result: dict, segments: int, lost: Mapping[str, int]) -> Check:
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
