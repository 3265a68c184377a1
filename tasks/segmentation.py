"""Where the segments of a recording lie: index arithmetic on timed words and on loudness, no media and no store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from storage.schema import Word

MARGIN = 0.15
"""Seconds of a pause, at most, that a segment takes in before and after its words."""
_FRAME = 0.01  # seconds
_DECIBELS_UNDER_SPEECH = 35.0  # of the loudest twentieth: no speech is so much fainter than its own vowels
_SHARE_OF_RANGE = 0.3  # between the faintest tenth and the loudest twentieth: what is noisier than silence
_SHORTEST_VOICE = 0.2  # seconds


@dataclass(frozen=True)
class Limits:
    """What parts segments: a pause of ``pause`` seconds; none is longer than ``seconds``, none has over ``words``."""

    pause: float
    seconds: float
    words: int


def by_pauses(words: Sequence[Word], limits: Limits) -> list[slice]:
    """The runs of words that no pause parts, in order.

    A run that is too long is parted at the longest pause in its middle half (the one nearest to the middle where some
    are equal), until nothing is too long; a single word is never parted.
    """
    gaps = np.array([after.start - before.end for before, after in zip(words, words[1:], strict=False)])
    parted = [0, *(np.flatnonzero(gaps >= limits.pause) + 1), len(words)]
    waiting = [slice(int(first), int(stop)) for first, stop in zip(parted, parted[1:], strict=False) if first < stop]
    found = []
    while waiting:
        run = waiting.pop()
        count = run.stop - run.start
        if count == 1 or (count <= limits.words and words[run.stop - 1].end - words[run.start].start <= limits.seconds):
            found.append(run)
            continue
        quarter = (count + 2) // 4
        places = np.arange(run.start + quarter, run.stop - quarter + 1)  # at which the second part may begin
        off_middle = np.abs(places - (run.start + run.stop) / 2)
        place = int(places[np.lexsort((off_middle, -gaps[places - 1].round(6)))[0]])
        waiting += [slice(run.start, place), slice(place, run.stop)]
    return sorted(found, key=lambda run: run.start)


def bounds(words: Sequence[Word], runs: Sequence[slice], seconds: float) -> list[tuple[float, float]]:
    """When each run begins and ends, in a recording of ``seconds``: its words with a margin, where others leave one."""
    found = []
    for run in runs:
        first, last = words[run.start], words[run.stop - 1]
        before = words[run.start - 1].end if run.start else 0.0
        after = words[run.stop].start if run.stop < len(words) else seconds
        start = max(first.start - MARGIN, min(first.start, (before + first.start) / 2), 0.0)
        found.append((start, min(last.end + MARGIN, max(last.end, (last.end + after) / 2), seconds)))
    return found


def voiced(waveform: np.ndarray, sample_rate: int, pause: float) -> list[tuple[float, float]]:
    """When somebody speaks, by loudness: (start, end) seconds of stretches of ``waveform`` between pauses.

    Speech is what is at most 35 dB below the loudest twentieth of 10 ms frames, and well above the faintest tenth.
    """
    hop = round(_FRAME * sample_rate)
    frames = waveform[: len(waveform) // hop * hop].reshape(-1, hop)
    power = np.square(frames, dtype=np.float64).mean(axis=1)
    loudness = 10 * np.log10(np.maximum(power, 1e-10))  # decibels of full scale, [F]
    faint, loud = np.percentile(loudness, (10, 95))
    speech = loudness >= max(loud - _DECIBELS_UNDER_SPEECH, faint + _SHARE_OF_RANGE * (loud - faint))
    edges = np.flatnonzero(np.diff(np.concatenate([[0], speech.astype(np.int8), [0]])))
    starts, ends = edges[::2] * _FRAME, edges[1::2] * _FRAME
    joined = np.flatnonzero(starts[1:] - ends[:-1] >= pause)
    stretches = zip(starts[np.concatenate([[0], joined + 1])], ends[np.concatenate([joined, [-1]])], strict=True)
    return [(float(start), float(end)) for start, end in stretches if end - start >= _SHORTEST_VOICE]


def even_spans(stretches: Sequence[tuple[float, float]], span: float) -> list[Word]:
    """Spans of about ``span`` seconds that fill the stretches, as words without a text, where no words are known."""
    found = []
    for start, end in stretches:
        edges = np.linspace(start, end, max(1, round((end - start) / span)) + 1).tolist()
        found += [Word("", a, b, 0.0, "interpolated") for a, b in zip(edges, edges[1:], strict=False)]
    return found
