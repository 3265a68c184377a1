"""How the columns of a data set look: what was measured, how the values lie, what they have to do with the label."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from storage.schema import AlignedDataset
from tasks.dataset_tables import measured_rows, segment_means
from tasks.features import audio, vision
from tasks.pages import render

BINS = 24
PERCENTILES = (5, 50, 95)
SHOWN = 15
"""Columns that are seen at once; the others are folded away."""
EDGES = (1, 99)
"""Percentiles between which a histogram lies; what is beyond is in its first and last bar."""
UNITS = {"vision": vision.COLUMNS, "audio": audio.COLUMNS}
TRUTH = "truth.csv"
"""In the raw folder of the sample corpus: what was made to show in each segment."""
MADE_TO_SHOW = (
    ("face", "smile", ("vision", "AU12")),
    ("face", "raised brows", ("vision", "AU2")),
    ("voice", "pitch", ("audio", "pitch")),
    ("voice", "loudness", ("audio", "loudness")),
    ("voice", "speech rate", ("", "words a second")),
)
"""Signals of the sample corpus (``tasks/sample_script.py``), how they show, and the column that should have it."""


@dataclass(frozen=True)
class Health:
    """One column: percentiles (PERCENTILES) of its measured values, the bars of their histogram, each between 0 and 1,
    and the correlation of the segments' means with the label (None where there is none).
    """

    name: str
    unit: str
    percentiles: tuple[float, ...]
    bars: tuple[float, ...]
    correlation: float | None

    @property
    def path(self) -> str:
        """The histogram as an SVG path in a box of BINS by 1, which grows downwards."""
        return "M0 1" + "".join(f"V{1 - bar:.2f}h1" for bar in self.bars) + "V1z"


def health_section(data: AlignedDataset, raw: Path | None) -> Markup:
    """The section of the report; ``raw`` is the raw folder, if there is one."""
    features = [
        {
            "name": name,
            "rows": "frames" if name in data.frame_offsets else "words",
            "measured": float(data.masks[name].mean()) if len(data.masks[name]) else 0.0,
            "without": int((measured_rows(data, name) == 0).sum()),
            "columns": column_health(data, name),
        }
        for name in data.features
        if name != "pieces"  # numbers of a vocabulary
    ]
    truth = raw / TRUTH if raw is not None else None
    return Markup(
        render(
            "feature_health.html",
            features=features,
            shown=SHOWN,
            bins=BINS,
            segments=len(data.ids),
            several_faces=segments_of_several_faces(data),
            recovered=recovered(data, truth) if truth is not None and truth.exists() else [],
        )
    )


def column_health(data: AlignedDataset, name: str) -> list[Health]:
    """Every column of a feature, those first whose segment means correlate most with the label."""
    values = data.features[name][data.masks[name]]  # [measured rows, D]
    correlations = correlation(segment_means(data, name), data.labels)
    units = {column.name: column.unit for column in UNITS.get(name, ())}
    found = []
    for place, column in enumerate(data.columns[name]):
        found.append(_health(column, units.get(column, ""), values[:, place], correlations[place]))
    return sorted(found, key=lambda health: -abs(health.correlation or 0))


def correlation(values: np.ndarray, target: np.ndarray) -> list[float | None]:
    """Pearson's correlation of each column of [N, D] with a target [N], over the rows where both are known.

    None for a column of fewer than three such rows, or where either is constant.
    """
    found: list[float | None] = []
    for column in values.T:
        known = np.isfinite(column) & np.isfinite(target)
        here, there = column[known], target[known].astype(np.float64)
        varies = len(here) > 2 and np.ptp(here) > 1e-9 * np.abs(here).max() and np.ptp(there) > 0
        found.append(float(np.corrcoef(here, there)[0, 1]) if varies else None)
    return found


def segments_of_several_faces(data: AlignedDataset) -> int | None:
    """How many segments show more than one face at some time; None where that was not recorded."""
    if "faces" not in data.columns.get("vision", ()):
        return None
    faces = data.features["vision"][:, data.columns["vision"].index("faces")]
    several = np.concatenate([[0], np.cumsum(data.masks["vision"] & (faces > 1))])
    return int((np.diff(several[data.feature_offsets("vision")]) > 0).sum())


def recovered(data: AlignedDataset, truth: Path) -> list[dict[str, Any]]:
    """What was made to show in the sample corpus beside what was measured of it: a row a pair, with its correlation."""
    with truth.open(encoding="utf-8", newline="") as file:
        rows = {f"{row['video_id']}$_${row['clip_id']}": row for row in csv.DictReader(file)}
    spans = zip(data.offsets[:-1].tolist(), data.offsets[1:].tolist(), strict=True)
    seconds = np.array([data.ends[stop - 1] - data.starts[first] for first, stop in spans])
    measured = {("", "words a second"): np.diff(data.offsets) / seconds}
    for name in data.features:
        means = segment_means(data, name)
        measured |= {(name, column): means[:, place] for place, column in enumerate(data.columns[name])}
    pairs = []
    for signal, what, key in MADE_TO_SHOW:
        if key in measured:
            known = (rows.get(segment, {}).get(signal, math.nan) for segment in data.ids)  # videos may have come since
            shown = np.array([float(value) for value in known])
            (found,) = correlation(measured[key][:, None], shown)
            pairs.append({"signal": signal, "what": what, "column": " ".join(key).strip(), "correlation": found})
    return pairs


def _health(name: str, unit: str, values: np.ndarray, correlation: float | None) -> Health:
    finite = values[np.isfinite(values)]
    if len(finite) == 0:
        return Health(name, unit, (), (), correlation)
    low, *percentiles, high = np.percentile(finite, (EDGES[0], *PERCENTILES, EDGES[1])).tolist()
    ends = (low, high) if high > low else (low - 0.5, low + 0.5)
    counts, _ = np.histogram(np.clip(finite, low, high), BINS, ends)
    return Health(name, unit, tuple(percentiles), tuple((counts / counts.max()).tolist()), correlation)
