"""Sequences come to one width and one time axis without hearing padding."""

import pytest
import torch

from dmd_model.projection import Projection, last_steps
from tests.dmd_model.baselines.banks import unpadded


@pytest.fixture
def projection(unaligned):
    torch.manual_seed(0)
    return Projection((6, 5, 4), d=8, kernels=(3, 1, 5), input_dropout=(0.0, 0.0, 0.0))


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
