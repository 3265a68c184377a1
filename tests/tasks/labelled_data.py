"""A small labelled data set in a store, published, with the label in its words: for what comes after the gate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from storage.feature_store import FeatureStore, Published
from storage.schema import AlignedDataset

WIDTHS = {"glove": 5, "bert": 7, "vision": 4, "audio": 3}
SPLITS = {"train": 12, "valid": 4, "test": 5}


def labelled_data(seed: int = 0) -> AlignedDataset:
    """21 segments of 1 to 5 words; every seventh has no label. All values differ, so that a wrong row shows."""
    random = np.random.default_rng(seed)
    splits = tuple(np.random.default_rng(1).permutation([split for split, n in SPLITS.items() for _ in range(n)]))
    count = len(splits)
    offsets = np.concatenate([[0], np.cumsum(random.integers(1, 6, count))])
    words = int(offsets[-1])
    labels = np.round(random.uniform(-3, 3, count), 1).astype(np.float32)
    labels[::7] = np.nan
    return AlignedDataset(
        ids=tuple(f"{split}{row // 2}$_${row}" for row, split in enumerate(splits)),
        videos=tuple(f"{split}{row // 2}" for row, split in enumerate(splits)),
        labels=labels,
        splits=tuple(map(str, splits)),
        offsets=offsets.astype(np.int64),
        words=tuple(f"w{row}" for row in range(words)),
        starts=np.arange(words) * 0.25,
        ends=np.arange(words) * 0.25 + 0.25,
        features={name: random.normal(size=(words, width)).astype(np.float32) for name, width in WIDTHS.items()},
        masks={name: random.random(words) < 0.9 for name in WIDTHS},
        columns={name: tuple(f"{name}_{column}" for column in range(width)) for name, width in WIDTHS.items()},
    )


def unaligned_data(seed: int = 0) -> AlignedDataset:
    """The same with audio of 0 to 8 frames a segment instead."""
    data, random = labelled_data(seed), np.random.default_rng(seed)
    counts = random.integers(0, 9, len(data.ids))
    frames = int(counts.sum())
    return replace(
        data,
        features={**data.features, "audio": random.normal(size=(frames, WIDTHS["audio"])).astype(np.float32)},
        masks={**data.masks, "audio": random.random(frames) < 0.9},
        frame_offsets={"audio": np.cumsum([0, *counts])},
        frame_times={"audio": np.concatenate([np.arange(count) / 100 for count in counts])},
    )


def publish(folder: Path, data: AlignedDataset) -> tuple[FeatureStore, Published]:
    store = FeatureStore.open(str(folder / "store"))
    return store, store.publish(store.write_aligned({"made": "by hand"}, data))
