"""Drift: how far the features of new segments lie from those of the segments that were there before."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from prefect import task
from prefect.cache_policies import NO_CACHE

from storage.feature_store import FeatureStore
from storage.schema import AlignedDataset
from tasks.dataset_tables import segment_means

SHOWN = 5
SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class ColumnDrift:
    """One feature column: its distance, and its mean over old and over new segments."""

    name: str
    distance: float
    old_mean: float
    new_mean: float


@dataclass(frozen=True)
class FeatureDrift:
    """The distance between new and old segments in one feature, such as vision.

    ``distance`` is the mean over columns of the Kolmogorov-Smirnov distance, in [0, 1], between the segments' means of
    a column. ``differing`` is the share of columns whose distance is significant at 5 %, which by chance is 0.05.
    ``largest`` are the columns with the largest distances; ``old`` and ``new`` count the segments that were measured.
    """

    feature: str
    old: int
    new: int
    distance: float
    differing: float
    largest: tuple[ColumnDrift, ...]


@task(name="drift", cache_policy=NO_CACHE)
def measure_drift(store: FeatureStore, dataset: str, new: Collection[str]) -> list[FeatureDrift]:
    """Of every feature of a packed data set, how its segments named ``new`` differ from the others."""
    return drift(store.aligned(dataset, at="staging"), new)


def drift(data: AlignedDataset, new: Collection[str]) -> list[FeatureDrift]:
    """A feature that was not measured in any new segment, or in any old one, is left out."""
    is_new = np.isin(data.ids, list(new))  # [N]
    found = []
    for feature in data.features:
        if feature == "pieces":  # numbers of a vocabulary
            continue
        means = segment_means(data, feature)  # [N, D]
        measured = np.isfinite(means).all(axis=1)  # [N]
        old_means, new_means = means[measured & ~is_new], means[measured & is_new]
        if len(old_means) and len(new_means):
            found.append(_feature_drift(feature, data.columns[feature], old_means, new_means))
    return found


def _feature_drift(feature: str, columns: tuple[str, ...], old: np.ndarray, new: np.ndarray) -> FeatureDrift:
    """``old`` [N, D] and ``new`` [M, D] are the segments' means."""
    from scipy.stats import ks_2samp

    tests = ks_2samp(old, new, axis=0, method="asymp")
    largest = np.argsort(-tests.statistic, kind="stable")[:SHOWN]
    return FeatureDrift(
        feature,
        len(old),
        len(new),
        float(tests.statistic.mean()),
        float((tests.pvalue < SIGNIFICANCE).mean()),
        tuple(
            ColumnDrift(columns[c], float(tests.statistic[c]), float(old[:, c].mean()), float(new[:, c].mean()))
            for c in largest
        ),
    )
