"""The records that are written to a store and read from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Word:
    """One spoken token of a segment.

    ``start`` and ``end`` are seconds from the segment's start. ``confidence`` is in [0, 1]. ``source`` says where
    the times come from: ``given`` (by the data set), ``aligned`` (forced alignment) or ``interpolated`` (between
    its neighbours, because it could not be aligned).
    """

    text: str
    start: float
    end: float
    confidence: float = 1.0
    source: str = "given"


@dataclass(frozen=True)
class Frames:
    """What one extractor measured over one segment.

    Shapes: ``values`` float32 [F, D]; ``times`` float64 [F], seconds from the segment's start (for word vectors, which
    have no times of their own, the position of the word); ``mask`` bool [F], False where nothing was measured
    (no face, an unknown word); such rows of ``values`` are zero.
    """

    values: np.ndarray
    times: np.ndarray
    mask: np.ndarray


@dataclass(frozen=True)
class Failure:
    """Why a step could not treat one segment: a short reason code, and a sentence for people."""

    reason: str
    message: str


@dataclass(frozen=True)
class AlignedDataset:
    """Word-aligned features of N segments, flat and ragged: segment i owns word rows ``offsets[i]:offsets[i + 1]``.

    ``ids``, ``videos``, ``splits`` have N entries (a split is train, valid, test or empty); ``labels`` float32 [N], NaN
    where there is none; ``offsets`` int64 [N + 1]; ``words`` has W entries, W over all segments; ``starts``, ``ends``
    float64 [W] in seconds from the segment's start, NaN where unknown. ``features`` maps a feature's name to float32
    [W, D], ``masks`` to bool [W] (False where nothing was measured during the word; the row is zero), ``columns`` to
    the D names.
    """

    ids: tuple[str, ...]
    videos: tuple[str, ...]
    labels: np.ndarray
    splits: tuple[str, ...]
    offsets: np.ndarray
    words: tuple[str, ...]
    starts: np.ndarray
    ends: np.ndarray
    features: dict[str, np.ndarray]
    masks: dict[str, np.ndarray]
    columns: dict[str, tuple[str, ...]]
