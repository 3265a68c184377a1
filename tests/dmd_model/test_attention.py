"""Attention by the kernel is attention by the formula, and so are its gradients."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dmd_model.attention import attend, plain_attend


def differentiated(form, inputs, grad, *rest) -> list[torch.Tensor]:
    """What is heard, and the gradients of query, key and value."""
    heard = form(*inputs, *rest)
    return [heard, *torch.autograd.grad(heard, inputs, grad)]


@settings(max_examples=40, deadline=None)
@given(
    asking=st.integers(1, 70),
    steps=st.integers(1, 70),
    heads=st.integers(1, 3),
    each=st.booleans(),
    seed=st.integers(0),
)
def test_it_is_the_formula_and_so_are_its_gradients(asking, steps, heads, each, seed):
    """Any lengths, blocks of them that are full and that are not; a step may hear nothing, a sample neither."""
    random = torch.Generator().manual_seed(seed % 2**63)
    query, key, value, grad = (
        torch.randn(2, 3, length, 4 * heads, generator=random) for length in (asking, steps, steps, asking)
    )
    seen = torch.rand(2, 3, asking if each else 1, steps, generator=random) < 0.7
    seen[0, 0] = False
    inputs = [x.requires_grad_() for x in (query, key, value)]
    ours, expected = (differentiated(form, inputs, grad, heads, seen, None) for form in (attend, plain_attend))
    for found, right in zip(ours, expected, strict=True):
        torch.testing.assert_close(found, right, rtol=1e-4, atol=1e-5)


def test_extreme_scores_and_parts_of_larger_tensors_are_no_matter():
    """Scores of some thousands make weights of 0 and 1; key and value lie side by side in one tensor."""
    torch.manual_seed(0)
    query, both = 100 * torch.randn(1, 2, 9, 4), 100 * torch.randn(1, 2, 9, 8)
    inputs, seen = [query, *both.chunk(2, dim=-1)], torch.ones(1, 1, 1, 9, dtype=torch.bool)
    ours, expected = (form(*inputs, 1, seen, None) for form in (attend, plain_attend))
    torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("threads", [1, 2])
def test_what_is_dropped_is_dropped_in_the_gradients_too(threads):
    """With a value for each key that is 1 in a column of its own, what is heard are the weights that were kept."""
    steps, rates, before = 20, torch.tensor([0.3, 0.0]), torch.get_num_threads()
    random = torch.Generator().manual_seed(0)
    query, key = (torch.randn(2, 50, steps, steps, generator=random).requires_grad_() for _ in range(2))
    value = torch.eye(steps).expand(2, 50, steps, steps).clone().requires_grad_()
    grad = torch.randn(2, 50, steps, steps, generator=random)
    seen = torch.ones(1, 1, 1, steps, dtype=torch.bool)
    torch.set_num_threads(threads)
    try:
        torch.manual_seed(1)
        ours = differentiated(attend, (query, key, value), grad, 1, seen, rates)
    finally:
        torch.set_num_threads(before)
    kept = ours[0] != 0
    weights = (query @ key.mT / steps**0.5).softmax(dim=-1) * kept / (1 - rates[:, None, None, None])
    heard = weights @ value
    expected = [heard, *torch.autograd.grad(heard, (query, key, value), grad)]
    for found, right in zip(ours, expected, strict=True):
        torch.testing.assert_close(found, right, rtol=1e-4, atol=1e-5)
    assert kept.float().mean(dim=(1, 2, 3)).tolist() == pytest.approx([0.7, 1], abs=0.01)
    alike = (kept[0, 1:] == kept[0, :-1]).float().mean()
    assert alike == pytest.approx(0.7**2 + 0.3**2, abs=0.02), "samples drop the same weights"
    torch.manual_seed(1)
    again = attend(query, key, value, 1, seen, rates)
    assert torch.equal(again, ours[0]), "the same seed, whatever the number of threads"
    assert not torch.equal(attend(query, key, value, 1, seen, rates), again)
