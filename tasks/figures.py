"""The report's figures, as SVG text for one page; draw them within ``style()``."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

EDGES = ("L←V", "L←A", "V←L", "V←A", "A←L", "A←V")
"""The six edges of a graph distillation unit, student ← teacher, in the model's order."""
EDGE_COLOURS = ("#4c78a8", "#9ecae9", "#b0413e", "#f2a19b", "#2c7a4b", "#88d27a")
SPLIT_COLOURS = {"train": "#4c78a8", "valid": "#f2a541", "test": "#b0413e", "": "#8a8a8a"}
CURVES_ACROSS = 4
"""Panels of training curves in a row."""
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "dmd",
    "text.parse_math": False,  # words of a transcript may have dollar signs
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "legend.frameon": False,
}


class Track(NamedTuple):
    """A feature column over one segment: when each value starts and ends, in seconds, and the values in [0, 1]."""

    starts: np.ndarray
    ends: np.ndarray
    values: np.ndarray


def style():
    """The look that all figures share, as a context."""
    return rc_context(STYLE)


def funnel(stages: Sequence[tuple[str, int]]) -> str:
    """Bars of how many segments came through each stage."""
    names, counts = zip(*stages, strict=True)
    figure, axes = _figure(7, 0.34 * len(stages) + 0.3)
    axes.barh(names, counts, color="#4c78a8", height=0.7)
    for place, count in enumerate(counts):
        axes.text(count, place, f" {count}", va="center")
    axes.invert_yaxis()
    axes.set_xlim(0, 1.08 * max(1, *counts))
    axes.xaxis.set_visible(False)
    axes.spines["bottom"].set_visible(False)
    return _svg(figure)


def labels(values: np.ndarray, splits: Sequence[str]) -> str:
    """Histogram of the labels, stacked by split."""
    figure, axes = _figure(5, 2.4)
    present = [split for split in SPLIT_COLOURS if split in splits]
    groups = [values[np.array(splits) == split] for split in present]
    axes.hist(
        groups,
        bins=np.linspace(-3.25, 3.25, 14),
        stacked=True,
        color=[SPLIT_COLOURS[split] for split in present],
        label=[split or "no split" for split in present],
    )
    axes.set(xlabel="label", ylabel="segments")
    axes.legend()
    return _svg(figure)


def lengths(words: np.ndarray) -> str:
    """Histogram of how many words a segment has."""
    figure, axes = _figure(5, 2.4)
    axes.hist(words, bins=np.arange(words.min() - 0.5, words.max() + 1.5), color="#4c78a8")
    axes.set(xlabel="words in a segment", ylabel="segments")
    return _svg(figure)


def boundary_errors(seconds: np.ndarray) -> str:
    """Share of word boundaries within a distance of the true ones."""
    figure, axes = _figure(5, 2.4)
    ordered = np.sort(seconds) * 1000
    axes.step(ordered, np.arange(1, len(ordered) + 1) / len(ordered), where="post", color="#4c78a8")
    axes.axvline(50, color="#8a8a8a", linestyle=":", linewidth=1)
    axes.set(xlabel="distance from the true boundary, ms", ylabel="share of boundaries", ylim=(0, 1.02), xlim=(0, 200))
    return _svg(figure)


def training_curves(models: Mapping[str, Sequence[tuple[Sequence[Mapping[str, Any]], int]]]) -> str:
    """Valid error by epoch, a panel a model and a line a run; the epoch that was kept is marked.

    ``models`` are, by name, each run's history and kept epoch.
    """
    across = min(len(models), CURVES_ACROSS)
    rows = -(-len(models) // across)
    figure = Figure(figsize=(9, 0.6 + 2 * rows), layout="constrained")
    panels = figure.subplots(rows, across, sharey=True, squeeze=False)
    for axes in panels.flat[len(models) :]:
        axes.set_visible(False)
    for axes, (name, runs) in zip(panels.flat, models.items(), strict=False):
        for history, kept in runs:
            errors = [record["valid_error"] for record in history]
            (line,) = axes.plot([record["epoch"] for record in history], errors, linewidth=1.2)
            axes.plot(kept, errors[kept - 1], "o", color=line.get_color(), markersize=5)
        axes.set_title(name)
    figure.supxlabel("epoch", fontsize=9)
    figure.supylabel("valid error (dot: kept)", fontsize=9)
    return _svg(figure)


def graph_edges(units: Mapping[str, np.ndarray]) -> str:
    """Mean edge weight by epoch, [epochs, 6] for each graph distillation unit, with uniform weights dotted."""
    figure = Figure(figsize=(9, 3), layout="constrained")
    panels = figure.subplots(1, len(units), sharey=True, squeeze=False)[0]
    for axes, (name, weights) in zip(panels, units.items(), strict=True):
        for edge, colour in enumerate(EDGE_COLOURS):
            axes.plot(np.arange(1, len(weights) + 1), weights[:, edge], color=colour, linewidth=1.3, label=EDGES[edge])
        axes.axhline(weights[0].sum() / len(EDGES), color="#8a8a8a", linestyle=":", linewidth=1)
        axes.set(title=name, xlabel="epoch")
    panels[0].set_ylabel("mean edge weight")
    panels[-1].legend(ncols=3, fontsize=8)
    return _svg(figure)


def predictions(truth: np.ndarray, predicted: np.ndarray) -> str:
    """Test predictions against labels."""
    figure, axes = _figure(3.4, 3.2)
    axes.plot([-3, 3], [-3, 3], color="#8a8a8a", linewidth=0.8, linestyle=":")
    axes.scatter(truth, predicted, s=12, color="#4c78a8", alpha=0.7, linewidths=0)
    axes.set(xlabel="label", ylabel="prediction (mean over seeds)", xlim=(-3.2, 3.2), ylim=(-3.2, 3.2))
    return _svg(figure)


def aligned_segment(
    waveform: np.ndarray,
    sample_rate: int,
    faces: Sequence[tuple[float, np.ndarray]],
    words: Sequence[tuple[str, float, float]],
    tracks: Mapping[str, Track],
) -> str:
    """One segment along its time: faces, sound, words, and the tracks."""
    seconds = len(waveform) / sample_rate
    figure = Figure(figsize=(9.5, 4.2), layout="constrained")
    strip, sound, grid = figure.subplots(3, 1, sharex=True, height_ratios=(1.5, 1, 0.32 * max(2, len(tracks))))
    width = seconds / max(1, len(faces))
    for place, (_, picture) in enumerate(faces):
        strip.imshow(picture, extent=(place * width, (place + 1) * width, 0, 1), aspect="auto")
    strip.set(xlim=(0, seconds), ylim=(0, 1))
    strip.axis("off")
    block = max(1, len(waveform) // 1500)
    trimmed = waveform[: len(waveform) // block * block].reshape(-1, block)
    times = np.arange(len(trimmed)) * block / sample_rate
    sound.fill_between(times, trimmed.min(axis=1), trimmed.max(axis=1), color="#4c78a8", linewidth=0)
    top = 1.25 * max(1e-3, float(np.abs(waveform).max()))
    for text, start, end in words:
        sound.axvspan(start, end, color="#f2a541", alpha=0.18, linewidth=0)
        sound.axvline(start, color="#f2a541", linewidth=0.7)
        sound.text((start + end) / 2, top, text, ha="center", va="bottom", fontsize=8, rotation=35)
    sound.set(ylim=(-top, top), yticks=[])
    sound.set_ylabel("sound")
    edges = sorted({0.0, seconds, *(time for track in tracks.values() for time in (*track.starts, *track.ends))})
    middle = (np.array(edges[1:]) + np.array(edges[:-1])) / 2
    cells = np.full((len(tracks), len(middle)), np.nan)
    for row, track in enumerate(tracks.values()):
        for start, end, value in zip(*track, strict=True):
            cells[row, (middle >= start) & (middle < end)] = value
    grid.pcolormesh(edges, np.arange(len(tracks) + 1), cells, vmin=0, vmax=1, cmap="viridis")
    grid.set_yticks(np.arange(len(tracks)) + 0.5, list(tracks), fontsize=8)
    grid.set_xlabel("seconds from the segment's start")
    return _svg(figure)


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return re.sub(r"^.*?(?=<svg)", "", buffer.getvalue(), flags=re.DOTALL)
