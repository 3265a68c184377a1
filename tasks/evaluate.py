"""Evaluation: the test metrics of trained models as one table, and each model held against DMD."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from prefect import task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE

from dmd_model.published import PublishedResult, published_results
from storage.feature_store import FeatureStore, Published
from tasks.files import write_text

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
    """One line of the results table: a model's test metrics, mean and standard deviation over its runs.

    ``parameters`` of the model and ``seconds`` of a training are those of the runs; ``published`` is what others found.
    """

    model: str
    runs: int
    mean: Mapping[str, float]
    std: Mapping[str, float]
    parameters: int = 0
    seconds: float = 0.0
    published: tuple[PublishedResult, ...] = ()

    def cell(self, metric: str) -> str:
        """The metric as people read it: per cent for accuracies and F1, ± deviation for several runs."""
        if np.isnan(self.mean[metric]):
            return "–"
        scale, digits = (1, 3) if metric in ("mae", "corr") else (100, 1)
        text = f"{scale * self.mean[metric]:.{digits}f}"
        return f"{text} ± {scale * self.std[metric]:.{digits}f}" if self.runs > 1 else text


@task(cache_policy=NO_CACHE)
def evaluate(store: FeatureStore, published: Published, runs: Sequence[Path], name: str) -> list[Row]:
    """The rows of the results table: the mean of the training labels as a predictor, then each model.

    ``runs`` are folders of trained models; their test predictions were made once, by the weights chosen on valid.
    ``name`` of the data set decides which published figures stand beside a model's.
    """
    results = [read_result(run) for run in runs]
    if not results:
        return []
    rows = [mean_predictor(store, published), *model_rows(results, name)]
    results_table(rows, "results")
    return rows


def results_table(rows: Sequence[Row], key: str) -> None:
    """Show the rows in Prefect's pages, as the artifact ``key``."""
    create_table_artifact(
        [
            {"model": row.model, "runs": row.runs}
            | {METRICS[metric]: row.cell(metric) for metric in METRICS}
            | {"parameters": row.parameters or "", "seconds": round(row.seconds) or ""}
            | {"published (Acc-7 / Acc-2 / F1)": "; ".join(map(str, row.published))}
            for row in rows
        ],
        key=key,
        description="Test split, mean ± standard deviation over seeds; weights chosen on the valid split.",
    )


def model_rows(results: Sequence[Mapping[str, Any]], name: str) -> list[Row]:
    """A row a model, in the order in which the models come; ``name`` is that of the data set."""
    rows = []
    for model in dict.fromkeys(result["model"] for result in results):
        runs = [result for result in results if result["model"] == model]
        values = {m: np.array([run["metrics"]["test"][m] for run in runs], np.float64) for m in METRICS}
        rows.append(
            Row(
                model,
                len(runs),
                {metric: float(value.mean()) for metric, value in values.items()},
                {metric: float(value.std(ddof=1)) if len(value) > 1 else 0.0 for metric, value in values.items()},
                runs[0]["parameters"],
                float(np.mean([run["seconds"] for run in runs])),
                tuple(published_results(model, name)),
            )
        )
    return rows


@dataclass(frozen=True)
class Comparison:
    """The mean absolute test error of a model's seed ensemble against that of another, the reference.

    ``difference`` is the model's error minus the reference's, ``low`` to ``high`` its 95 % interval; ``p`` is against
    no difference, ``p_holm`` the same, corrected for all the models of the table.
    """

    model: str
    mae: float
    difference: float
    low: float
    high: float
    p: float
    p_holm: float


def compare_with(reference: str, results: Sequence[Mapping[str, Any]], labels: Mapping[str, float]) -> list[Comparison]:
    """Every other model against ``reference``, by a paired bootstrap over test segments; ``labels`` are by segment.

    A model's prediction is the mean over its seeds.
    """
    from dmd_model.metrics import paired_bootstrap
    from dmd_model.significance import holm, two_sided

    errors = {}
    for model, predictions in ensembles(results).items():
        errors[model] = np.array([abs(value - labels[segment]) for segment, value in predictions.items()])
    others = [model for model in errors if model != reference]
    found = [paired_bootstrap(errors[model], errors[reference]) for model in others]
    p_values = [two_sided(one) for one in found]
    return [
        Comparison(model, float(errors[model].mean()), one.difference, one.low, one.high, p, corrected)
        for model, one, p, corrected in zip(others, found, p_values, holm(p_values), strict=True)
    ]


def ensembles(results: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """By model, the test predictions of all its runs, meaned, by segment in one order for all."""
    segments = list(results[0]["predictions"]["test"])
    return {
        model: {
            segment: float(np.mean([run["predictions"]["test"][segment] for run in results if run["model"] == model]))
            for segment in segments
        }
        for model in dict.fromkeys(result["model"] for result in results)
    }


def read_result(run: Path) -> dict[str, Any]:
    """What a finished training wrote: metrics, predictions, seed, epochs, parameters, seconds, device."""
    return json.loads((run / "result.json").read_text())


def mean_predictor(store: FeatureStore, published: Published) -> Row:
    """What predicting the mean training label for everybody scores on the test split: the bar for any model."""
    from dmd_model import metrics  # scikit-learn takes two seconds to import

    data = store.aligned(published.fingerprint, at=published.snapshot)
    splits, labelled = np.array(data.splits), np.isfinite(data.labels)
    truth = data.labels[(splits == "test") & labelled]
    constant = data.labels[(splits == "train") & labelled].mean()
    scores = metrics.evaluate(np.full(len(truth), constant), truth)
    return Row("mean of training labels", 1, scores, dict.fromkeys(scores, 0.0))


def write_results(rows: Sequence[Row], published: Published, name: str, path: Path) -> Path:
    """Write the rows as JSON for scripts: which data, then each model's metrics; null where one is not defined."""
    models = [
        asdict(row)
        | {part: {m: None if np.isnan(v) else v for m, v in getattr(row, part).items()} for part in ("mean", "std")}
        for row in rows
    ]
    content = {"dataset": name, "published": asdict(published), "models": models}
    return write_text(path, json.dumps(content, indent=1, allow_nan=False))
