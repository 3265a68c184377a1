"""Which choice of DMD's default buys what: one at a time is taken back, on two data sets; and the paper's ablations.

``python -m benchmarks.choices SAMPLE_STORE dev_aligned_50.npz``: the sample corpus as published in a store, with three
seeds, and CMU-MOSI's valid split in five folds by video, with one seed each. Differences are paired by seed and fold.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks.experiments import SEEDS, Variant, standard_error, trained
from benchmarks.mosi_folds import folds
from dmd_model.batch import Samples
from dmd_model.splits import SPLITS
from storage.feature_store import FeatureStore
from tasks.train import split_samples

CHOICES = {
    "the default": {},
    "the last valid step sums up an encoder": {"summary": "last"},
    "padding takes part, the last step is read": {"mask_padding": False, "summary": "last"},
    "… and homogeneous sequences are flattened": {
        "mask_padding": False, "summary": "last", "time_reduction": "flatten",
    },
    "two layers": {"layers": 2, "memory_layers": 2},
    "less dropout": {"input_dropout": [0.2, 0.4, 0.4], "output_dropout": 0.2, "residual_dropout": 0.1},
    "future steps are masked": {"causal": True},
    "temporal convolutions of width 3": {"kernels": [3, 3, 3]},
    "a sigmoid replaces the features in the fusion": {"fusion": "sigmoid"},
    "no auxiliary heads": {"auxiliary_weight": 0.0},
    "orthogonality over the batch, hinge": {"ort_axis": "batch", "ort_form": "hinge"},
    "triplets of the official code": {"triplet": "official"},
    "hand-set prior of the edges, one softmax": {
        "edge_prior": "hand_set", "edge_regularisation": 10.0, "edge_softmax": "joint",
    },
    "heterogeneous representations repel, homogeneous ones are let be": {
        "hetero_representation": "repel", "hetero_representation_weight": 10.0, "homo_representation_weight": 0.0,
    },
    "no average of the weights": {"average_decay": 0.0},
    "four batches a step, summed, the last group thrown away": {
        "accumulate": 4, "mean_over_group": False, "step_leftover_group": False,
    },
    "columns not standardised": {"standardise": False},
    "without FD": {"feature_decoupling": False},
    "without HomoGD": {"homo_distillation": False},
    "without CA": {"crossmodal_attention": False},
    "without HeteroGD": {"hetero_distillation": False},
}  # fmt: skip


def main() -> None:
    store, file = sys.argv[1:3]
    found = [errors("choices/sample", sample_corpus(store), SEEDS[:3])]
    by_fold = [errors(f"choices/mosi-{number}", samples, SEEDS[:1]) for number, samples in enumerate(folds(Path(file)))]
    found.append({label: np.concatenate([fold[label] for fold in by_fold]) for label in CHOICES})
    print("| | sample: valid | difference | test | difference | MOSI folds: valid | difference | test | difference |")
    print("|---" * 9 + "|")
    for label in CHOICES:
        cells = [label]
        for data in found:
            for column in (0, 1):
                values, differences = data[label][:, column], data[label][:, column] - data["the default"][:, column]
                error = f"{differences.mean():+.3f} ± {standard_error(differences):.3f}" if differences.any() else ""
                cells += [f"{values.mean():.3f}", error]
        print("| " + " | ".join(cells) + " |")


def errors(name: str, samples: Mapping[str, Samples], seeds: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Choice -> MAE on valid and test of every seed, [seeds, 2]."""
    variants = [Variant(label, "dmd", settings) for label, settings in CHOICES.items()]
    results = trained(name, variants, samples, seeds)
    return {
        label: np.array([[run["metrics"][split]["mae"] for split in ("valid", "test")] for run in runs])
        for label, runs in results.items()
    }


def sample_corpus(store_url: str) -> dict[str, Samples]:
    """The splits of the data set that a store published last."""
    store = FeatureStore.open(store_url, create=False)
    published = store.published()
    data = store.aligned(published.fingerprint, at=published.snapshot)
    return {split: split_samples(data, split, "glove") for split in SPLITS}


if __name__ == "__main__":
    main()
