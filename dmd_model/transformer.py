"""Transformer encoders of one shape, run side by side as one bank.

The encoder is the pre-norm one of MulT (Tsai et al., ACL 2019) as the official DMD uses it. S encoders ("streams") of
one shape hold their weights stacked, [S, out, in], so that one batched product serves all of them.

Shapes: S streams, B batch, T steps, E width, H heads.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_CACHED_ELEMENTS = 400_000
"""Of a matrix that is worked on at a time: 1.6 MB of floats."""


def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """Dropout whose probability is rounded to the nearest 1/256, and scaled by what it was rounded to."""
    if not training or p == 0:
        return x
    threshold = _threshold(p)
    return x * _kept(x, threshold).mul_(256 / (256 - threshold))


def _kept(like: Tensor, threshold: int) -> Tensor:
    """Which elements a dropout of ``threshold`` out of 256 keeps, 1 or 0 as floats."""
    return torch.ge(_bytes(like.shape, like.device), threshold, out=torch.empty(like.shape, device=like.device))


def _bytes(shape: torch.Size, device: torch.device) -> Tensor:
    """Random bytes, uint8. Eight come from one 64-bit draw: several times faster on a CPU than a draw for each."""
    count = math.prod(shape)
    draws = torch.empty((count + 7) // 8, dtype=torch.int64, device=device).random_(-(2**63), None)
    return draws.view(torch.uint8)[:count].view(shape)


def drop_thresholds(probabilities: list[float]) -> Tensor:
    """One threshold out of 256 for each probability, as floats."""
    return torch.tensor([float(_threshold(p)) for p in probabilities])


def _threshold(p: float) -> int:
    return min(round(256 * p), 255)


class _Attention(torch.autograd.Function):
    """softmax(q^T k / sqrt(D) + bias), dropped out, times v: for S x B x H heads whose q, k, v are [S, B, H, D, T].

    Written out because heads are narrow (5 in DMD). A product whose result is D columns wide runs several times slower
    on a CPU than the same one with D rows, and autograd would choose the former. And the [T_q, T_k] matrices of all
    heads are large: they are worked on a few streams at a time, so that they stay in the cache, in buffers that are
    used again. What is kept of them for the backward pass are the weights, negative where they were dropped.
    """

    @staticmethod
    def forward(ctx, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, thresholds: Tensor | None) -> Tensor:
        """What each head hears, [S, B, H, D, T_q]; ``bias`` and ``thresholds`` broadcast to [S, B, H, T_q, T_k]."""
        q = q * q.shape[3] ** -0.5
        shape = torch.Size([*q.shape[:3], q.shape[4], k.shape[4]])  # [S, B, H, T_q, T_k]
        signed = q.new_empty(shape) if any(ctx.needs_input_grad) else None
        heard = torch.empty_like(q)  # [S, B, H, D, T_q]
        for part, weights, other in _parts(shape, q):
            torch.matmul(q[part].transpose(-1, -2), k[part], out=other)
            if bias is not None:
                other += bias[part]
            kept = dropped = torch.softmax(other, -1, out=weights if signed is None else signed[part])
            if thresholds is not None:
                torch.sub(_bytes(other.shape, other.device), thresholds[part] - 0.5, out=other)
                dropped = torch.clamp(kept.copysign_(other), min=0, out=weights)
            torch.matmul(v[part], dropped.transpose(-1, -2), out=heard[part])
        share = None if thresholds is None else 256 / (256 - thresholds)
        ctx.save_for_backward(q, k, v, signed, share)
        return heard if share is None else heard.mul_(share)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        """Gradients of q, k and v."""
        q, k, v, signed, share = ctx.saved_tensors
        grad = grad.contiguous() if share is None else grad * share  # [S, B, H, D, T_q]
        of_q, of_k, of_v = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        for part, weights, other in _parts(signed.shape, q):
            torch.clamp(signed[part], min=0, out=weights)
            torch.matmul(grad[part], weights, out=of_v[part])
            torch.matmul(grad[part].transpose(-1, -2), v[part], out=other)  # of the dropped weights
            if share is not None:
                other.mul_(torch.gt(signed[part], 0, out=weights))
            torch.abs(signed[part], out=weights)
            of_scores = torch.ops.aten._softmax_backward_data(other, weights, -1, weights.dtype)
            torch.matmul(k[part], of_scores.transpose(-1, -2), out=of_q[part])
            torch.matmul(q[part], of_scores, out=of_k[part])
        return of_q.mul_(q.shape[3] ** -0.5), of_k, of_v, None, None


def _parts(shape: torch.Size, like: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """A few streams of the shape [S, ...] at a time, with two buffers for them."""
    streams = min(shape[0], max(1, _CACHED_ELEMENTS // math.prod(shape[1:])))
    buffers = [like.new_empty(streams, *shape[1:]) for _ in range(2)]
    for first in range(0, shape[0], streams):
        count = min(streams, shape[0] - first)
        yield slice(first, first + count), *(buffer[:count] for buffer in buffers)


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

    def forward(self, x: Tensor, keys: Tensor, bias: Tensor, hears: Tensor, thresholds: Tensor | None) -> Tensor:
        """``x`` [S, B, T_q, E]; ``keys`` [S, B, T_k, E], normalised; ``bias`` broadcasts to [S, B, 1, T_q, T_k],
        ``hears`` to [S, B, T_q, 1]."""
        width = x.shape[-1]
        query = self._split(self.qkv(self.attention_norm(normalise(x)), slice(0, width)))  # [S, B, H, E/H, T_q]
        key, value = self.qkv(self.attention_norm(keys), slice(width, None)).chunk(2, dim=-1)
        heard = _Attention.apply(
            query, self._split(key), self._split(value), bias, thresholds if self.training else None
        )
        heard = heard.permute(0, 1, 4, 2, 3).flatten(3) * hears  # [S, B, T_q, E]
        x = x + dropout(self.attention_out(heard), self.residual_dropout, self.training)
        hidden = self.expand(self.feedforward_norm(normalise(x))).relu_()  # [S, B, T_q, 4E]
        hidden = self.contract(dropout(hidden, self.relu_dropout, self.training))
        return x + dropout(hidden, self.residual_dropout, self.training)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).permute(0, 1, 3, 4, 2).contiguous()  # [S, B, H, E/H, T]


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
        thresholds = drop_thresholds(attention_dropout)[:, None, None, None, None] if any(attention_dropout) else None
        self.register_buffer("thresholds", thresholds, persistent=False)

    def forward(self, x: Tensor, sources: Tensor | None, seen: Tensor, read: Tensor | None = None) -> Tensor:
        """Encode ``x`` [S, B, T, E] with ``sources`` [S - own, B, T, E].

        ``seen`` bool, [S, B or 1, T or 1, T]: which steps (last axis) each step attends to; one that attends to none
        hears nothing. With ``read`` [S, B], only that step is worked out in the last layer and returned: [S, B, E],
        else [S, B, T, E].
        """
        hears = seen.any(dim=-1, keepdim=True)  # [S, B or 1, T or 1, 1]
        bias = torch.zeros(seen.shape, device=x.device).masked_fill(~seen & hears, float("-inf"))[:, :, None]
        x = self._embed(x)
        source = None if sources is None else normalise(self._embed(sources))
        for number, layer in enumerate(self.layers):
            keys = normalise(x[: self.own])
            if source is not None:
                keys = torch.cat([keys, source])
            if read is not None and number == len(self.layers) - 1:
                x = at_step(x, read)  # [S, B, 1, E]
                if seen.shape[2] > 1:
                    at = read[:, :, None, None]
                    bias = bias.expand(*read.shape, *bias.shape[2:]).take_along_dim(at[..., None], dim=3)
                    hears = hears.expand(*read.shape, *hears.shape[2:]).take_along_dim(at, dim=2)
            x = layer(x, keys, bias, hears, self.thresholds)
        x = self.final_norm(normalise(x))
        return x if read is None else x.squeeze(2)

    def _embed(self, x: Tensor) -> Tensor:
        return dropout(x * math.sqrt(x.shape[-1]) + positions(x), self.embed_dropout, self.training)
