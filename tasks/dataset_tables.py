"""A packed data set as tables to be judged: a row a segment, a row a column of its features, a row a video."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pandas as pd

from storage.schema import AlignedDataset
from tasks.features import audio, vision

RANGES: dict[str, tuple[float, float]] = {
    column.name: column.range for column in (*vision.COLUMNS, *audio.COLUMNS) if column.range is not None
}
"""Where the values of a column must lie, by its name; columns of other names may hold anything finite."""

RANGE_TOLERANCE = 1e-4
"""What rounding in the pooling may add to the ends of a range."""

OVERLAP_SECONDS = 0.001
"""How far a word may begin before its predecessor ends, for times that were rounded."""


def segments(dataset: AlignedDataset) -> pd.DataFrame:
    """One row a segment: counts of its words, frames and faults, and for each feature shares of its rows or values."""
    words = np.diff(dataset.offsets)  # [N]
    owner = np.repeat(np.arange(len(words)), words)  # [W] segment of each word
    empty = _per_segment([not word.strip() for word in dataset.words], dataset.offsets)
    labelled = np.isfinite(dataset.labels)
    table: dict[str, Any] = {
        "segment": dataset.ids,
        "label": dataset.labels.astype(float),
        "labelled_split": [split if has else None for split, has in zip(dataset.splits, labelled, strict=True)],
        "words": words,
        "empty_words": np.where(empty == words, 0, empty),  # where all are empty the texts are unknown
        "time_faults": _per_segment(_word_time_faults(dataset, owner), dataset.offsets),
    }
    texts = np.array(dataset.words, dtype=object)
    differing = (texts[1:] != texts[:-1]) | (texts[1:] == "")  # [W - 1]; an empty text is unknown
    other_words = (owner[1:] == owner[:-1]) & differing.astype(bool)  # [W - 1] pairs whose features should differ
    for name, values in dataset.features.items():
        offsets, measured = dataset.feature_offsets(name), dataset.masks[name]
        rows, width = np.diff(offsets), values.shape[1]
        table[f"{name}_finite"] = _share(_per_segment(np.isfinite(values).sum(1), offsets), rows * width)
        table[f"{name}_in_range"] = _share(_per_segment(_in_range(dataset, name), offsets), rows)
        table[f"{name}_measured"] = _share(_per_segment(measured, offsets), rows)
        neighbours = other_words
        if name in dataset.frame_offsets:
            table[f"{name}_measured"][rows == 0] = 0  # where there are words, an empty row says so already
            table[f"{name}_frames"] = rows
            table[f"{name}_time_faults"] = _per_segment(_frame_time_faults(dataset, name), offsets)
            neighbours = _same_segment(offsets)
        pairs = neighbours & measured[1:] & measured[:-1]
        changes = pairs & np.any(values[1:] != values[:-1], axis=1)
        pairs, changes = (_per_segment(np.append(flags, False)[: len(values)], offsets) for flags in (pairs, changes))
        table[f"{name}_moves"] = (pairs < 2) | (changes > 0)
    return pd.DataFrame(table)


def columns(dataset: AlignedDataset) -> pd.DataFrame:
    """One row a column of a feature: whether its measured values differ, in ``<feature>_varies``."""
    rows = []
    for name, values in dataset.features.items():
        valid = dataset.masks[name][:, None] & np.isfinite(values)  # [W, D]
        low = np.min(values, axis=0, where=valid, initial=np.inf)  # [D]
        high = np.max(values, axis=0, where=valid, initial=-np.inf)  # [D]
        for column, varies in zip(dataset.columns[name], (high > low).tolist(), strict=True):
            rows.append({"column": f"{name}/{column}", f"{name}_varies": varies})
    return pd.DataFrame(rows)


def videos(dataset: AlignedDataset) -> pd.DataFrame:
    """One row a video: the number of splits that it is in."""
    splits: dict[str, set[str]] = defaultdict(set)
    for video, split in zip(dataset.videos, dataset.splits, strict=True):
        splits[video].add(split)
    return pd.DataFrame({"video": list(splits), "splits": [len(found) for found in splits.values()]})


def _per_segment(rows: Any, offsets: np.ndarray) -> np.ndarray:
    """Sums over the words or frames of each segment: [W] to [N]."""
    sums = np.concatenate([[0], np.cumsum(np.asarray(rows, np.int64))])
    return sums[offsets[1:]] - sums[offsets[:-1]]


def _same_segment(offsets: np.ndarray) -> np.ndarray:
    """Of each frame but the first whether it is of the same segment as the one before: bool [F - 1]."""
    owner = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))  # [F]
    return owner[1:] == owner[:-1]


def _share(count: np.ndarray, of: np.ndarray) -> np.ndarray:
    return np.where(of > 0, count / np.maximum(of, 1), 1.0)


def _in_range(dataset: AlignedDataset, name: str) -> np.ndarray:
    """Of each row whether no measured value lies outside the range stated for its column: bool [W]."""
    outside = np.zeros(len(dataset.features[name]), bool)
    for column, values in zip(dataset.columns[name], dataset.features[name].T, strict=True):
        if column in RANGES:
            low, high = RANGES[column]
            outside |= (values < low - RANGE_TOLERANCE) | (values > high + RANGE_TOLERANCE)  # False for NaN
    return ~(outside & dataset.masks[name])


def _word_time_faults(dataset: AlignedDataset, owner: np.ndarray) -> np.ndarray:
    """Of each word whether it has one time only, ends before it starts, or starts before 0 or its predecessor's end."""
    starts, ends = dataset.starts, dataset.ends
    faults = np.isfinite(starts) != np.isfinite(ends)
    faults |= (ends < starts) | (starts < -OVERLAP_SECONDS)  # False for NaN; what is not spoken may last no time
    faults[1:] |= (owner[1:] == owner[:-1]) & (starts[1:] < ends[:-1] - OVERLAP_SECONDS)
    return faults


def _frame_time_faults(dataset: AlignedDataset, name: str) -> np.ndarray:
    """Of each frame whether it comes before the segment's start, or not after its predecessor: bool [F]."""
    times = dataset.frame_times[name]
    faults = times < -OVERLAP_SECONDS  # False for NaN
    faults[1:] |= _same_segment(dataset.frame_offsets[name]) & (times[1:] <= times[:-1])
    return faults


def measured_rows(data: AlignedDataset, feature: str) -> np.ndarray:
    """How many rows of a feature were measured in each segment: int64 [N]."""
    return np.diff(np.concatenate([[0], np.cumsum(data.masks[feature])])[data.feature_offsets(feature)])


def segment_means(data: AlignedDataset, feature: str) -> np.ndarray:
    """The mean of each column over the measured rows of each segment: float64 [N, D], NaN where there are none."""
    mask, offsets = data.masks[feature], data.feature_offsets(feature)
    sums = np.zeros((len(mask) + 1, data.features[feature].shape[1]))
    np.cumsum(np.where(mask[:, None], data.features[feature], 0), axis=0, dtype=np.float64, out=sums[1:])
    counts = measured_rows(data, feature)[:, None]
    return np.where(counts > 0, (sums[offsets[1:]] - sums[offsets[:-1]]) / np.maximum(counts, 1), np.nan)
