"""Sequences come to one width and one time axis without hearing padding."""

import pytest
import torch

from dmd_model.baselines.projection import Projection, ProjectionConfig, last_steps
from tests.dmd_model.baselines.banks import unpadded


@pytest.fixture
def projection(unaligned):
    torch.manual_seed(0)
    return Projection(ProjectionConfig(d=8, heads=2, kernels=(3, 1, 5)), (6, 5, 4))


def test_it_is_the_convolution_of_each_sequence_alone(projection, unaligned):
    projected, present = projection(unaligned.sequences, unaligned.lengths)
    assert projected.shape == (3, 3, 7, 8)
    assert torch.equal(present.sum(dim=2), unaligned.lengths)
    holder = torch.nn.Module()
    holder.projection = projection
    for sample in range(3):
        for m, alone in enumerate(unpadded(unaligned, holder, sample)):
            torch.testing.assert_close(projected[m, sample, : unaligned.lengths[m, sample]], alone[0, 0])
    assert not projected[~present].any()


def test_last_steps_are_those_before_padding(unaligned):
    present = torch.arange(7) < torch.tensor([[4, 0], [7, 1]])[..., None]
    assert last_steps(present).tolist() == [[3, 0], [6, 0]]


def test_sizes_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="d = 10 is not a multiple of heads = 4"):
        ProjectionConfig(d=10, heads=4)
    with pytest.raises(ValueError, match=r"kernels = \(3, 2, 1\).*odd"):
        ProjectionConfig(kernels=(3, 2, 1))
