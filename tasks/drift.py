"""Drift: how far the features of new segments lie from those of the segments that were published before."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np

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


def drift_since_published(store: FeatureStore, dataset: str) -> tuple[FeatureDrift, ...]:
    """Of every feature of a packed data set, how its new segments differ from the others.

    New are those that the data set published before it has not, or has with another recording or text; there is no
    drift where none was published.
    """
    before = store.published_before(dataset)
    if before is None:
        return ()
    known = _contents(store, store.aligned(before.fingerprint, before.snapshot).ids, before.snapshot)
    data = store.aligned(dataset, at="staging")
    now = _contents(store, data.ids, "staging")
    return drift(data, [name for name in now if now[name] != known.get(name)])


def _contents(store: FeatureStore, ids: Iterable[str], at: str) -> dict[str, str]:
    """What is measured of each segment, by id; of an imported one nothing is known but its id."""
    keys = {str(segment.id): segment.speech_key for segment in store.segments(at)}
    return {name: keys.get(name, "") for name in ids}


def drift(data: AlignedDataset, new: Collection[str]) -> tuple[FeatureDrift, ...]:
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
    return tuple(found)


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
