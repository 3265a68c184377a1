"""Training: every model and seed on a published data set, each in a folder of its own.

PyTorch takes seconds to import, so that is done where there is something to train.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from prefect import task
from prefect.cache_policies import NO_CACHE

import dmd_model
from storage.feature_store import FeatureStore, Published
from storage.schema import AlignedDataset, fingerprint
from tasks.files import digest, write_text
from tasks.labels import SPLITS
from tasks.progress import Progress

if TYPE_CHECKING:
    from dmd_model.batch import Samples

log = logging.getLogger(__name__)


@task(cache_policy=NO_CACHE)
def train(
    store: FeatureStore,
    published: Published,
    models: Sequence[str],
    seeds: Sequence[int],
    text: str,
    device: str,
    folder: Path,
) -> list[Path]:
    """Train what was not trained yet on this data by this code; return the folder of every model and seed.

    Each folder has ``data.json``, which names the snapshot that was read. A data set without labels trains nothing, by
    rule, and says so.
    """
    data = store.aligned(published.fingerprint, at=published.snapshot)
    if not np.isfinite(data.labels).any():
        log.warning("no training: the data set has no labels")
        return []
    code = digest(sorted(Path(dmd_model.__file__).parent.rglob("*.py")))  # other code makes other models
    runs = {
        (model, seed): folder
        / model
        / fingerprint({"model": model, "seed": seed, "data": published.fingerprint, "text": text, "code": code})
        for model in models
        for seed in seeds
    }
    missing = {run: path for run, path in runs.items() if not (path / "result.json").exists()}
    log.info("%d of %d trainings were done before on this data by this code", len(runs) - len(missing), len(runs))
    if missing:
        samples = {split: split_samples(data, split, text) for split in SPLITS}
        for (model, seed), path in missing.items():
            write_text(path / "data.json", json.dumps({**asdict(published), "text": text}))
            train_one(model, samples, seed, device, path)
    return list(runs.values())


def train_one(model: str, samples: Mapping[str, Samples], seed: int, device: str, folder: Path) -> None:
    """Train one model with one seed behind a bar of its epochs; it often ends early, when valid stops improving."""
    from dmd_model.fit import fit
    from dmd_model.registry import configure

    _, training = configure(model)
    with Progress(f"train {model}, seed {seed}", total=training.max_epochs, unit="epoch") as progress:
        fit(
            model,
            samples,
            seed=seed,
            folder=folder,
            device=device,
            on_epoch=lambda epoch: progress.advance(f"valid MAE {epoch['valid_mae']:.3f}"),
        )


def split_samples(data: AlignedDataset, split: str, text: str) -> Samples:
    """The labelled segments of one split, with ``text`` (glove or bert) as their text features."""
    from dmd_model.batch import Samples, Sequences

    chosen = np.flatnonzero((np.array(data.splits) == split) & np.isfinite(data.labels))
    lengths = np.diff(data.offsets)[chosen]
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    rows = np.arange(offsets[-1]) + np.repeat(data.offsets[chosen] - offsets[:-1], lengths)

    def sequences(feature: str) -> Sequences:
        return Sequences(data.features[feature][rows], offsets, data.masks[feature][rows], data.columns[feature])

    ids = tuple(data.ids[place] for place in chosen)
    return Samples(ids, data.labels[chosen], sequences(text), sequences("vision"), sequences("audio"))
