"""The field's regression metrics, one definition each.

The definitions are those of the official DMD and of MMSA: k-class accuracies clip both sides and round half to even
(``numpy.round``); Acc-2 and F1 come in two conventions, which differ by two points and must be named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import f1_score

RESAMPLES = 10_000
_BLOCK = 1 << 22  # draws at a time


@dataclass(frozen=True)
class PairedBootstrap:
    """How the mean of one quantity compares with that of another, over the same segments.

    ``difference`` is the first mean minus the second, ``low`` to ``high`` its 95 % percentile interval, ``lower`` and
    ``higher`` the shares of resamples in which the first mean is lower, or higher: equal quantities give 0 for both.
    """

    difference: float
    low: float
    high: float
    lower: float
    higher: float


def paired_bootstrap(first: np.ndarray, second: np.ndarray) -> PairedBootstrap:
    """Compare two means over the same segments, such as the absolute errors of two models, both [N], N >= 1.

    RESAMPLES times N segments are drawn with replacement, the same for both sides (Efron and Tibshirani, An
    Introduction to the Bootstrap, 1993, chapter 13); the draws are always the same. Raises ValueError on unequal, empty
    or non-finite input.
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if first.shape != second.shape or first.ndim != 1 or not len(first):
        raise ValueError(f"a paired comparison needs two values a segment, not {first.shape} and {second.shape}")
    differences = first - second  # [N]
    if not np.isfinite(differences).all():
        raise ValueError(f"segment {int(np.flatnonzero(~np.isfinite(differences))[0])} has a value that is not finite")
    count, random = len(differences), np.random.default_rng(0)
    block = max(1, _BLOCK // count)
    means = np.concatenate(
        [
            differences[random.integers(count, size=(min(block, RESAMPLES - at), count))].mean(axis=1)
            for at in range(0, RESAMPLES, block)
        ]
    )  # fmt: skip  [RESAMPLES]
    low, high = np.percentile(means, (2.5, 97.5))
    return PairedBootstrap(
        float(differences.mean()), float(low), float(high), float((means < 0).mean()), float((means > 0).mean())
    )


def evaluate(predictions: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Every metric of one set of predictions, unrounded; accuracies and F1 are fractions in [0, 1].

    ``predictions`` and ``labels`` are [N], N >= 1. Keys: ``mae``, ``corr``, ``acc7``, ``acc5``, ``acc2_nonzero``,
    ``f1_nonzero`` (samples whose label is zero left out, positive means > 0), ``acc2_haszero``, ``f1_haszero`` (all
    samples, positive means >= 0) and ``n``. A metric that is not defined is NaN: ``corr`` where either side is constant
    or N is 1, the non-zero pair where every label is zero. Raises ValueError on unequal, empty or non-finite input.
    """
    predictions, labels = np.asarray(predictions, np.float64).ravel(), np.asarray(labels, np.float64).ravel()
    if predictions.shape != labels.shape or not len(labels):
        raise ValueError(f"metrics need a prediction for each label, and at least one: {len(predictions)} predictions, "
                         f"{len(labels)} labels")  # fmt: skip
    for name, values in (("prediction", predictions), ("label", labels)):
        if not np.isfinite(values).all():
            raise ValueError(f"{name} {int(np.flatnonzero(~np.isfinite(values))[0])} is not a finite number")
    nonzero = labels != 0
    return {
        "mae": float(np.abs(predictions - labels).mean()),
        "corr": pearson(predictions, labels),
        "acc7": k_class_accuracy(predictions, labels, 3),
        "acc5": k_class_accuracy(predictions, labels, 2),
        **_binary(predictions[nonzero] > 0, labels[nonzero] > 0, "nonzero"),
        **_binary(predictions >= 0, labels >= 0, "haszero"),
        "n": len(labels),
    }


def evaluate_emotions(logits: np.ndarray, labels: np.ndarray, emotions: Sequence[str]) -> dict[str, float]:
    """Of the presence (0 or 1) of emotions, [N, E]: for each of them ``<emotion>_wacc`` and ``<emotion>_f1``.

    An emotion is predicted where its logit is positive. The weighted accuracy is the mean of the accuracies on samples
    that have the emotion and on those that have not (CMU-MOSEI's), NaN where one of these is empty; F1 is the weighted
    one of scikit-learn. ``error`` is the mean binary cross-entropy, ``wacc`` and ``f1`` are means over emotions, ``n``
    is N.
    """
    logits, labels = np.asarray(logits, np.float64), np.asarray(labels, np.float64)
    if logits.shape != labels.shape or labels.shape != (len(labels), len(emotions)) or not len(labels):
        raise ValueError(f"metrics need a logit for each label: logits of shape {logits.shape}, labels {labels.shape}, "
                         f"{len(emotions)} emotions")  # fmt: skip
    found = {"error": float((np.logaddexp(0, logits) - labels * logits).mean()), "n": len(labels)}
    for column, emotion in enumerate(emotions):
        predicted, truth = logits[:, column] > 0, labels[:, column] > 0.5
        both = truth.any() and not truth.all()
        halves = [float((predicted[part] == truth[part]).mean()) for part in (truth, ~truth)] if both else [np.nan]
        found[f"{emotion}_wacc"] = float(np.mean(halves))
        found[f"{emotion}_f1"] = float(f1_score(truth, predicted, average="weighted", zero_division=0))
    for metric in ("wacc", "f1"):
        found[metric] = float(np.mean([found[f"{emotion}_{metric}"] for emotion in emotions]))
    return found


def k_class_accuracy(predictions: np.ndarray, labels: np.ndarray, limit: int) -> float:
    """Share of samples whose rounded value agrees after clipping both sides to [-limit, limit]: Acc-7 has limit 3."""
    clipped = (np.round(np.clip(values, -limit, limit)) for values in (predictions, labels))
    return float(np.equal(*clipped).mean())


def pearson(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Pearson correlation; NaN where one side does not vary (its correlation is not defined)."""
    if np.ptp(predictions) == 0 or np.ptp(labels) == 0:
        return float("nan")
    return float(np.corrcoef(predictions, labels)[0, 1])


def _binary(predicted: np.ndarray, truth: np.ndarray, convention: str) -> dict[str, float]:
    if not len(truth):
        return {f"acc2_{convention}": float("nan"), f"f1_{convention}": float("nan")}
    f1 = f1_score(truth, predicted, average="weighted", zero_division=0)
    return {f"acc2_{convention}": float((predicted == truth).mean()), f"f1_{convention}": float(f1)}
