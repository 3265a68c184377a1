"""Dropout, alone or of what a rectifier lets through: PyTorch's own, but one loop for float32 on a CPU."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dmd_model import kernels

LOWEST = torch.finfo(torch.float32).min
"""No number is below it."""


def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """``x`` where it is kept, scaled by 1 / (1 - p), and zero where it is dropped."""
    if not training or p == 0:
        return x
    return _Dropout.apply(x, p) if kernels.serve(x) else F.dropout(x, p)


def relu_dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """Dropout of max(x, 0)."""
    if not training or p == 0:
        return x.relu()
    return _ReluDropout.apply(x, p) if kernels.serve(x) else F.dropout(x.relu(), p)


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
    out = torch.empty(x.shape)
    kernels.run(kernels.dropout(), (x.flatten(), out.view(-1)), lowest, p, seed, count=x.numel())
    return out
