"""What the report says of the trained models: the table, its protocol, significance, training and confusion."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dmd_model.registry import ablation
from storage.schema import AlignedDataset
from tasks.evaluate import METRICS, Row, compare_with, ensembles, read_result
from tasks.figures import Drawing
from tasks.figures import results as figures

PARTS = {
    "feature_decoupling": "FD",
    "homo_distillation": "HomoGD",
    "crossmodal_attention": "CA",
    "hetero_distillation": "HeteroGD",
}
"""The parts of DMD that are ablated, as the paper's table heads them."""
LOWER_IS_BETTER = {"mae"}


def results_section(data: AlignedDataset, rows: Sequence[Row], runs: Sequence[Path]) -> dict[str, Any]:
    """The tables of models and of ablations, every run, the protocol, and the models' figures."""
    if not runs:
        return {}
    from dmd_model.metrics import RESAMPLES  # scikit-learn takes two seconds to import

    results = [read_result(run) for run in runs]
    found = ensembles(results)
    reference = reference_model(list(found))
    labels = dict(zip(data.ids, data.labels.tolist(), strict=True))
    comparisons = compare_with(reference, results, labels)
    models = [row for row in rows if not ablation(row.model)]
    ablations = [row for row in rows if ablation(row.model)]
    counts = {model: confusion_counts(predictions, labels) for model, predictions in found.items()}
    section = {
        "results": models,
        "best": best_models(models),
        "ablations": _ablations([row for row in rows if row.model == "dmd"], ablations),
        "metrics": METRICS,
        "runs": results,
        "protocol": _protocol(data, results, runs),
        "settings": _settings(runs),
        "reference": reference,
        "comparisons": comparisons,
        "resamples": RESAMPLES,
        "training_curves": figures.training_curves(_histories(results, runs)),
        "confusion": figures.confusion(reference, counts.pop(reference)),
        "predictions": _predictions(reference, results, labels),
    }
    if comparisons:
        section["differences"] = figures.differences(reference, comparisons)
        section["confusions"] = figures.confusions(counts)
    return section


def reference_model(models: Sequence[str]) -> str:
    """What the others are held against: DMD, by its own choices, else with another preset, else the first model."""
    presets = [model for model in models if model.partition("@")[0] == "dmd" and not ablation(model)]
    return "dmd" if "dmd" in models else (presets or models)[0]


def best_models(rows: Sequence[Row]) -> dict[str, str]:
    """The model that is best on average, by metric; the mean predictor, which is first, is no model."""
    best = {}
    for metric in METRICS:
        means = {row.model: row.mean[metric] for row in rows[1:] if np.isfinite(row.mean[metric])}
        if means:
            best[metric] = (min if metric in LOWER_IS_BETTER else max)(means, key=means.get)
    return best


def confusion_counts(predictions: Mapping[str, float], labels: Mapping[str, float]) -> np.ndarray:
    """How many segments of each true class were given each class, int [7, 7]; classes as for Acc-7."""
    counts = np.zeros((7, 7), np.int64)
    for segment, predicted in predictions.items():
        true, given = (int(np.round(np.clip(value, -3, 3))) + 3 for value in (labels[segment], predicted))
        counts[true, given] += 1
    return counts


def _ablations(whole: Sequence[Row], rows: Sequence[Row]) -> list[tuple[dict[str, bool], Row]]:
    """DMD with all its parts, where it was trained, and without each; the parts that a row has, and the row."""
    if not rows:
        return []
    return [({name: ablation(row.model) != part for part, name in PARTS.items()}, row) for row in (*whole, *rows)]


def _histories(results: Sequence[Mapping[str, Any]], runs: Sequence[Path]) -> dict[str, list]:
    """Seed, history and kept epoch of every run, by model."""
    histories: dict[str, list] = {}
    for result, run in zip(results, runs, strict=True):
        history = json.loads((run / "history.json").read_text())
        histories.setdefault(result["model"], []).append((result["seed"], history, result["best_epoch"]))
    return histories


def _predictions(model: str, results: Sequence[Mapping[str, Any]], labels: Mapping[str, float]) -> Drawing:
    """The test predictions of a model over its runs."""
    tests = [result["predictions"]["test"] for result in results if result["model"] == model]
    values = np.array([[test[segment] for segment in tests[0]] for test in tests])  # [runs, N]
    spread = values.std(axis=0, ddof=1) if len(values) > 1 else np.zeros(values.shape[1])
    return figures.predictions(np.array([labels[segment] for segment in tests[0]]), values.mean(axis=0), spread)


def _protocol(data: AlignedDataset, results: Sequence[Mapping[str, Any]], runs: Sequence[Path]) -> dict[str, str]:
    """What one has to know to do the same again, by what it is about."""
    read = [json.loads((run / "data.json").read_text()) for run in runs]
    videos = {split: {video for video, s in zip(data.videos, data.splits, strict=True) if s == split}
              for split in results[0]["segments"]}  # fmt: skip
    sizes = [f"{split} {n} segments of {len(videos[split])} videos" for split, n in results[0]["segments"].items()]
    shared = sum(map(len, videos.values())) - len(set().union(*videos.values()))
    return {
        "Data": _each(f"{one['tag']}, snapshot {one['snapshot']}, text features {one['text']}" for one in read),
        "Code": _each(f"{one['code']} (digest of the models' sources)" for one in read),
        "Splits": "; ".join([*sizes, f"{shared or 'no'} videos are in more than one"]) + ".",
        "Selection": "Of each run the weights with the lowest MAE on valid (their running average, where average_decay "
        "is not 0). Nothing is chosen by test; each run was tested once.",
        "Seeds": _each(str(result["seed"]) for result in results),
        "Spread": "± is the standard deviation over seeds, of a sample (n − 1).",
        "Environment": _each(
            "Python {python}, PyTorch {torch}, {device}, {machine}".format(**result["environment"])
            for result in results
        ),
    }


def _settings(runs: Sequence[Path]) -> dict[str, str]:
    """Every setting of a model and of its training, by model, as JSON."""
    records = [json.loads((run / "config.json").read_text()) for run in runs]
    return {record["model"]: json.dumps({**record["training"], **record["config"]}) for record in records}


def _each(values: Iterable[str]) -> str:
    """Different values once each."""
    return "; ".join(dict.fromkeys(values))
