"""How far two sets of representations are from one another; losses shared by the models that decouple or translate.

Row i of both sets is the same sample. Where ``kept`` (bool [B]) is given, only its samples count, and with none of them
a discrepancy is 0. Every gradient is finite: where the sets are equal, or of one sample, too.

Shapes: B batch, d width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def central_moments(x: Tensor, y: Tensor, moments: int = 5, kept: Tensor | None = None) -> Tensor:
    """Central moment discrepancy of two sets [B, d] (Zellinger et al., 2017): distances of means and moments, summed.

    For values in an interval of length 1, such as a sigmoid's: the moments are not scaled.
    """
    weights = _weights(x, kept)
    mean_x, mean_y = weights @ x, weights @ y
    centred_x, centred_y = x - mean_x, y - mean_y
    differences = [mean_x - mean_y]
    differences += [weights @ (centred_x**k - centred_y**k) for k in range(2, moments + 1)]
    return torch.linalg.vector_norm(torch.stack(differences), dim=1).sum()  # its gradient at zero is zero


def maximum_mean_discrepancy(x: Tensor, y: Tensor, kept: Tensor | None = None) -> Tensor:
    """MMD of two sets under the kernel exp(-mean squared difference / d), the one of MFM.

    The sets are [B, d] and, where ``kept`` is not given, may be of unlike size.
    """
    weights_x, weights_y = _weights(x, kept), _weights(y, kept)
    return (
        weights_x @ _kernel(x, x) @ weights_x
        + weights_y @ _kernel(y, y) @ weights_y
        - 2 * weights_x @ _kernel(x, y) @ weights_y
    )


def soft_orthogonality(x: Tensor, y: Tensor, kept: Tensor | None = None) -> Tensor:
    """Mean squared element of x^T y for two sets [B, d], centred over the batch, rows of unit length (DSN, MISA)."""
    weights = _weights(x, kept)
    x, y = (F.normalize(z - weights @ z, dim=1, eps=1e-6) * (weights > 0)[:, None] for z in (x, y))
    return (x.T @ y).square().mean()


def _weights(x: Tensor, kept: Tensor | None) -> Tensor:
    """What each sample counts in a mean, [B]: they sum to 1, or all are 0."""
    kept = x.new_ones(len(x)) if kept is None else kept.to(x.dtype)
    return kept / kept.sum().clamp(min=1)


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    return (-(x[:, None] - y).square().mean(dim=2) / x.shape[1]).exp()
