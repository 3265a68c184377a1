"""What a training has to itself while it is on its turn."""

import pytest
import torch

from dmd_model.lane import Answer, Lane


def test_on_its_turn_a_training_has_random_numbers_of_its_own_and_a_deterministic_cudnn():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    lane = Lane(torch.device("cpu"), cpu_threads=1)
    with lane.turn():
        torch.manual_seed(5)
        first = torch.rand(3)
        assert torch.backends.cudnn.enabled and torch.backends.cudnn.deterministic
    assert torch.equal(torch.get_rng_state(), before)
    with lane.turn():
        assert not torch.equal(torch.rand(3), first)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(3), first)


@pytest.mark.parametrize("truth", [True, False])
def test_an_answer_is_what_was_asked(truth):
    assert bool(Answer(torch.tensor(truth))) is truth
