"""What the sample corpus shows: alignment against the true word times, and DMD beside a linear probe of each modality.

    python benchmarks/sample_corpus.py [--segments 240] [--seeds 1111 1112 1113] [--home .dmd/benchmarks/sample]

Runs the pipeline on the corpus (what is in `home` already is not made again). A probe is a ridge regression on the mean
of a modality's standardised columns over a segment's words; its penalty is chosen on valid, as DMD's weights are.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dmd_model.metrics import evaluate
from storage.feature_store import FeatureStore
from storage.schema import AlignedDataset
from tasks.align import forced_against_given
from tasks.evaluate import read_result
from tasks.extract import Step

PENALTIES = np.logspace(-1, 4, 21)
MODALITIES = {"text": ["glove"], "vision": ["vision"], "audio": ["audio"], "all three": ["glove", "vision", "audio"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--segments", type=int, default=240)
    parser.add_argument("--seeds", nargs="+", default=["1111", "1112", "1113"])
    parser.add_argument("--home", type=Path, default=Path(".dmd/benchmarks/sample"))
    options = parser.parse_args()
    command = [sys.executable, "-m", "flows", "run", "--home", str(options.home), "--segments", str(options.segments)]
    subprocess.run([*command, "--seeds", *options.seeds], check=True)
    folder = options.home / "sample"
    store = FeatureStore.open(str(folder / "store"), create=False)
    dataset = store.published().fingerprint
    show_alignment(store, dataset)
    show_models(store.aligned(dataset), newest_runs(folder / "models" / "dmd", options.seeds))


def show_alignment(store: FeatureStore, dataset: str) -> None:
    """Forced word boundaries beside the true ones of the corpus."""
    words = Step("words", store.recipe("aligned", dataset)["words"])
    errors = 1000 * forced_against_given(store, words)
    print(f"alignment: {len(errors)} boundaries, {100 * (errors <= 50).mean():.1f} % within 50 ms, "
          f"median {np.median(errors):.0f} ms, p90 {np.percentile(errors, 90):.0f} ms")  # fmt: skip


def show_models(data: AlignedDataset, runs: list[Path]) -> None:
    """Test metrics of the mean predictor, of each probe, and of DMD over its seeds."""
    splits = np.array(data.splits)
    truth = data.labels[splits == "test"]
    constant = np.full(len(truth), data.labels[splits == "train"].mean())
    print(f"\n{len(data.ids)} segments, {len(truth)} of them test\n{'':22} {'MAE':>6} {'Corr':>6} {'Acc-2':>6}")
    show("mean predictor", evaluate(constant, truth))
    for name, features in MODALITIES.items():
        show(f"linear probe, {name}", evaluate(probe(data, features, splits), truth))
    for run in runs:
        result = read_result(run)
        show(f"DMD, seed {result['seed']}", result["metrics"]["test"])


def show(name: str, metrics: dict[str, float]) -> None:
    print(f"{name:22} {metrics['mae']:6.3f} {metrics['corr']:6.3f} {100 * metrics['acc2_nonzero']:6.1f}")


def probe(data: AlignedDataset, features: list[str], splits: np.ndarray) -> np.ndarray:
    """Test predictions of the ridge regression whose penalty predicts valid best."""
    inputs = np.concatenate([segment_means(data, feature) for feature in features], axis=1)  # [N, D]
    train, valid, test = (splits == split for split in ("train", "valid", "test"))
    fitted = [
        make_pipeline(StandardScaler(), Ridge(penalty)).fit(inputs[train], data.labels[train]) for penalty in PENALTIES
    ]
    errors = [np.abs(model.predict(inputs[valid]) - data.labels[valid]).mean() for model in fitted]
    return fitted[int(np.argmin(errors))].predict(inputs[test])


def segment_means(data: AlignedDataset, feature: str) -> np.ndarray:
    """The mean of a feature over the measured words of each segment, [N, D]."""
    counts = np.add.reduceat(data.masks[feature].astype(float), data.offsets[:-1])
    return np.add.reduceat(data.features[feature], data.offsets[:-1], axis=0) / np.maximum(counts, 1)[:, None]


def newest_runs(folder: Path, seeds: list[str]) -> list[Path]:
    """The run of each seed that ended last: the folder may hold those of older code."""
    ended = sorted(folder.glob("*/result.json"), key=lambda path: path.stat().st_mtime)
    by_seed = {read_result(path.parent)["seed"]: path.parent for path in ended}
    return [by_seed[int(seed)] for seed in seeds]


if __name__ == "__main__":
    main()
