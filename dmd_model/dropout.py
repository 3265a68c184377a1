"""Dropout, alone or of what a rectifier lets through: PyTorch's own, but one loop for float32 on a CPU.

Where seeds are trained as one stack, each brings the random numbers by which its own weights drop.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dmd_model import kernels

LOWEST = torch.finfo(torch.float32).min
"""No number is below it."""
_numbers: ContextVar[Numbers | None] = ContextVar("numbers", default=None)


class Numbers:
    """Uniform numbers [N] of [0, 1), given out in order; without any it gives zeros, and counts how many it gave."""

    def __init__(self, numbers: Tensor | None):
        self.numbers, self.given = numbers, 0

    def like(self, x: Tensor) -> Tensor:
        """The next ones, as many as ``x`` has, in its shape."""
        first, self.given = self.given, self.given + x.numel()
        return torch.zeros_like(x) if self.numbers is None else self.numbers[first : self.given].view(x.shape)


@contextmanager
def drawn_from(numbers: Numbers) -> Iterator[None]:
    """What is dropped within, follows from these numbers."""
    token = _numbers.set(numbers)
    try:
        yield
    finally:
        _numbers.reset(token)


def uniform_like(x: Tensor) -> Tensor:
    """Random numbers of [0, 1) in the shape of ``x``."""
    numbers = _numbers.get()
    return torch.rand_like(x) if numbers is None else numbers.like(x)


def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """``x`` where it is kept, scaled by 1 / (1 - p), and zero where it is dropped."""
    if not training or p == 0:
        return x
    return _Dropout.apply(x, p) if kernels.serve(x) else _plain_dropout(x, p)


def relu_dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """Dropout of max(x, 0)."""
    if not training or p == 0:
        return x.relu()
    return _ReluDropout.apply(x, p) if kernels.serve(x) else _plain_dropout(x.relu(), p)


def _plain_dropout(x: Tensor, p: float) -> Tensor:
    if _numbers.get() is None:
        return F.dropout(x, p)
    return torch.ops.aten.native_dropout_backward(x, uniform_like(x) >= p, 1 / (1 - p))  # the product of all three


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, p: float) -> Tensor:
        ctx.p, ctx.seed = p, kernels.draw_seed()
        return dropped(x, LOWEST, p, ctx.seed)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        return dropped(grad, LOWEST, ctx.p, ctx.seed), None


class _ReluDropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, p: float) -> Tensor:
        ctx.p = p
        out = dropped(x, 0.0, p, kernels.draw_seed())
        ctx.save_for_backward(out)
        return out

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        (out,) = ctx.saved_tensors
        return torch.ops.aten.threshold_backward(grad, out, 0).div_(1 - ctx.p), None


def dropped(x: Tensor, lowest: float, p: float, seed: int) -> Tensor:
    """max(``x``, ``lowest``) where it is kept, scaled by 1 / (1 - p), and zero where it is dropped."""
    numbers = x.detach().numpy().ravel()
    out = np.empty_like(numbers)
    kernels.run(kernels.dropout(), (numbers, out), lowest, p, seed, count=len(numbers))
    return torch.from_numpy(out).view(x.shape)
