"""One layer of one encoder on a CPU, forward and backward, as a single function that autograd knows.

It is what ``EncoderLayerBank`` computes for many streams at once. Here one stream's numbers stay in the processor's
cache from operation to operation, and there are few of those, which is what a CPU likes; a GPU likes the bank.

Shapes: B batch, T_q steps that ask, T_k steps that are heard, N_q and N_k those of all samples, E width, H heads.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dmd_model import kernels
from dmd_model.attention import hear, hear_backward
from dmd_model.dropout import LOWEST, dropped
from dmd_model.linear import gradients, linear


class Dropouts(NamedTuple):
    """Probabilities; all are zero in evaluation."""

    attention: float
    relu: float
    residual: float


class Weights(NamedTuple):
    """Of one encoder's layer, in the order of the parameters of ``EncoderLayerBank``."""

    attention_norm: Tensor  # [E], and so the biases of norms
    attention_norm_bias: Tensor
    qkv: Tensor  # [3E, E]
    qkv_bias: Tensor
    attention_out: Tensor  # [E, E]
    attention_out_bias: Tensor
    feedforward_norm: Tensor
    feedforward_norm_bias: Tensor
    expand: Tensor  # [4E, E]
    expand_bias: Tensor
    contract: Tensor  # [E, 4E]
    contract_bias: Tensor


def encoder_layer(
    x: Tensor, keys: Tensor | None, seen: Tensor, heads: int, dropouts: Dropouts, weights: Weights
) -> Tensor:
    """``x`` [B, T_q, E] through the layer; it attends to ``keys`` [B, T_k, E], normalised, or to itself.

    ``seen`` bool, [B or 1, T_q or 1, T_k]: which steps each step attends to.
    """
    return _EncoderLayer.apply(x, keys, seen, heads, dropouts, *weights)


class _EncoderLayer(torch.autograd.Function):
    """Steps of all samples are rows here, and arrays where a loop goes through them.

    Each call of PyTorch costs time, most where two threads make them: they wait for each other.
    """

    @staticmethod
    def forward(ctx, x: Tensor, keys: Tensor | None, seen: Tensor, heads: int, dropouts: Dropouts, *weights: Tensor):
        """As ``encoder_layer``; what is dropped follows from seeds, which are kept for the way back."""
        w, width, shape = Weights(*weights), x.shape[-1], x.shape
        seeds = [kernels.draw_seed() if p else 0 for p in dropouts]
        x, keys = x.reshape(-1, width), None if keys is None else keys.reshape(-1, width)  # [N_q, E], [N_k, E]
        query_weight, pair_weight = w.qkv.split((width, 2 * width))
        query_bias, pair_bias = w.qkv_bias.split((width, 2 * width))
        normed, mean, scale = _norm(x, w.attention_norm, w.attention_norm_bias)
        source = normed if keys is None else torch.addcmul(w.attention_norm_bias, keys, w.attention_norm)
        query = linear(normed, query_weight, query_bias)  # [N_q, E]
        pair = linear(source, pair_weight, pair_bias)  # [N_k, 2E], keys and values
        ctx.attention = _Attention(query, pair, shape[0], heads, seen, dropouts.attention, seeds[0])
        heard = ctx.attention.heard()  # [N_q, E]
        middle = x + _drop(linear(heard, w.attention_out, w.attention_out_bias), dropouts.residual, seeds[2])
        middle_normed, *middle_kept = _norm(middle, w.feedforward_norm, w.feedforward_norm_bias)
        hidden = linear(middle_normed, w.expand, w.expand_bias, relu=True)  # [N_q, 4E]
        hidden = _drop(hidden, dropouts.relu, seeds[1])
        out = linear(hidden, w.contract, w.contract_bias)
        ctx.dropouts, ctx.seeds, ctx.shape = dropouts, seeds, None if keys is None else (shape[0], -1, width)
        ctx.save_for_backward(
            x, keys, query_weight, pair_weight, *weights, normed, mean, scale, source, heard, middle, middle_normed,
            *middle_kept, hidden,
        )  # fmt: skip
        return (middle + _drop(out, dropouts.residual, seeds[2] + 1)).view(shape)

    @staticmethod
    def backward(ctx, grad: Tensor):
        """Gradients of ``x``, of ``keys`` where there are any, and of the weights."""
        x, keys, query_weight, pair_weight, *saved = ctx.saved_tensors
        w = Weights(*saved[:12])
        normed, mean, scale, source, heard, middle, middle_normed, middle_mean, middle_scale, hidden = saved[12:]
        _, relu, residual = ctx.dropouts
        shape, grad = grad.shape, grad.reshape(x.shape)

        of_out = _drop(grad, residual, ctx.seeds[2] + 1)
        of_hidden, of_contract, of_contract_bias = gradients(hidden, w.contract, of_out)
        of_hidden = torch.ops.aten.threshold_backward(of_hidden, hidden, 0)
        of_normed, of_expand, of_expand_bias = gradients(middle_normed, w.expand, of_hidden)
        if relu:
            for part in (of_normed, of_expand, of_expand_bias):
                part.mul_(1 / (1 - relu))
        of_middle, of_feedforward_norm, of_feedforward_norm_bias = _norm_backward(
            of_normed, middle, middle_mean, middle_scale, w.feedforward_norm, w.feedforward_norm_bias
        )
        of_middle += grad

        of_said = _drop(of_middle, residual, ctx.seeds[2])
        of_heard, of_attention_out, of_attention_out_bias = gradients(heard, w.attention_out, of_said)
        of_normed, of_q, of_q_bias = gradients(normed, query_weight, ctx.attention.backward(of_heard))
        of_source, of_kv, of_kv_bias = gradients(source, pair_weight, ctx.attention.of_pair)
        of_keys = None
        if keys is None:
            of_normed += of_source
        else:
            of_keys = (of_source * w.attention_norm).view(ctx.shape)
        of_x, of_norm, of_norm_bias = _norm_backward(of_normed, x, mean, scale, w.attention_norm, w.attention_norm_bias)
        if keys is not None:
            of_norm += (of_source * keys).sum(0)
            of_norm_bias += of_source.sum(0)
        of_weights = Weights(
            of_norm, of_norm_bias, torch.cat([of_q, of_kv]), torch.cat([of_q_bias, of_kv_bias]), of_attention_out,
            of_attention_out_bias, of_feedforward_norm, of_feedforward_norm_bias, of_expand, of_expand_bias,
            of_contract, of_contract_bias,
        )  # fmt: skip
        of_x += of_middle
        return of_x.view(shape), of_keys, None, None, None, *of_weights


class _Attention:
    """Attention of one stream, there and back: ``query`` [N_q, E] and ``pair``, keys and values [N_k, 2E]."""

    def __init__(self, query: Tensor, pair: Tensor, batch: int, heads: int, seen: Tensor, rate: float, seed: int):
        width = query.shape[1]
        self.pair = pair.numpy().reshape(1, batch, -1, 2 * width)
        self.streams = query.numpy().reshape(1, batch, -1, width), self.pair[..., :width], self.pair[..., width:]
        self.heads, self.rates, self.seed = heads, np.full(1, rate, np.float32), seed
        self.seen = seen.expand(batch, *seen.shape[1:]).numpy()[None]

    def heard(self) -> Tensor:
        """[N_q, E]"""
        self.kept = hear(*self.streams, self.heads, self.seen, self.rates, self.seed)
        return torch.from_numpy(self.kept[0].reshape(-1, self.pair.shape[-1] // 2))

    def backward(self, grad: Tensor) -> Tensor:
        """The gradient of ``query`` [N_q, E]; that of ``pair`` becomes ``of_pair`` [N_k, 2E]."""
        query, width = self.streams[0], grad.shape[1]
        of_query, of_pair = np.zeros(query.shape, np.float32), np.empty(self.pair.shape, np.float32)
        gradients = of_query, of_pair[..., :width], of_pair[..., width:]
        hear_backward(
            (*self.streams, *self.kept), grad.numpy().reshape(query.shape), gradients, self.seen, self.rates, self.seed
        )
        self.of_pair = torch.from_numpy(of_pair.reshape(-1, 2 * width))
        return torch.from_numpy(of_query.reshape(-1, width))


def _drop(x: Tensor, p: float, seed: int) -> Tensor:
    return dropped(x, LOWEST, p, seed) if p else x


def _norm(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The norm of ``x``, and what the way back needs."""
    return torch.native_layer_norm(x, x.shape[-1:], weight, bias, 1e-5)


def _norm_backward(
    grad: Tensor, x: Tensor, mean: Tensor, scale: Tensor, weight: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of what is normed, of the weight and of the bias."""
    return torch.ops.aten.native_layer_norm_backward(grad, x, x.shape[-1:], mean, scale, weight, bias, [True] * 3)
