"""Figures of a data set: its funnel, labels, lengths, alignment, and one segment along its time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tasks.figures import OTHER, SOFT, SPLIT_COLOURS, Drawing, canvas

WORD = "#d9a940"


class Track(NamedTuple):
    """A feature column over one segment: when each value starts and ends, in seconds, and the values in [0, 1]."""

    starts: np.ndarray
    ends: np.ndarray
    values: np.ndarray


def funnel(stages: Sequence[tuple[str, int]]) -> Drawing:
    """Bars of how many segments came through each stage."""
    names, counts = zip(*stages, strict=True)
    figure, axes = canvas(5.4, 0.32 * len(stages) + 0.3)
    axes.barh(names, counts, color=OTHER, height=0.68)
    for place, count in enumerate(counts):
        axes.text(count, place, f" {count}", va="center")
    axes.invert_yaxis()
    axes.set_xlim(0, 1.1 * max(1, *counts))
    axes.xaxis.set_visible(False)
    axes.spines[["bottom", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return Drawing(figure, [{"stage": name, "segments": count} for name, count in stages])


def labels(values: np.ndarray, splits: Sequence[str]) -> Drawing:
    """Histogram of the labels, stacked by split."""
    figure, axes = canvas(4.6, 2.4)
    edges = np.linspace(-3.25, 3.25, 14)
    groups = {split: values[np.array(splits) == split] for split in SPLIT_COLOURS if split in splits}
    axes.hist(
        list(groups.values()),
        bins=edges,
        stacked=True,
        rwidth=0.9,
        color=[SPLIT_COLOURS[split] for split in groups],
        label=[split or "no split" for split in groups],
    )
    axes.set(xlabel="label (sentiment, −3 to 3)", ylabel="segments", xticks=range(-3, 4))
    axes.legend(fontsize=8)
    numbers = [
        {"split": split, "from": low, "to": high, "segments": int(count)}
        for split, group in groups.items()
        for low, high, count in zip(edges[:-1], edges[1:], np.histogram(group, edges)[0], strict=True)
    ]
    return Drawing(figure, numbers)


def lengths(words: np.ndarray) -> Drawing:
    """Histogram of how many words a segment has."""
    figure, axes = canvas(4.6, 2.4)
    counts = np.bincount(words)
    axes.bar(np.arange(len(counts)), counts, width=0.9, color=OTHER)
    axes.set(xlabel="words in a segment", ylabel="segments", xlim=(words.min() - 0.6, words.max() + 0.6))
    numbers = [{"words": length, "segments": int(count)} for length, count in enumerate(counts) if count]
    return Drawing(figure, numbers)


def boundary_errors(seconds: np.ndarray) -> Drawing:
    """Share of word boundaries within a distance of the true ones."""
    figure, axes = canvas(4.6, 2.4)
    ordered = np.sort(seconds) * 1000
    shares = np.arange(1, len(ordered) + 1) / len(ordered)
    axes.step(ordered, shares, where="post", color=OTHER)
    axes.axvline(50, color=SOFT, linestyle=":", linewidth=1)
    axes.set(xlabel="distance from the true boundary, ms", ylabel="share of boundaries", ylim=(0, 1.02), xlim=(0, 200))
    within = [(limit, float((ordered <= limit).mean())) for limit in range(0, 205, 5)]
    return Drawing(figure, [{"milliseconds": limit, "share within": share} for limit, share in within])


def aligned_segment(
    waveform: np.ndarray,
    sample_rate: int,
    faces: Sequence[tuple[float, np.ndarray]],
    words: Sequence[tuple[str, float, float]],
    tracks: Mapping[str, Track],
) -> Drawing:
    """One segment along its time: faces, sound, words, and the tracks."""
    seconds = len(waveform) / sample_rate
    figure = Figure(figsize=(9.5, 4.2), layout="constrained")
    strip, sound, grid = figure.subplots(3, 1, sharex=True, height_ratios=(1.5, 1, 0.32 * max(2, len(tracks))))
    width = seconds / max(1, len(faces))
    for place, (_, picture) in enumerate(faces):
        strip.imshow(picture, extent=(place * width, (place + 1) * width, 0, 1), aspect="auto")
    strip.set(xlim=(0, seconds), ylim=(0, 1))
    strip.axis("off")
    _sound(sound, waveform, sample_rate, words)
    _tracks(grid, seconds, tracks)
    grid.set_xlabel("seconds from the segment's start")
    rows = [("word", start, end, text) for text, start, end in words]
    rows += [(name, *cell) for name, track in tracks.items() for cell in zip(*track, strict=True)]
    return Drawing(figure, [dict(zip(("track", "start", "end", "value"), row, strict=True)) for row in rows])


def _sound(axes: Axes, waveform: np.ndarray, sample_rate: int, words: Sequence[tuple[str, float, float]]) -> None:
    """The waveform, with the words over their spans."""
    block = max(1, len(waveform) // 1500)
    trimmed = waveform[: len(waveform) // block * block].reshape(-1, block)
    times = np.arange(len(trimmed)) * block / sample_rate
    axes.fill_between(times, trimmed.min(axis=1), trimmed.max(axis=1), color=OTHER, linewidth=0)
    top = 1.25 * max(1e-3, float(np.abs(waveform).max()))
    for text, start, end in words:
        axes.axvspan(start, end, color=WORD, alpha=0.2, linewidth=0)
        axes.axvline(start, color=WORD, linewidth=0.7)
        axes.text((start + end) / 2, top, text, ha="center", va="bottom", fontsize=8, rotation=35)
    axes.set(ylim=(-top, top), yticks=[])
    axes.set_ylabel("sound")


def _tracks(axes: Axes, seconds: float, tracks: Mapping[str, Track]) -> None:
    """A row a track, a cell a value as wide as it lasts."""
    edges = sorted({0.0, seconds, *(time for track in tracks.values() for time in (*track.starts, *track.ends))})
    middle = (np.array(edges[1:]) + np.array(edges[:-1])) / 2
    cells = np.full((len(tracks), len(middle)), np.nan)
    for row, track in enumerate(tracks.values()):
        for start, end, value in zip(*track, strict=True):
            cells[row, (middle >= start) & (middle < end)] = value
    axes.pcolormesh(edges, np.arange(len(tracks) + 1), cells, vmin=0, vmax=1, cmap="viridis")
    axes.set_yticks(np.arange(len(tracks)) + 0.5, list(tracks), fontsize=8)
