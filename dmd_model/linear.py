"""Linear maps for float32 on a CPU, by oneDNN.

PyTorch multiplies there by MKL, which takes instructions of half the width on processors that are not Intel's: on one
of those oneDNN does the products of a training in half the time. PyTorch has it for its compiler.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, relu: bool = False) -> Tensor:
    """``x`` [..., in] through ``weight`` [out, in] and ``bias`` [out], and a rectifier if ``relu``: [..., out]."""
    if _ONEDNN:
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "relu" if relu else "none", [], "")
    y = F.linear(x, weight, bias)
    return y.relu_() if relu else y


def gradients(x: Tensor, weight: Tensor, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of a linear map's ``x`` [N, in], weight and bias, where ``grad`` [N, out] is that of its result."""
    if weight.shape[0] < weight.shape[1]:  # few rows of many columns is the faster way round
        of_weight = linear(grad.T, x.T)
    else:
        of_weight = linear(x.T, grad.T).T
    return linear(grad, weight.T), of_weight, grad.sum(0)
