"""oneDNN's product is PyTorch's, and so are the gradients."""

import pytest
import torch
import torch.nn.functional as F

from dmd_model.linear import gradients, linear


@pytest.mark.parametrize("inputs, outputs", [(7, 20), (20, 7), (5, 5)])
def test_it_is_pytorchs_linear_map(inputs, outputs):
    torch.manual_seed(0)
    x, weight, bias = (
        part.requires_grad_() for part in (torch.randn(18, inputs), torch.randn(outputs, inputs), torch.randn(outputs))
    )
    grad, expected = torch.randn(18, outputs), F.linear(x, weight, bias)
    with torch.no_grad():
        torch.testing.assert_close(linear(x, weight, bias), expected)
        torch.testing.assert_close(linear(x, weight), expected - bias)
        torch.testing.assert_close(linear(x, weight, bias, relu=True), expected.relu())
        found = gradients(x, weight, grad)
    for ours, theirs in zip(found, torch.autograd.grad(expected, (x, weight, bias), grad), strict=True):
        torch.testing.assert_close(ours, theirs)
