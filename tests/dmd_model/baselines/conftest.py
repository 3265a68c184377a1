"""A batch whose modalities have unlike lengths."""

import pytest
import torch

from dmd_model.batch import Batch


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
