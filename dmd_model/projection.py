"""From three sequences of unlike width and length to one width and one time axis, as DMD, MulT and their kin read them.

Shapes: M = 3 modalities (text, vision, audio), B batch, T steps of the longest modality, d common width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dmd_model.dropout import dropout
from dmd_model.recurrent import inside


class Projection(nn.Module):
    """A temporal convolution for each modality, without a bias.

    It keeps the length and hears no padding, or, without ``mask_padding``, takes padding for steps and shortens the
    sequence by its width, as the official DMD does. ``skip_at_d``: what has d columns already is not convolved.
    """

    def __init__(
        self,
        columns: tuple[int, int, int],
        d: int,
        kernels: tuple[int, int, int],
        input_dropout: tuple[float, float, float],
        mask_padding: bool = True,
        skip_at_d: bool = False,
    ):
        super().__init__()
        self.input_dropout, self.mask_padding = input_dropout, mask_padding
        self.convolutions = nn.ModuleList(
            nn.Identity() if skip_at_d and width == d
            else nn.Conv1d(width, d, kernel, padding=kernel // 2 if mask_padding else 0, bias=False)
            for width, kernel in zip(columns, kernels, strict=True)
        )  # fmt: skip

    def steps(self, lengths: tuple[int, int, int]) -> tuple[int, int, int]:
        """Steps that convolutions without padding leave of sequences of these lengths."""
        return tuple(
            length if isinstance(convolution, nn.Identity) else length - convolution.kernel_size[0] + 1
            for length, convolution in zip(lengths, self.convolutions, strict=True)
        )

    def forward(self, sequences: tuple[Tensor, Tensor, Tensor], lengths: Tensor) -> tuple[Tensor, Tensor]:
        """``sequences`` [B, T_m, D_m], zero in padding; ``lengths`` [M, B].

        Returns the projected sequences [M, B, T, d] and which steps take part, bool [M, B or 1, T]; others are zero.
        """
        projected = [
            _convolve(convolution, dropout(x, p, self.training))  # [B, T_m, d]
            for convolution, x, p in zip(self.convolutions, sequences, self.input_dropout, strict=True)
        ]
        counts = [x.shape[1] for x in projected]
        x = torch.stack([F.pad(x, (0, 0, 0, max(counts) - x.shape[1])) for x in projected])  # [M, B, T, d]
        if not self.mask_padding:
            return x, torch.stack([inside(torch.full_like(lengths[0, :1], count), max(counts)) for count in counts])
        present = inside(lengths, max(counts))
        return x * present[..., None], present


def _convolve(convolution: nn.Module, x: Tensor) -> Tensor:
    """[B, T, D] -> [B, T', d]. What looks at one step at a time is a linear map, and faster as such."""
    if isinstance(convolution, nn.Conv1d) and convolution.kernel_size == (1,):
        return F.linear(x, convolution.weight.squeeze(2))
    return convolution(x.transpose(1, 2)).transpose(1, 2)


def last_steps(present: Tensor) -> Tensor:
    """The last step that is no padding, int64 [M, B], of ``present`` [M, B, T]; 0 where there is none."""
    return (present.sum(dim=2) - 1).clamp(min=0)
