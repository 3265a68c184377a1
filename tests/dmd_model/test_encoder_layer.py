"""A stream's layer as one function is the layer of the bank, its gradients too, and it drops as it says."""

import pytest
import torch

from dmd_model import kernels
from dmd_model.encoder_layer import Dropouts, Weights, encoder_layer
from dmd_model.transformer import EncoderBank, EncoderLayerBank, normalise

NONE = Dropouts(0.0, 0.0, 0.0)


def made(own: bool, steps: int = 9, sources: int = 6) -> tuple[EncoderLayerBank, torch.Tensor, torch.Tensor | None]:
    """A layer of one stream with norms that do something, its steps and its keys."""
    torch.manual_seed(0)
    layer = EncoderLayerBank(1, 8, 2, 0.0, 0.0)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    keys = None if own else normalise(torch.randn(3, sources, 8)).requires_grad_()
    return layer, torch.randn(3, steps, 8, requires_grad=True), keys


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("each", [True, False])
def test_it_is_the_layer_of_the_bank_and_so_are_its_gradients(own, each):
    layer, x, keys = made(own)
    seen = torch.rand(3, 9 if each else 1, 9 if own else 6) < 0.7
    seen[0] = False  # one sample hears nothing
    inputs = [tensor for tensor in (x, keys, *layer.parameters()) if tensor is not None]
    ours = encoder_layer(x, keys, seen, 2, NONE, Weights(*(parameter[0] for parameter in layer.parameters())))
    theirs = layer(x[None], (normalise(x) if own else keys)[None], seen[None], None)[0]
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    grad = torch.randn_like(ours)
    for found, expected in zip(
        torch.autograd.grad(ours, inputs, grad), torch.autograd.grad(theirs, inputs, grad), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize(
    "dropouts", [Dropouts(0.4, 0, 0), Dropouts(0, 0.4, 0), Dropouts(0, 0, 0.4), Dropouts(0.2, 0.2, 0.2)]
)
def test_gradients_are_those_of_what_was_kept(own, dropouts):
    """Along a direction in all that has a gradient, the loss changes as the gradients say, the same being dropped."""
    layer, x, keys = made(own)
    inputs = [x, keys, *(parameter.detach()[0].requires_grad_() for parameter in layer.parameters())]
    there = [tensor for tensor in inputs if tensor is not None]
    seen, weigh = torch.ones(1, 1, 9 if own else 6, dtype=torch.bool), torch.randn(3, 9, 8)

    def loss(step: float, ways: list[torch.Tensor]) -> torch.Tensor:
        moved = iter([tensor + step * way for tensor, way in zip(there, ways, strict=True)])
        x, keys, *weights = (None if tensor is None else next(moved) for tensor in inputs)
        with kernels.seeded(7):
            return (encoder_layer(x, keys, seen, 2, dropouts, Weights(*weights)) * weigh).sum()

    still = [torch.zeros_like(tensor) for tensor in there]
    gradients = torch.autograd.grad(loss(0, still), there)
    assert loss(0, still) != loss_without(inputs, seen, weigh), "something is dropped"
    for number, gradient in enumerate(gradients):
        ways = list(still)
        ways[number] = gradient / gradient.norm()
        change = (loss(1e-3, ways) - loss(-1e-3, ways)).item() / 2e-3
        assert change == pytest.approx(gradient.norm().item(), rel=2e-2), f"input {number}"


def loss_without(inputs, seen, weigh) -> torch.Tensor:
    x, keys, *weights = inputs
    return (encoder_layer(x, keys, seen, 2, NONE, Weights(*weights)) * weigh).sum()


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("reads", [True, False])
def test_streams_one_by_one_are_the_streams_all_at_once(causal, reads):
    """With sources and without, several layers, and where one step is read."""
    torch.manual_seed(0)
    bank = EncoderBank(5, 2, 8, 2, 2, [0.1] * 5, 0.1, 0.1, 0.1).eval()
    x, sources, read = torch.randn(5, 3, 7, 8), torch.randn(3, 3, 7, 8), torch.randint(0, 7, (5, 3))
    seen = torch.rand(5, 3, 1, 7) < 0.8
    if causal:
        seen = seen & torch.ones(7, 7, dtype=torch.bool).tril()
    read = read if reads else None
    ours, theirs = (encode(x, sources, seen, read) for encode in (bank._one_by_one, bank._all_at_once))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
