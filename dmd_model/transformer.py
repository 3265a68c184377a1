"""Transformer encoders of one shape, run side by side as one bank.

The encoder is the pre-norm one of MulT (Tsai et al., ACL 2019) as the official DMD uses it. S encoders ("streams") of
one shape hold their weights stacked, [S, out, in], so that one batched product serves all of them.

Shapes: S streams, B batch, T steps, E width, H heads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dmd_model import kernels, parallel
from dmd_model.attention import attend
from dmd_model.dropout import dropout, relu_dropout
from dmd_model.encoder_layer import Dropouts, Weights, encoder_layer


class StackedLinear(nn.Module):
    """S linear maps of one shape: [S, ..., in] -> [S, ..., out]. Xavier-uniform weights, zero biases."""

    def __init__(self, streams: int, inputs: int, outputs: int):
        super().__init__()
        bound = math.sqrt(6 / (inputs + outputs))
        self.weight = nn.Parameter(torch.empty(streams, outputs, inputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(streams, outputs))

    def forward(self, x: Tensor, rows: slice = slice(None)) -> Tensor:
        weight, bias = self.weight[:, rows], self.bias[:, rows]
        y = torch.baddbmm(bias.unsqueeze(1), x.flatten(1, -2), weight.transpose(1, 2))  # [S, N, out]
        return y.view(*x.shape[:-1], -1)


class StackedNorm(nn.Module):
    """The affine half of S layer norms: takes what is already normalised, [S, B, T, E]."""

    def __init__(self, streams: int, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(streams, width))
        self.bias = nn.Parameter(torch.zeros(streams, width))

    def forward(self, normalised: Tensor) -> Tensor:
        return torch.addcmul(self.bias[:, None, None], normalised, self.weight[:, None, None])


def at_step(x: Tensor, steps: Tensor) -> Tensor:
    """One step of each sequence of [S, B, T, E], that of ``steps`` [S, B]: [S, B, 1, E]."""
    return x.gather(2, steps[:, :, None, None].expand(*steps.shape, 1, x.shape[3]))


def pick(x: Tensor, order: Sequence[int]) -> Tensor:
    """The entries ``order`` of the first axis, which may repeat. An index would have to be copied to a GPU first."""
    entries = x.unbind(0)
    return torch.stack([entries[number] for number in order])


def normalise(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:])


def positions(x: Tensor) -> Tensor:
    """Sinusoidal positions from 1, zero wherever channel 0 of a step is exactly zero (so in padding): [..., T, E]."""
    steps, width = x.shape[-2:]
    half = width // 2
    rates = torch.exp(torch.arange(half, device=x.device) * (-math.log(10000) / (half - 1)))
    angles = torch.arange(1, steps + 1, device=x.device, dtype=x.dtype)[:, None] * rates  # [T, E/2]
    table = F.pad(torch.cat([angles.sin(), angles.cos()], dim=1), (0, width % 2))  # [T, E]
    return table * (x[..., :1] != 0)


class EncoderLayerBank(nn.Module):
    """One layer of S encoders: attention, then a feed-forward net of width 4E, each pre-normed and residual."""

    def __init__(self, streams: int, width: int, heads: int, relu_dropout: float, residual_dropout: float):
        super().__init__()
        self.heads, self.relu_dropout, self.residual_dropout = heads, relu_dropout, residual_dropout
        self.attention_norm = StackedNorm(streams, width)
        self.qkv = StackedLinear(streams, width, 3 * width)
        self.attention_out = StackedLinear(streams, width, width)
        self.feedforward_norm = StackedNorm(streams, width)
        self.expand = StackedLinear(streams, width, 4 * width)
        self.contract = StackedLinear(streams, 4 * width, width)

    def forward(self, x: Tensor, keys: Tensor, seen: Tensor, attention_dropout: Tensor | None) -> Tensor:
        """``x`` [S, B, T_q, E]; ``keys`` [S, B, T_k, E], normalised; ``seen`` and ``attention_dropout`` as in
        ``attend``."""
        width = x.shape[-1]
        query = self.qkv(self.attention_norm(normalise(x)), slice(0, width))
        key, value = self.qkv(self.attention_norm(keys), slice(width, None)).chunk(2, dim=-1)
        heard = attend(query, key, value, self.heads, seen, attention_dropout)  # [S, B, T_q, E]
        x = x + dropout(self.attention_out(heard), self.residual_dropout, self.training)
        hidden = self.expand(self.feedforward_norm(normalise(x)))  # [S, B, T_q, 4E]
        hidden = self.contract(relu_dropout(hidden, self.relu_dropout, self.training))
        return x + dropout(hidden, self.residual_dropout, self.training)


class EncoderBank(nn.Module):
    """S encoders of one shape. The first ``own`` attend to themselves, the others each to a source of its own.

    A source enters every layer as it was embedded, not as layers changed it. ``attention_dropout`` has one probability
    for each stream.
    """

    def __init__(self, streams: int, own: int, width: int, heads: int, layers: int, attention_dropout: list[float],
                 embed_dropout: float, relu_dropout: float, residual_dropout: float):  # fmt: skip
        super().__init__()
        self.own, self.embed_dropout = own, embed_dropout
        self.layers = nn.ModuleList(
            EncoderLayerBank(streams, width, heads, relu_dropout, residual_dropout) for _ in range(layers)
        )
        self.final_norm = StackedNorm(streams, width)
        self.attention_rates = attention_dropout
        rates = torch.tensor(attention_dropout) if any(attention_dropout) else None
        self.register_buffer("attention_dropout", rates, persistent=False)  # [S]

    def forward(self, x: Tensor, sources: Tensor | None, seen: Tensor, read: Tensor | None = None) -> Tensor:
        """Encode ``x`` [S, B, T, E] with ``sources`` [S - own, B, T, E].

        ``seen`` bool, [S, B or 1, T or 1, T]: which steps (last axis) each step attends to; one that attends to none
        hears nothing. With ``read`` [S, B], only that step is worked out in the last layer and returned: [S, B, E],
        else [S, B, T, E].
        """
        encode = self._one_by_one if kernels.serve(x) else self._all_at_once
        x = encode(x, sources, seen, read)
        return x if read is None else x.squeeze(2)

    def _all_at_once(self, x: Tensor, sources: Tensor | None, seen: Tensor, read: Tensor | None) -> Tensor:
        """All streams through the layers."""
        x = self._embed(x)
        source = None if sources is None else normalise(self._embed(sources))
        for number, layer in enumerate(self.layers):
            keys = normalise(x[: self.own])
            if source is not None:
                keys = torch.cat([keys, source])
            if read is not None and number == len(self.layers) - 1:
                x = at_step(x, read)  # [S, B, 1, E]
                if seen.shape[2] > 1:
                    seen = seen.expand(*read.shape, *seen.shape[2:]).take_along_dim(read[:, :, None, None], dim=2)
            x = layer(x, keys, seen, self.attention_dropout if self.training else None)
        return self.final_norm(normalise(x))

    def _one_by_one(self, x: Tensor, sources: Tensor | None, seen: Tensor, read: Tensor | None) -> Tensor:
        """Each stream through its layers, side by side on the threads of ``parallel``."""
        seen = seen.expand(len(x), *seen.shape[1:])
        heard = [None] * self.own + ([] if sources is None else list(sources))
        steps = [None] * len(x) if read is None else read
        arguments = [
            (*tensors, *weights) for *tensors, weights in zip(x, heard, seen, steps, self.weights(), strict=True)
        ]
        return torch.stack(parallel.calls([partial(self.encode, stream) for stream in range(len(x))], arguments))

    def weights(self) -> list[tuple[Tensor, ...]]:
        """Of each stream, as ``encode`` takes them."""
        parameters = [*self.final_norm.parameters(), *self.layers.parameters()]
        return list(zip(*(parameter.unbind() for parameter in parameters), strict=True))

    def encode(
        self, stream: int, x: Tensor, source: Tensor | None, seen: Tensor, read: Tensor | None, *weights: Tensor
    ) -> Tensor:
        """One stream, [B, T, E], as ``forward`` does all: [B, T, E], or [B, 1, E] where ``read`` [B] is given."""
        final_norm, each = weights[:2], len(Weights._fields)
        x = self._embed(x)
        heard = None if source is None else normalise(self._embed(source))
        for number, layer in enumerate(self.layers):
            keys, dropouts = heard, Dropouts(0.0, 0.0, 0.0)
            if self.training:
                dropouts = Dropouts(self.attention_rates[stream], layer.relu_dropout, layer.residual_dropout)
            if read is not None and number == len(self.layers) - 1:
                keys = normalise(x) if heard is None else heard
                at = read[:, None, None]  # [B, 1, 1]
                x = x.take_along_dim(at, dim=1)  # [B, 1, E]
                if seen.shape[1] > 1:
                    seen = seen.expand(len(x), *seen.shape[1:]).take_along_dim(at, dim=1)
            x = encoder_layer(x, keys, seen, layer.heads, dropouts, Weights(*weights[2 + each * number :][:each]))
        return F.layer_norm(x, x.shape[-1:], *final_norm)

    def _embed(self, x: Tensor) -> Tensor:
        return dropout(x * math.sqrt(x.shape[-1]) + positions(x), self.embed_dropout, self.training)
