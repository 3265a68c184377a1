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
