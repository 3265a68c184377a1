"""Calls on several threads give what they give one after the other."""

import pytest
import torch

from dmd_model import parallel
from dmd_model.dropout import dropout


def called(threads: int, count: int = 5) -> list[torch.Tensor]:
    """Results and gradients of calls that share one tensor, have one of their own and none, and drop at random."""
    torch.manual_seed(0)
    shared, own = torch.randn(6, 40).requires_grad_(), [torch.randn(6, 40).requires_grad_() for _ in range(count)]

    def function(x, missing, y, which):
        assert missing is None and not which.requires_grad
        return dropout((x * y).tanh(), 0.3, True)[which]

    arguments = [(x, None, shared, torch.arange(1 + number)) for number, x in enumerate(own)]
    with parallel.threads(threads):
        results = parallel.calls([function] * count, arguments)
    sum(result.square().sum() for result in results).backward()
    return [*(result.detach() for result in results), shared.grad, *(x.grad for x in own)]


def test_threads_change_no_result_no_gradient_and_nothing_random():
    """To the bit; but gradients of a tensor that calls share may be summed in another order."""
    alone = called(1)
    for threads in (2, 3):
        found = called(threads)
        torch.testing.assert_close(found.pop(5), alone[5])
        assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, [*alone[:5], *alone[6:]], strict=True))
    assert 0.2 < (alone[4] == 0).float().mean() < 0.4


def test_calls_have_random_numbers_of_their_own():
    with parallel.threads(2):
        torch.manual_seed(0)
        first, second = parallel.calls([lambda x: dropout(x, 0.5, True)] * 2, [(torch.ones(100),)] * 2)
    assert not torch.equal(first, second)


def test_in_inference_there_is_no_graph():
    x = torch.randn(3, requires_grad=True)
    with parallel.threads(2), torch.inference_mode():
        results = parallel.calls([torch.exp] * 3, [(x,)] * 3)
    assert all(torch.equal(result, x.exp()) and not result.requires_grad for result in results)


def test_what_a_call_raises_is_raised_and_the_threads_are_as_before():
    before = torch.get_num_threads()

    def fails(x):
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"), parallel.threads(2):
        assert torch.get_num_threads() == 1
        parallel.calls([torch.exp, fails], [(torch.ones(1),)] * 2)
    assert torch.get_num_threads() == before
