"""What the scripts on models have in common: trainings that are done once, and tables of them."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import dmd_model
from dmd_model.batch import Samples
from dmd_model.metrics import evaluate
from storage.schema import fingerprint
from tasks.evaluate import METRICS, Row, model_rows, read_result
from tasks.files import digest
from tasks.train import Job, train_jobs

SEEDS = (1111, 1112, 1113, 1114, 1115)
HOME = Path(os.environ.get("DMD_HOME", ".dmd")) / "benchmarks"
SHOWN = ("mae", "corr", "acc7", "acc2_nonzero", "f1_nonzero", "acc2_haszero")


@dataclass(frozen=True)
class Variant:
    """A line of a table: a model with some settings changed, under a name of its own."""

    label: str
    model: str
    overrides: Mapping[str, object] = field(default_factory=dict)
    text_encoder: Path | None = None


def trained(
    name: str, variants: Iterable[Variant], samples: Mapping[str, Samples], seeds: Sequence[int] = SEEDS
) -> dict[str, list[dict]]:
    """label -> what each seed's training left; what was trained before by this code is not trained again."""
    code = digest(sorted(Path(dmd_model.__file__).parent.rglob("*.py")))
    jobs = {
        (variant.label, seed): Job(
            variant.model, seed, HOME / name / fingerprint({"code": code, "seed": seed, "variant": repr(variant)}),
            variant.overrides, variant.text_encoder,
        )
        for variant in variants
        for seed in seeds
    }  # fmt: skip
    if missing := [job for job in jobs.values() if not (job.folder / "result.json").exists()]:
        train_jobs(missing, samples, "auto")
    results: dict[str, list[dict]] = {}
    for (label, _), job in jobs.items():
        results.setdefault(label, []).append({**read_result(job.folder), "model": label})
    return results


def print_table(results: Mapping[str, Sequence[dict]], samples: Mapping[str, Samples], dataset: str = "") -> None:
    """Test metrics in Markdown, mean ± standard deviation over seeds, below the mean of the training labels."""
    truth = samples["test"].labels
    scores = evaluate(np.full(len(truth), samples["train"].labels.mean()), truth)
    rows = [Row("mean of training labels", 1, scores, dict.fromkeys(scores, 0.0))]
    for found in results.values():
        rows += model_rows(found, dataset)
    print("| model | " + " | ".join(METRICS[metric] for metric in SHOWN) + " | valid MAE | parameters | seconds |")
    print("|---" * (len(SHOWN) + 4) + "|")
    for row, found in zip(rows, ([], *results.values()), strict=True):
        valid = np.array([result["metrics"]["valid"]["mae"] for result in found])
        cells = [row.model, *(row.cell(metric) for metric in SHOWN), f"{valid.mean():.3f}" if len(valid) else "",
                 f"{row.parameters:,}" if row.parameters else "", f"{row.seconds:.0f}" if found else ""]  # fmt: skip
        print("| " + " | ".join(cells) + " |")


def standard_error(values: Sequence[float]) -> float:
    """Of a mean."""
    return float(np.std(values, ddof=1) / math.sqrt(len(values)))
