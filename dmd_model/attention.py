"""Multi-head attention with dropout, for the narrow heads of the field (5 columns in DMD).

With heads this narrow the [T_q, T_k] matrices of the weights are ten times the size of all else, and writing and
reading them is what attention costs on a CPU. There, one kernel keeps a block of them in the cache, and the backward
pass works them out again, dropout included (as FlashAttention does: Dao et al., NeurIPS 2022). Elsewhere, and for other
numbers than float32, the plain formula is computed.

Shapes: S streams, B batch, T_q steps that ask, T_k steps that are heard, E width, H heads of D = E / H columns.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dmd_model import kernels
from dmd_model.dropout import uniform_like


def attend(query: Tensor, key: Tensor, value: Tensor, heads: int, seen: Tensor, dropout: Tensor | None) -> Tensor:
    """What each step hears, [S, B, T_q, E], of ``key`` and ``value`` [S, B, T_k, E]; ``query`` is [S, B, T_q, E].

    ``seen`` bool, broadcast to [S, B, T_q, T_k]: which steps are heard; a step that hears none gets zeros. ``dropout``:
    the probability [S] at which each stream drops a weight.
    """
    if kernels.serve(query):
        return _Fused.apply(query, key, value, heads, seen, dropout)
    return plain_attend(query, key, value, heads, seen, dropout)


def plain_attend(query: Tensor, key: Tensor, value: Tensor, heads: int, seen: Tensor, dropout: Tensor | None) -> Tensor:
    """The same by the formula."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(2, 3) for x in (query, key, value))  # [S, B, H, T, D]
    hears = seen.any(dim=-1, keepdim=True)  # [S, B, T_q or 1, 1]
    scores = (q * q.shape[-1] ** -0.5) @ k.mT  # [S, B, H, T_q, T_k]
    weights = scores.masked_fill((~seen & hears)[:, :, None], float("-inf")).softmax(dim=-1)
    if dropout is not None:
        rate = dropout[:, None, None, None, None]
        weights = weights * (uniform_like(weights) >= rate) / (1 - rate)
    return (weights @ v).transpose(2, 3).flatten(3) * hears


def hear(
    query: np.ndarray, key: np.ndarray, value: np.ndarray, heads: int, seen: np.ndarray, rates: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What each step hears, by the loop, and what the way back needs, two numbers [S, B, H, T_q] for a step and head.

    As ``attend``, with ``seen`` [S, B, T_q or 1, T_k], ``rates`` [S] at which weights are dropped, and the ``seed`` by
    which they are.
    """
    streams, batch, asking, width = query.shape
    heard = np.empty(query.shape, np.float32)
    largest, shares = (np.empty((streams, batch, heads, asking), np.float32) for _ in range(2))
    loop, _ = kernels.attention(width // heads, kernels.lanes(asking))
    kernels.run(loop, (query, key, value, seen, rates, heard, largest, shares), seed, count=streams * batch)
    return heard, largest, shares


def hear_backward(
    arrays: tuple[np.ndarray, ...], grad: np.ndarray, gradients: tuple[np.ndarray, ...], seen: np.ndarray,
    rates: np.ndarray, seed: int,
) -> None:  # fmt: skip
    """Fill the ``gradients`` of query (zeros), key and value; ``arrays`` are those three and what ``hear`` gave."""
    query, key, value, heard, largest, shares = arrays
    streams, batch, _, width = query.shape
    _, loop = kernels.attention(width // shares.shape[2], kernels.lanes(key.shape[2]))
    kernels.run(
        loop, (query, key, value, seen, rates, heard, largest, shares, grad, *gradients), seed, count=streams * batch
    )


class _Fused(torch.autograd.Function):
    """The loop as a function that autograd knows."""

    @staticmethod
    def forward(ctx, query: Tensor, key: Tensor, value: Tensor, heads: int, seen: Tensor, dropout: Tensor | None):
        """As ``attend``."""
        ctx.seed = 0 if dropout is None else kernels.draw_seed()
        ctx.seen = seen.expand(*query.shape[:2], *seen.shape[2:]).numpy()
        ctx.rates = np.zeros(len(query), np.float32) if dropout is None else dropout.numpy()
        streams = [x.detach().numpy() for x in (query, key, value)]
        heard, *ctx.kept = hear(*streams, heads, ctx.seen, ctx.rates, ctx.seed)
        ctx.save_for_backward(query, key, value)
        ctx.heard = heard
        return torch.from_numpy(heard)

    @staticmethod
    def backward(ctx, grad: Tensor):
        """Gradients of query, key and value."""
        streams = [x.detach().numpy() for x in ctx.saved_tensors]
        gradients = tuple(np.zeros(x.shape, np.float32) for x in streams)
        hear_backward((*streams, ctx.heard, *ctx.kept), grad.numpy(), gradients, ctx.seen, ctx.rates, ctx.seed)
        return *map(torch.from_numpy, gradients), None, None, None
