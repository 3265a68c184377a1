"""Evaluation: the test metrics of trained models as one table, a row a model, over its seeds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from prefect import task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE

from storage.feature_store import FeatureStore

METRICS = {
    "mae": "MAE",
    "corr": "Corr",
    "acc7": "Acc-7",
    "acc5": "Acc-5",
    "acc2_nonzero": "Acc-2 (neg/pos)",
    "f1_nonzero": "F1 (neg/pos)",
    "acc2_haszero": "Acc-2 (neg/non-neg)",
    "f1_haszero": "F1 (neg/non-neg)",
}
"""The metrics' keys and how they are headed; accuracies and F1 are shown in per cent."""


@dataclass(frozen=True)
class Row:
    """One line of the results table: a model's test metrics, mean and standard deviation over its runs."""

    model: str
    runs: int
    mean: Mapping[str, float]
    std: Mapping[str, float]

    def cell(self, metric: str) -> str:
        """The metric as people read it: per cent for accuracies and F1, ± deviation for several runs."""
        if np.isnan(self.mean[metric]):
            return "–"
        scale, digits = (1, 3) if metric in ("mae", "corr") else (100, 1)
        text = f"{scale * self.mean[metric]:.{digits}f}"
        return f"{text} ± {scale * self.std[metric]:.{digits}f}" if self.runs > 1 else text


@task(cache_policy=NO_CACHE)
def evaluate(store: FeatureStore, dataset: str, runs: Sequence[Path]) -> list[Row]:
    """The rows of the results table: the mean of the training labels as a predictor, then each model.

    ``runs`` are folders of trained models; their test predictions were made once, by the weights chosen on valid.
    """
    results = [read_result(run) for run in runs]
    if not results:
        return []
    rows = [mean_predictor(store, dataset)]
    for model in dict.fromkeys(result["model"] for result in results):
        tests = [result["metrics"]["test"] for result in results if result["model"] == model]
        values = {metric: np.array([test[metric] for test in tests], np.float64) for metric in METRICS}
        rows.append(
            Row(
                model,
                len(tests),
                {metric: float(value.mean()) for metric, value in values.items()},
                {metric: float(value.std(ddof=1)) if len(value) > 1 else 0.0 for metric, value in values.items()},
            )
        )
    create_table_artifact(
        [{"model": row.model, "runs": row.runs} | {METRICS[m]: row.cell(m) for m in METRICS} for row in rows],
        key="results",
        description="Test split, mean ± standard deviation over seeds; weights chosen on the valid split.",
    )
    return rows


def read_result(run: Path) -> dict[str, Any]:
    """What a finished training wrote: metrics, predictions, seed, epochs, parameters, seconds, device."""
    return json.loads((run / "result.json").read_text())


def mean_predictor(store: FeatureStore, dataset: str) -> Row:
    """What predicting the mean training label for everybody scores on the test split: the bar for any model."""
    from dmd_model import metrics  # scikit-learn takes two seconds to import

    data = store.aligned(dataset)
    splits, labelled = np.array(data.splits), np.isfinite(data.labels)
    truth = data.labels[(splits == "test") & labelled]
    constant = data.labels[(splits == "train") & labelled].mean()
    scores = metrics.evaluate(np.full(len(truth), constant), truth)
    return Row("mean of training labels", 1, scores, dict.fromkeys(scores, 0.0))
