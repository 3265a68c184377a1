"""Dropout by the loop, and its gradient."""

import pytest
import torch

from dmd_model.dropout import dropout, relu_dropout


@pytest.mark.parametrize("p", [0.1, 0.5])
@pytest.mark.parametrize("form", [dropout, relu_dropout])
def test_it_keeps_its_share_and_the_expectation_and_its_gradient_goes_where_it_let_through(form, p):
    torch.manual_seed(0)
    x = torch.randn(300, 401).T.requires_grad_()  # not contiguous
    out, grad = form(x, p, True), torch.rand(401, 300) + 1
    out.backward(grad)
    passed = x.detach() if form is dropout else x.detach().relu()
    kept = out.detach() != 0
    torch.testing.assert_close(out.detach()[kept], passed[kept] / (1 - p))
    torch.testing.assert_close(x.grad, grad * kept / (1 - p))
    assert kept[passed != 0].float().mean() == pytest.approx(1 - p, abs=0.01)
    assert not torch.equal(form(x, p, True) != 0, kept), "another draw drops others"
    torch.manual_seed(0)
    assert torch.equal(form(torch.randn(300, 401).T, p, True), out), "the same seed drops the same"


def test_where_nothing_is_dropped_nothing_is_scaled():
    x = torch.randn(5, 7)
    assert dropout(x, 0.5, False) is x and dropout(x, 0.0, True) is x
    assert torch.equal(relu_dropout(x, 0.5, False), x.relu()) and torch.equal(relu_dropout(x, 0.0, True), x.relu())


def test_neighbours_are_dropped_independently():
    torch.manual_seed(0)
    kept = (dropout(torch.ones(200_000), 0.3, True) != 0).float()
    for distance in (1, 2, 7, 64, 4096):
        both = (kept[distance:] * kept[:-distance]).mean()
        assert both == pytest.approx(0.49, abs=0.01)
