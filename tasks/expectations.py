"""What is expected of a data set before it may be published."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from storage.schema import AlignedDataset
from tasks.dataset_tables import RANGES
from tasks.labels import LABEL_RANGE, SPLITS

if TYPE_CHECKING:
    import great_expectations as gx  # four seconds, so it is imported where it is used


@dataclass(frozen=True)
class Thresholds:
    """What a data set must reach.

    ``coverage``: least share of the usable rows of the label file that are in the data set. ``measured_words``: least
    share of a segment's words (or frames) during which a feature was measured (a face seen, a word known), and
    ``measured_segments`` the least share of segments that reach it. ``varying_columns``: least share of a feature's
    columns that are not constant. ``most_words``: longer segments give a warning; the field's
    word-aligned files are cut at 50; ``most_frames`` the same of unaligned features, which the field cuts at 500.
    ``label_range``: both ends included.
    """

    coverage: float = 0.95
    measured_words: float = 0.5
    measured_segments: float = 0.95
    varying_columns: float = 0.5
    most_words: int = 50
    most_frames: int = 500
    label_range: tuple[float, float] = LABEL_RANGE


@dataclass(frozen=True)
class Rule:
    """One expectation about one table: its name, what it says in plain words, and what it is in Great Expectations."""

    name: str
    table: str
    says: str
    expectation: gx.expectations.Expectation
    threshold: float = 1.0
    severity: str = "critical"


def dataset_rules(dataset: AlignedDataset, lost: int, thresholds: Thresholds) -> list[Rule]:
    """What is expected of any data set; ``lost`` usable segments are not in it."""
    from great_expectations import expectations as gxe

    low, high = thresholds.label_range
    least_rows = max(1, math.ceil(thresholds.coverage * (len(dataset.ids) + lost) - 1e-9))
    rules = [
        Rule(
            "coverage",
            "segments",
            f"At least {thresholds.coverage:.0%} of the usable segments come through every step",
            gxe.ExpectTableRowCountToBeBetween(min_value=least_rows),
            thresholds.coverage,
        ),
        Rule("unique_ids", "segments", "Every id is there once", gxe.ExpectColumnValuesToBeUnique(column="segment")),
        Rule("words_per_segment", "segments", "Every segment has a word", _between("words", 1, None)),
        Rule("words_not_empty", "segments", "Every word has a text", _between("empty_words", None, 0)),
        Rule(
            "word_times",
            "segments",
            "No word ends before it starts or starts before the one before it ends",
            _between("time_faults", None, 0),
        ),
        Rule("label_in_range", "segments", f"Every label lies in [{low:g}, {high:g}]", _between("label", low, high)),
        Rule("one_split_a_video", "videos", "Every video is in one split only", _between("splits", None, 1)),
        Rule(
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
            Rule(
                "labelled_splits",
                "segments",
                f"Each of the splits {', '.join(SPLITS)} has a labelled segment",
                labelled,
            )
        )
    return rules


def feature_rules(name: str, columns: Sequence[str], unaligned: bool, thresholds: Thresholds) -> list[Rule]:
    """What is expected of one feature, which has frames of its own if it is unaligned."""
    share, segments = thresholds.measured_words, thresholds.measured_segments
    rows = "frames" if unaligned else "words"
    rules = [
        Rule(f"{name}_finite", "segments", f"Every value of {name} is finite", _between(f"{name}_finite", 1, None)),
        Rule(
            f"{name}_measured",
            "segments",
            f"In {segments:.0%} of the segments, {name} was measured during at least {share:.0%} of the {rows}",
            _between(f"{name}_measured", share, None, segments),
            segments,
        ),
        Rule(
            f"{name}_moves",
            "segments",
            f"{name} is not the same in all {rows} of a segment",
            _true(f"{name}_moves"),
            severity="warning",
        ),
        Rule(
            f"{name}_varies",
            "columns",
            f"At least {thresholds.varying_columns:.0%} of the columns of {name} vary",
            _true(f"{name}_varies", thresholds.varying_columns),
            thresholds.varying_columns,
        ),
        Rule(
            f"{name}_columns_vary",
            "columns",
            f"No column of {name} is constant",
            _true(f"{name}_varies"),
            severity="warning",
        ),
    ]
    if unaligned:
        in_time = _between(f"{name}_time_faults", None, 0)
        rules.append(Rule(f"{name}_times", "segments", f"Frames of {name} follow each other in time", in_time))
        few = _between(f"{name}_frames", None, thresholds.most_frames)
        says = f"No segment has over {thresholds.most_frames} frames of {name}, of which models read no more"
        rules.append(Rule(f"{name}_length", "segments", says, few, severity="warning"))
    if any(column in RANGES for column in columns):
        in_range = _between(f"{name}_in_range", 1, None)
        rules.append(
            Rule(f"{name}_in_range", "segments", f"Every value of {name} lies in its column's range", in_range)
        )
    return rules


def _between(column: str, low: float | None, high: float | None, mostly: float = 1.0) -> gx.expectations.Expectation:
    from great_expectations import expectations as gxe

    return gxe.ExpectColumnValuesToBeBetween(column=column, min_value=low, max_value=high, mostly=mostly)


def _true(column: str, mostly: float = 1.0) -> gx.expectations.Expectation:
    from great_expectations import expectations as gxe

    return gxe.ExpectColumnValuesToBeInSet(column=column, value_set=[True], mostly=mostly)
