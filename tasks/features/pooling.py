"""Frames into words: index arithmetic alone, no media and no store."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from storage.schema import Frames, Word


def pool(frames: Frames, words: Sequence[Word]) -> tuple[np.ndarray, np.ndarray]:
    """The mean of the measured frames within each word: (values float32 [W, D], mask bool [W]).

    A frame belongs to a word when start <= its time < end; frames with mask False are left out. A word too short to
    hold any frame takes the one nearest to its middle, so long as the frames reach to within one hop of it. Where no
    frame of the word was measured, or its times are not finite, its row is zero and its mask False.
    """
    times, mask = frames.times, frames.mask
    starts = np.array([word.start for word in words], np.float64)  # [W]
    ends = np.array([word.end for word in words], np.float64)  # [W]
    first, stop = _frame_ranges(times, starts, ends)

    # Differences of running sums: float64, so that their rounding stays far below float32's.
    sums = np.zeros((len(times) + 1, frames.values.shape[1]))  # [F + 1, D]
    np.cumsum(frames.values * mask[:, None], axis=0, dtype=np.float64, out=sums[1:])
    counts = np.concatenate([[0], np.cumsum(mask)])  # [F + 1]
    measured = counts[stop] - counts[first]  # [W]
    values = (sums[stop] - sums[first]) / np.maximum(measured, 1)[:, None]  # [W, D]
    values[measured == 0] = 0
    return values.astype(np.float32), measured > 0


def _frame_ranges(times: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frames ``first[w]:stop[w]`` of every word, int64 [W] each; empty where there is none near."""
    first = np.searchsorted(times, starts, side="left")
    stop = np.maximum(first, np.searchsorted(times, ends, side="left"))
    if len(times) == 0:
        return first, stop

    middles = (starts + ends) / 2
    after = np.clip(np.searchsorted(times, middles), 1, max(1, len(times) - 1))
    before = after - 1
    after = np.minimum(after, len(times) - 1)  # there may be one frame only
    nearest = np.where(middles - times[before] <= times[after] - middles, before, after)
    hop = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    reached = (middles >= times[0] - hop) & (middles <= times[-1] + hop)  # False for NaN
    short = (first == stop) & reached
    first = np.where(short, nearest, first)
    stop = np.where(short, nearest + 1, stop)

    unknown = ~(np.isfinite(starts) & np.isfinite(ends))
    return first, np.where(unknown, first, stop)
