"""Whether the difference between two models is more than chance, for one pair and for many."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dmd_model.metrics import RESAMPLES, PairedBootstrap


def two_sided(found: PairedBootstrap) -> float:
    """The p-value of a paired bootstrap against no difference.

    Twice the smaller share of resamples on either side of zero, ties on both; the sample itself counts as one resample,
    so that it is never 0 (Davison and Hinkley, Bootstrap Methods and their Application, 1997, chapter 4).
    """
    smaller = min(1 - found.lower, 1 - found.higher)
    return min(1.0, 2 * (smaller * RESAMPLES + 1) / (RESAMPLES + 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values [C] corrected for as many comparisons (Holm 1979): the chance of one false alarm among them all."""
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p)
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(stepped, 1)
    return corrected.tolist()
