"""Small made-up samples whose label is partly in the words, partly in the face and partly in the voice."""

import numpy as np
import pytest
import torch

from dmd_model.batch import Samples, Sequences

WIDTHS = {"text": 6, "vision": 5, "audio": 4}


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _make_samples(count: int, seed: int = 0, prefix: str = "video", longest: int = 9) -> Samples:
    """``count`` segments of 2 to ``longest`` words, labels in [-3, 3]."""
    random = np.random.default_rng(seed)
    lengths = random.integers(2, longest + 1, count)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    labels = np.zeros(count)
    modalities = {}
    for name, width in WIDTHS.items():
        values = random.normal(size=(offsets[-1], width)).astype(np.float32)
        level = random.uniform(-1, 1, count)
        values[:, 0] += 3 * np.repeat(level, lengths)
        labels += level
        modalities[name] = Sequences(values, offsets)
    return Samples(tuple(f"{prefix}{i}" for i in range(count)), labels.astype(np.float32), **modalities)


@pytest.fixture(scope="session")
def make_samples():
    return _make_samples


@pytest.fixture
def small() -> dict[str, object]:
    """Overrides that make a model quick to train: its size is not what is tested."""
    return {"d": 8, "heads": 2, "layers": 1, "memory_layers": 1, "max_epochs": 4}


@pytest.fixture
def splits(make_samples) -> dict[str, Samples]:
    return {
        "train": make_samples(37, 1, "train"),
        "valid": make_samples(11, 2, "valid"),
        "test": make_samples(13, 3, "test"),
    }
