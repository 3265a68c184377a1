"""Frames into words: index arithmetic alone, no media and no store."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from storage.schema import Frames, Word

TOUCHING = 1e-6
"""Seconds: intervals that overlap by less only touch. Times are computed, and their last digits are noise."""


def pool(frames: Frames, words: Sequence[Word]) -> tuple[np.ndarray, np.ndarray]:
    """The mean of the frames within each word, weighted by overlap: (values float32 [W, D], mask bool [W]).

    A frame stands for the time that is nearer to it than to any other frame, and the outer ones for half a hop (the
    median distance of frames) beyond them. Its weight is for how long the word overlaps that time, so a picture that is
    shown for longer counts for more. Frames with mask False have no weight and keep their time. So a word shorter than
    a hop has the frame nearest to it, or both that it lies between; one of no length has the nearest. Where no measured
    frame overlaps the word, or its times are not finite, its row is zero and its mask False.
    """
    starts = np.array([word.start for word in words], np.float64)  # [W]
    ends = np.array([word.end for word in words], np.float64)  # [W]
    word, frame, weight = _overlaps(_edges(frames.times), starts, ends)
    measured = frames.mask[frame]
    word, frame, weight = word[measured], frame[measured], weight[measured]  # [P] pairs of a word and a frame

    values = np.zeros((len(words), frames.values.shape[1]))  # [W, D]
    first = np.flatnonzero(np.diff(word, prepend=-1))  # pairs come word by word
    pooled = word[first]
    if len(pooled):
        weighted = frames.values[frame] * weight[:, None]  # [P, D] float64
        values[pooled] = np.add.reduceat(weighted, first) / np.add.reduceat(weight, first)[:, None]
    mask = np.zeros(len(words), bool)  # [W]
    mask[pooled] = True
    return values.astype(np.float32), mask


def _edges(times: np.ndarray) -> np.ndarray:
    """Frame f stands for the time from ``edges[f]`` to ``edges[f + 1]``; float64 [F + 1]. A lone one, for all time."""
    if len(times) == 0:
        return np.zeros(1)
    hops = np.sort(np.diff(times))  # not np.median, which takes as long as all the rest
    half_hop = float(hops[(len(hops) - 1) // 2] + hops[len(hops) // 2]) / 4 if len(times) > 1 else np.inf
    return np.concatenate([[times[0] - half_hop], (times[:-1] + times[1:]) / 2, [times[-1] + half_hop]])


def _overlaps(edges: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(word int64, frame int64, seconds of overlap float64) of every pair that overlaps, word by word; [P] each."""
    frames = len(edges) - 1
    near = np.isfinite(starts) & np.isfinite(ends) & (starts <= edges[-1]) & (ends >= edges[0]) & (frames > 0)
    begin = np.clip(np.where(near, starts, edges[0]), edges[0], edges[-1])  # [W]
    end = np.maximum(begin, np.clip(np.where(near, ends, edges[0]), edges[0], edges[-1]))
    first = np.clip(np.searchsorted(edges, begin, side="right") - 1, 0, max(0, frames - 1))
    stop = np.maximum(first + 1, np.searchsorted(edges, end, side="left"))
    counts = np.where(near, stop - first, 0)

    word = np.repeat(np.arange(len(starts)), counts)  # [P]
    frame = np.arange(len(word)) - np.repeat(np.cumsum(counts) - counts, counts) + first[word]
    weight = np.minimum(end[word], edges[frame + 1]) - np.maximum(begin[word], edges[frame])
    weight = np.where((ends - starts < TOUCHING)[word], 1.0, weight)  # no length to be shared: one frame
    kept = weight >= TOUCHING
    return word[kept], frame[kept], weight[kept]
