"""From three sequences of unlike width and length to one width and one time axis, as MulT and its kin read them.

Shapes: M = 3 modalities (text, vision, audio), B batch, T steps of the longest modality, d common width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dmd_model.recurrent import inside
from dmd_model.transformer import dropout


@dataclass(frozen=True)
class ProjectionConfig:
    """What models on projected sequences have in common; tuples are in the order text, vision, audio."""

    lengths: tuple[int, int, int] = (50, 50, 50)  # longest sequences in steps; longer ones are cut
    d: int = 40  # common width, a multiple of heads
    heads: int = 8
    kernels: tuple[int, int, int] = (1, 1, 1)  # widths of the temporal convolutions in steps, odd
    input_dropout: tuple[float, float, float] = (0.0, 0.0, 0.0)  # of feature elements

    def __post_init__(self) -> None:
        if self.d % self.heads:
            raise ValueError(f"d = {self.d} is not a multiple of heads = {self.heads}")
        if any(kernel % 2 == 0 for kernel in self.kernels):
            raise ValueError(f"kernels = {self.kernels}: every kernel has an odd width, so that lengths stay")


class Projection(nn.Module):
    """A temporal convolution for each modality, without a bias, that keeps the length and hears no padding."""

    def __init__(self, config: ProjectionConfig, columns: tuple[int, int, int]):
        super().__init__()
        self.input_dropout = config.input_dropout
        self.convolutions = nn.ModuleList(
            nn.Conv1d(width, config.d, kernel, padding="same", bias=False)
            for width, kernel in zip(columns, config.kernels, strict=True)
        )

    def forward(self, sequences: tuple[Tensor, Tensor, Tensor], lengths: Tensor) -> tuple[Tensor, Tensor]:
        """``sequences`` [B, T_m, D_m], zero in padding; ``lengths`` [M, B].

        Returns the projected sequences [M, B, T, d], zero in padding, and which steps are none, bool [M, B, T].
        """
        steps = max(x.shape[1] for x in sequences)
        projected = [
            convolution(dropout(x, p, self.training).transpose(1, 2)).transpose(1, 2)  # [B, T_m, d]
            for convolution, x, p in zip(self.convolutions, sequences, self.input_dropout, strict=True)
        ]
        x = torch.stack([F.pad(x, (0, 0, 0, steps - x.shape[1])) for x in projected])  # [M, B, T, d]
        present = inside(lengths, steps)
        return x * present[..., None], present


def last_steps(present: Tensor) -> Tensor:
    """The last step that is no padding, int64 [M, B], of ``present`` [M, B, T]; 0 where there is none."""
    return (present.sum(dim=2) - 1).clamp(min=0)
