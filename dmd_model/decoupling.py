"""Feature decoupling: each modality becomes a specific (heterogeneous) and a common (homogeneous) sequence.

The paper (Li, Wang and Cui, CVPR 2023) calls them X^prt and X^com.
Shapes: M = 3 modalities (text, vision, audio), B batch, T steps of the longest modality, d common width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dmd_model.config import DMDConfig
from dmd_model.projection import Projection


@dataclass(frozen=True)
class Decoupled:
    """The sequences of one batch, all [M, B, T, d] and zero where ``present`` [M, B or 1, T] is False."""

    projected: Tensor
    specific: Tensor
    common: Tensor
    reconstructed: Tensor
    specific_again: Tensor  # the specific part of the reconstructed sequence
    present: Tensor


class Decoupling(nn.Module):
    """Projection by temporal convolution, shared and private encoders, decoders. All linear, none with a bias."""

    def __init__(self, config: DMDConfig, columns: tuple[int, int, int]):
        super().__init__()
        self.config = config
        self.projection = Projection(
            columns, config.d, config.kernels, config.input_dropout, config.mask_padding, config.skip_projection_at_d
        )
        if config.feature_decoupling:
            self.private = _uniform(3, config.d, config.d)  # [M, out, in]
            self.shared = _uniform(config.d, config.d)
            self.decoder = _uniform(3, config.d, 2 * config.d)  # columns: specific, then common

    def steps(self) -> tuple[int, int, int]:
        """Steps that the official convolutions leave of sequences of the configured lengths."""
        return self.projection.steps(self.config.lengths)

    def forward(self, sequences: tuple[Tensor, Tensor, Tensor], lengths: Tensor) -> Decoupled:
        """``sequences`` are [B, T_m, D_m] in the order of the modalities, zero in padding; ``lengths`` is [M, B]."""
        projected, present = self.projection(sequences, lengths)
        if not self.config.feature_decoupling:
            return Decoupled(projected, projected, projected, projected, projected, present)
        specific = _each(projected, self.private)
        common = F.linear(projected, self.shared)
        reconstructed = _each(torch.cat([specific, common], dim=-1), self.decoder)
        return Decoupled(projected, specific, common, reconstructed, _each(reconstructed, self.private), present)


def _each(x: Tensor, weight: Tensor) -> Tensor:
    """[M, B, T, in] through one map for each modality, [M, out, in]."""
    return torch.bmm(x.flatten(1, 2), weight.transpose(1, 2)).view(*x.shape[:-1], -1)


def _uniform(*shape: int) -> nn.Parameter:
    bound = 1 / math.sqrt(shape[-1])
    return nn.Parameter(torch.empty(*shape).uniform_(-bound, bound))
