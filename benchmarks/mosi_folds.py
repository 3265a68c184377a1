"""CMU-MOSI in three modalities, on the ten videos of its valid split: five folds by video, each modality and all three.

``python -m benchmarks.mosi_folds dev_aligned_50.npz``. In each fold two videos test, two validate and six train, with
five seeds. Errors and differences are of the means of folds, for seeds of a fold are no new videos.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.experiments import SEEDS, Variant, standard_error, trained
from dmd_model.batch import Samples, Sequences
from dmd_model.config import MODALITIES
from dmd_model.metrics import evaluate
from dmd_model.splits import SPLITS
from storage.interchange.npz import read_npz
from tasks.train import split_samples

SETS = {"text": ("text",), "vision": ("vision",), "audio": ("audio",), "all three": MODALITIES}
METRICS = ("mae", "corr", "acc2_nonzero")


def main() -> None:
    scores = {name: [] for name in (*SETS, "mean of training labels")}  # of each fold, METRICS
    for fold, whole in enumerate(folds(Path(sys.argv[1]))):
        for name, modalities in SETS.items():
            samples = {split: only(part, modalities) for split, part in whole.items()}
            results = trained(f"mosi-folds/{fold}/{name}", [Variant("dmd", "dmd")], samples, SEEDS)["dmd"]
            found = np.array([[result["metrics"]["test"][metric] for metric in METRICS] for result in results])
            scores[name].append(found.mean(axis=0))
        truth = whole["test"].labels
        mean = evaluate(np.full(len(truth), whole["train"].labels.mean()), truth)
        scores["mean of training labels"].append([mean[metric] for metric in METRICS])
    print("| DMD on | MAE | MAE, less that of text | folds with less | Corr | Acc-2 (neg/pos) |")
    print("|---" * 6 + "|")
    text = np.array(scores["text"])[:, 0]
    for name, found in scores.items():
        mae, corr, acc2 = np.array(found, float).T
        difference = mae - text
        beside = f"{difference.mean():+.3f} ± {standard_error(difference):.3f} | {(difference < 0).sum()} of {len(mae)}"
        print(f"| {name} | {mae.mean():.3f} ± {standard_error(mae):.3f} | {beside if difference.any() else ' | '} "
              f"| {corr.mean():.3f} | {100 * acc2.mean():.1f} |")  # fmt: skip


def folds(file: Path) -> Iterator[dict[str, Samples]]:
    """Five times the three splits, each video once in test."""
    data = read_npz(file)
    videos = sorted(set(data.videos))
    for fold in range(5):
        tested, validated = videos[2 * fold : 2 * fold + 2], [videos[(2 * fold + place) % 10] for place in (2, 3)]
        splits = tuple(
            "test" if video in tested else "valid" if video in validated else "train" for video in data.videos
        )
        yield {split: split_samples(replace(data, splits=splits), split, "glove") for split in SPLITS}


def only(samples: Samples, modalities: tuple[str, ...]) -> Samples:
    """The same segments, with the other modalities absent."""
    return replace(samples, **{name: Sequences.absent(len(samples)) for name in MODALITIES if name not in modalities})


if __name__ == "__main__":
    main()
