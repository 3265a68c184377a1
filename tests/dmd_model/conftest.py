"""Models are tested on made-up samples, on one thread."""

import pytest
import torch

from dmd_model.batch import Samples
from tests.dmd_model.made_up import make_samples


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session", name="make_samples")
def _make_samples():
    return make_samples


@pytest.fixture
def small() -> dict[str, object]:
    """Overrides that make a model quick to train: its size is not what is tested."""
    return {"d": 8, "heads": 2, "layers": 1, "memory_layers": 1, "batch_size": 8, "max_epochs": 4}


@pytest.fixture
def splits(make_samples) -> dict[str, Samples]:
    return {
        "train": make_samples(37, 1, "train"),
        "valid": make_samples(11, 2, "valid"),
        "test": make_samples(13, 3, "test"),
    }
