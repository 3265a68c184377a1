"""How far two sets of representations are from one another; losses shared by the models that decouple or translate.

Shapes: B batch, d width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def central_moments(x: Tensor, y: Tensor, moments: int = 5) -> Tensor:
    """Central moment discrepancy of two sets [B, d] (Zellinger et al., 2017): distances of means and moments, summed."""
    centred_x, centred_y = x - x.mean(dim=0), y - y.mean(dim=0)
    distances = [_distance(x.mean(dim=0), y.mean(dim=0))]
    distances += [_distance((centred_x**k).mean(dim=0), (centred_y**k).mean(dim=0)) for k in range(2, moments + 1)]
    return torch.stack(distances).sum()


def maximum_mean_discrepancy(x: Tensor, y: Tensor) -> Tensor:
    """MMD of two sets [B, d] and [C, d] under the kernel exp(-mean squared difference / d) (the one of MFM)."""
    return _kernel(x, x) + _kernel(y, y) - 2 * _kernel(x, y)


def soft_orthogonality(x: Tensor, y: Tensor) -> Tensor:
    """Mean squared element of x^T y for two sets [B, d], centred over the batch, rows of unit length (DSN, MISA)."""
    x, y = (F.normalize(z - z.mean(dim=0), dim=1, eps=1e-6) for z in (x, y))
    return (x.T @ y).square().mean()


def _distance(x: Tensor, y: Tensor) -> Tensor:
    return ((x - y).square().sum() + 1e-12).sqrt()  # the square root's gradient stays finite where the two are equal


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    width = x.shape[1]
    return (-(x[:, None] - y).square().mean(dim=2) / width).exp().mean()
