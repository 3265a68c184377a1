"""What models that read padded sequences step by step have in common.

Shapes: B batch, T steps, D input width, H state width (twice that in both directions).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def inside(lengths: Tensor, steps: int) -> Tensor:
    """Which of ``steps`` steps are no padding, bool [..., T], for lengths [...]."""
    return torch.arange(steps, device=lengths.device) < lengths[..., None]


def masked_mean(x: Tensor, kept: Tensor) -> Tensor:
    """Mean over the steps that are kept, bool [..., B or 1, T]: [..., B, T, D] -> [..., B, D]; zero where none is."""
    return (x * kept[..., None]).sum(dim=-2) / kept.sum(dim=-1).clamp(min=1)[..., None]


class Recurrent(nn.Module):
    """An LSTM over right-padded sequences that never reads padding."""

    def __init__(self, width: int, hidden: int, layers: int = 1, bidirectional: bool = False, dropout: float = 0.0):
        super().__init__()
        self.lstm = nn.LSTM(width, hidden, layers, batch_first=True, bidirectional=bidirectional, dropout=dropout)
        self.width = hidden * (2 if bidirectional else 1)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """States [B, T, width], zero in padding, and the last layer's final state [B, width]; zero for length 0."""
        packed = nn.utils.rnn.pack_padded_sequence(
            x, lengths.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False
        )
        packed_states, (final, _) = self.lstm(packed)
        states, _ = nn.utils.rnn.pad_packed_sequence(packed_states, batch_first=True, total_length=x.shape[1])
        directions = 2 if self.lstm.bidirectional else 1
        final = final[-directions:].transpose(0, 1).flatten(1)  # [B, width]
        there = lengths > 0
        return states * there[:, None, None], final * there[:, None]


class RowNorm(nn.BatchNorm1d):
    """Batch norm over the rows that are no padding; a batch that has fewer than two uses the running statistics."""

    def forward(self, x: Tensor, kept: Tensor | None = None) -> Tensor:
        """``x`` [..., D] and ``kept`` bool [...] (all rows where it is not given); the other rows become zero."""
        rows = x.flatten(0, -2) if kept is None else x[kept]  # [N, D]
        training = self.training and len(rows) > 1
        normed = nn.functional.batch_norm(
            rows, self.running_mean, self.running_var, self.weight, self.bias, training, self.momentum, self.eps
        )
        return normed.view_as(x) if kept is None else torch.zeros_like(x).masked_scatter(kept[..., None], normed)
