"""Models are tested on made-up samples, on one thread."""

from pathlib import Path

import pytest
import torch

from dmd_model.batch import Batch, Samples
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


@pytest.fixture(scope="session")
def small_bert(tmp_path_factory) -> Path:
    """A small BERT, as it lies on disk."""
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=50,
        hidden_size=12,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=32,
    )
    path = tmp_path_factory.mktemp("encoder")
    BertModel(config).save_pretrained(path)
    return path


@pytest.fixture
def unaligned() -> Batch:
    """Three samples of 2 to 7 steps; text 6, vision 5 and audio 4 columns, zero in padding."""
    torch.manual_seed(1)
    lengths = torch.tensor([[4, 2, 5], [7, 3, 4], [3, 6, 2]])
    sequences = [
        torch.randn(3, 7, width) * (torch.arange(7) < row[:, None])[..., None]
        for width, row in zip((6, 5, 4), lengths, strict=True)
    ]
    return Batch(("a", "b", "c"), *sequences, lengths, torch.tensor([1.0, -2.0, 0.5]))
