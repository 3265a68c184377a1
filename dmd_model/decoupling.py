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
from dmd_model.transformer import dropout


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
        self.projections = nn.ModuleList(
            nn.Identity() if config.skip_projection_at_d and width == config.d
            else nn.Conv1d(width, config.d, kernel, padding=kernel // 2 if config.mask_padding else 0, bias=False)
            for width, kernel in zip(columns, config.kernels, strict=True)
        )  # fmt: skip
        if config.feature_decoupling:
            self.private = _uniform(3, config.d, config.d)  # [M, out, in]
            self.shared = _uniform(config.d, config.d)
            self.decoder = _uniform(3, config.d, 2 * config.d)  # columns: specific, then common

    def steps(self) -> tuple[int, int, int]:
        """Steps that the official convolutions leave of sequences of the configured lengths."""
        return tuple(
            length if isinstance(projection, nn.Identity) else length - projection.kernel_size[0] + 1
            for length, projection in zip(self.config.lengths, self.projections, strict=True)
        )

    def forward(self, sequences: tuple[Tensor, Tensor, Tensor], lengths: Tensor) -> Decoupled:
        """``sequences`` are [B, T_m, D_m] in the order of the modalities, zero in padding; ``lengths`` is [M, B]."""
        projected, present = self.project(sequences, lengths)
        if not self.config.feature_decoupling:
            return Decoupled(projected, projected, projected, projected, projected, present)
        specific = _each(projected, self.private)
        common = F.linear(projected, self.shared)
        reconstructed = _each(torch.cat([specific, common], dim=-1), self.decoder)
        return Decoupled(projected, specific, common, reconstructed, _each(reconstructed, self.private), present)

    def project(self, sequences: tuple[Tensor, Tensor, Tensor], lengths: Tensor) -> tuple[Tensor, Tensor]:
        """The three sequences at one width and length: [M, B, T, d], and which steps take part: [M, B or 1, T]."""
        projected = [
            projection(dropout(x, p, self.training).transpose(1, 2)).transpose(1, 2)
            for projection, x, p in zip(self.projections, sequences, self.config.input_dropout, strict=True)
        ]
        counts = [x.shape[1] for x in projected]
        x = torch.stack([F.pad(x, (0, 0, 0, max(counts) - x.shape[1])) for x in projected])  # [M, B, T, d]
        steps = torch.arange(max(counts), device=x.device)
        if not self.config.mask_padding:
            return x, steps < torch.tensor(counts, device=x.device)[:, None, None]
        present = steps < lengths[:, :, None]
        return x * present[..., None], present


def _each(x: Tensor, weight: Tensor) -> Tensor:
    """[M, B, T, in] through one map for each modality, [M, out, in]."""
    return torch.bmm(x.flatten(1, 2), weight.transpose(1, 2)).view(*x.shape[:-1], -1)


def _uniform(*shape: int) -> nn.Parameter:
    bound = 1 / math.sqrt(shape[-1])
    return nn.Parameter(torch.empty(*shape).uniform_(-bound, bound))
