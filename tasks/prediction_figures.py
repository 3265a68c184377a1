"""The drawings of the page of one video, as numbers and SVG paths: the timeline, and each segment's readings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

PIXELS_A_SECOND = 120
WORD_ROWS = 3
VOICES = {"text": "language", "vision": "face", "audio": "voice"}
"""How the page calls the modalities."""
LETTERS = {"L": "language", "V": "face", "A": "voice"}
_MODALITIES = {"L": "text", "V": "vision", "A": "audio"}
_NODES = {"L": (140, 20), "V": (28, 166), "A": (252, 166)}  # of a graph of 280 x 204
_NODE = 13  # radius
_NAMES = {"L": (162, 16, "start"), "V": (28, 193, "middle"), "A": (252, 193, "middle")}
"""Where the nodes' names stand, and from where they run."""
_BEND = 26  # pixels by which an edge and the one back are bent apart

Bar = tuple[float, float, Mapping[str, float | None]]
"""From and to, in seconds, and a mean with its deviation."""


@dataclass(frozen=True)
class Track:
    """One row of the timeline: values over words, about a zero line.

    ``above``, ``below`` and ``spread`` are paths of bars from zero to the means, and of mean ± deviation; ``reach`` is
    the value at the row's edges.
    """

    name: str
    title: str
    height: int
    above: str
    below: str
    spread: str
    reach: float


def x(seconds: float) -> float:
    """Pixels from the timeline's left edge."""
    return round(seconds * PIXELS_A_SECOND, 1)


def timeline(
    segments: Sequence[Mapping[str, Any]], waveform: np.ndarray, seconds: float, scale: tuple[float, float]
) -> dict[str, Any]:
    """Everything along the time of the video: sound, words, and the rows of what was read."""
    middle = sum(scale) / 2
    said = {("sentiment", "sentiment so far", 90): _word_values(segments, "prediction")}
    if segments[0]["heads"]:
        said |= {
            (modality, f"{voice} alone", 44): _word_values(segments, "heads", "homogeneous", modality)
            for modality, voice in VOICES.items()
        }
    added = {
        (modality, f"each word adds by {voice}", 44): _word_values(segments, "occlusion", modality)
        for modality, voice in VOICES.items()
    }
    tracks = [*_tracks(said, middle, 0.5, scale[1] - middle), *_tracks(added, 0.0, 0.05, scale[1] - middle)]
    return {
        "width": math.ceil(x(seconds)),
        "ticks": [(x(second), clock(second)) for second in range(0, math.ceil(seconds), 2)],
        "sound": _sound(waveform, seconds),
        "words": _words(segments),
        "spans": [(x(segment["start"]), x(segment["end"]) - x(segment["start"])) for segment in segments],
        "tracks": tracks,
    }


def _tracks(rows: Mapping[tuple[str, str, int], Sequence[Bar]], middle: float, step: float, most: float) -> list[Track]:
    """Rows that share one reach: the least multiple of ``step`` that holds every mean ± deviation, or ``most``."""
    furthest = max(
        (abs(value["mean"] - middle) + (value["std"] or 0) for bars in rows.values() for _, _, value in bars
         if value["mean"] is not None),
        default=0.0,
    )  # fmt: skip
    reach = min(max(1, math.ceil(furthest / step)) * step, most)
    return [
        Track(name, title, height, *_bars(bars, height, reach, middle), reach)
        for (name, title, height), bars in rows.items()
    ]


def _word_values(segments: Sequence[Mapping[str, Any]], *path: str) -> list[Bar]:
    return [
        (word["start"], word["end"], reduce(lambda value, key: value[key], path, word))
        for segment in segments
        for word in segment["words"]
    ]


def _bars(bars: Sequence[Bar], height: int, reach: float, middle: float) -> tuple[str, str, str]:
    """Paths above and below the middle line, and of the deviations."""
    above, below, spread = [], [], []

    def y(value: float) -> float:
        return round(height / 2 - max(-1, min(1, (value - middle) / reach)) * height / 2, 1)

    for start, end, value in bars:
        if (mean := value["mean"]) is None:
            continue
        left, width = x(start), max(1.5, round(x(end) - x(start) - 1, 1))
        (above if mean >= middle else below).append(f"M{left} {height / 2}h{width}V{y(mean)}h{-width}z")
        if value["std"] is not None:
            low, high = y(mean - value["std"]), y(mean + value["std"])
            centre = round(left + width / 2, 1)
            spread.append(f"M{centre} {low}V{high}")
    return "".join(above), "".join(below), "".join(spread)


def _sound(waveform: np.ndarray, seconds: float, height: int = 44, step: int = 3) -> str:
    """The waveform's outline as a path, of ``step`` pixels a point."""
    count = max(1, int(seconds * PIXELS_A_SECOND / step))
    block = max(1, len(waveform) // count)
    loudest = np.abs(waveform[: len(waveform) // block * block]).reshape(-1, block).max(axis=1)
    half = np.round(loudest / max(float(loudest.max()), 1e-9) * height / 2, 1)
    places = np.round(np.arange(len(half)) * block / len(waveform) * seconds * PIXELS_A_SECOND, 1)
    upper = [f"{place:g} {height / 2 - value:g}" for place, value in zip(places, half, strict=True)]
    lower = [f"{place:g} {height / 2 + value:g}" for place, value in zip(places[::-1], half[::-1], strict=True)]
    return "M" + "L".join([*upper, *lower]) + "z"


def _words(segments: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The words as buttons in WORD_ROWS rows, each as wide as the room to the next in its row."""
    spoken = [(place, word) for place, segment in enumerate(segments) for word in segment["words"]]
    placed = []
    for number, (place, word) in enumerate(spoken):
        next_in_row = number + WORD_ROWS
        after = spoken[next_in_row][1]["start"] if next_in_row < len(spoken) else word["end"] + 1
        placed.append(
            {
                "text": word["text"] or "·",
                "segment": place,
                "start": word["start"],
                "end": word["end"],
                "x": x(word["start"]),
                "room": max(14, round(x(after) - x(word["start"]) - 3)),
                "row": number % WORD_ROWS,
                "said": f"so far {plus_minus(word['prediction'])}; the word adds "
                + ", ".join(
                    f"{plus_minus(word['occlusion'][modality])} by {voice}"
                    for modality, voice in VOICES.items()
                    if word["occlusion"][modality]["mean"] is not None
                ),
            }
        )
    return placed


def panel(segment: Mapping[str, Any], scale: tuple[float, float]) -> dict[str, Any]:
    """One segment's readings: its sentiment, those of single modalities, and the graphs of its edges."""
    mean, deviation = segment["prediction"]["mean"], segment["prediction"]["std"] or 0.0
    return {
        **segment,
        "clock": f"{clock(segment['start'])}–{clock(segment['end'])}",
        "share": share(mean, scale),
        "low": share(mean - deviation, scale),
        "high": share(mean + deviation, scale),
        "readings": [
            {"name": voice, "modality": modality}
            | {unit: values[modality] for unit, values in segment["heads"].items()}
            for modality, voice in VOICES.items()
        ]
        if segment["heads"]
        else [],
        "graphs": {unit: _graph(edges) for unit, edges in segment["edges"].items()},
    }


def share(value: float, scale: tuple[float, float]) -> float:
    """Where a value lies on the scale of the labels, in per cent."""
    return round(100 * max(0.0, min(1.0, (value - scale[0]) / (scale[1] - scale[0]))), 1)


def _graph(edges: Mapping[str, Mapping[str, float | None]]) -> list[dict[str, Any]]:
    """The edges teacher → student of one unit: a bent arrow as wide as its weight, and its label's place."""
    drawn = []
    for name, weight in edges.items():
        teacher, student = name.split("→")
        (x0, y0), (x1, y1) = _NODES[teacher], _NODES[student]
        length = math.hypot(x1 - x0, y1 - y0)
        along = ((x1 - x0) / length, (y1 - y0) / length)
        across = (-along[1], along[0])  # to the right of who goes from teacher to student
        start = (x0 + along[0] * _NODE + across[0] * 6, y0 + along[1] * _NODE + across[1] * 6)
        end = (x1 - along[0] * (_NODE + 7) + across[0] * 6, y1 - along[1] * (_NODE + 7) + across[1] * 6)
        centre = ((x0 + x1) / 2, (y0 + y1) / 2)
        bend = (centre[0] + across[0] * _BEND, centre[1] + across[1] * _BEND)
        drawn.append(
            {
                "path": f"M{start[0]:.1f} {start[1]:.1f}Q{bend[0]:.1f} {bend[1]:.1f} {end[0]:.1f} {end[1]:.1f}",
                "head": _arrow_head(bend, end),
                "width": round(1 + 7 * weight["mean"], 1),
                "modality": _MODALITIES[teacher],
                "teacher": LETTERS[teacher],
                "student": LETTERS[student],
                "x": round(0.4 * start[0] + 0.48 * bend[0] + 0.12 * end[0], 1),
                "y": round(0.4 * start[1] + 0.48 * bend[1] + 0.12 * end[1], 1),
                **weight,
            }
        )
    return drawn


def _arrow_head(before: tuple[float, float], tip: tuple[float, float]) -> str:
    """A triangle at the end of an edge that comes from ``before``."""
    angle = math.atan2(tip[1] - before[1], tip[0] - before[0])
    point = (tip[0] + 6 * math.cos(angle), tip[1] + 6 * math.sin(angle))
    left, right = ((tip[0] + 4 * math.cos(angle + turn), tip[1] + 4 * math.sin(angle + turn)) for turn in (-2, 2))
    return f"M{point[0]:.1f} {point[1]:.1f}L{left[0]:.1f} {left[1]:.1f}L{right[0]:.1f} {right[1]:.1f}z"


def nodes() -> list[dict[str, Any]]:
    """Modality, place, name and the name's place of the graph's three nodes."""
    return [
        {"modality": _MODALITIES[letter], "x": x, "y": y, "name": LETTERS[letter], "at": _NAMES[letter]}
        for letter, (x, y) in _NODES.items()
    ]


def plus_minus(value: Mapping[str, float | None]) -> str:
    """A mean with its deviation, as people read it; a dash where there is none, and a question mark for one seed's."""
    if value["mean"] is None:
        return "–"
    return f"{signed(value['mean'])} ± {_deviation(value)}"


def unsigned(value: Mapping[str, float | None]) -> str:
    """The same of what has no sign, such as an error."""
    return f"{value['mean']:.2f} ± {_deviation(value)}"


def signed(value: float) -> str:
    """With its sign, a true minus."""
    return f"{value:+.2f}".replace("-", "−")


def weight(edge: Mapping[str, float | None]) -> str:
    """An edge's weight with its deviation."""
    return f"{edge['mean']:.2f}±{_deviation(edge)}"


def _deviation(value: Mapping[str, float | None]) -> str:
    return "?" if value["std"] is None else f"{value['std']:.2f}"


def clock(seconds: float) -> str:
    """Minutes and seconds, with tenths unless they are whole."""
    minutes, rest = divmod(seconds, 60)
    return f"{minutes:.0f}:{rest:04.1f}" if rest % 1 else f"{minutes:.0f}:{rest:02.0f}"
