"""What tests of models made of banks of streams have in common."""

import copy

import torch
from torch import nn


def encoder_parameters(width: int, layers: int) -> int:
    """Weights of one pre-norm encoder of MulT: layers of attention and feed-forward net, then a norm."""
    norm = 2 * width
    attention = 4 * (width * width + width)  # query, key, value, out
    feedforward = (width * 4 * width + 4 * width) + (4 * width * width + width)
    return layers * (norm + attention + norm + feedforward) + norm


def stream(bank: nn.Module, number: int) -> nn.Module:
    """A bank of one stream with the weights of one stream of ``bank``."""
    alone = copy.deepcopy(bank)
    for parameter in alone.parameters():
        parameter.data = parameter.data[number : number + 1]
    return alone


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def randomise(model: nn.Module) -> nn.Module:
    """Random weights everywhere, so that no bias or norm hides what it does; in eval mode."""
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    return model.eval()


def unpadded(batch, model: nn.Module, sample: int) -> list[torch.Tensor]:
    """The projected sequences of one sample, each [1, 1, T_m, d] of its own length."""
    parts = zip(model.projection.convolutions, batch.sequences, batch.lengths[:, sample], strict=True)
    return [
        convolution(x[sample : sample + 1, :length].transpose(1, 2)).transpose(1, 2)[None]
        for convolution, x, length in parts
    ]
