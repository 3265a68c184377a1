"""Attention and feed-forward parts for models whose encoders are not the standard ones of ``EncoderBank``.

As there, S parts of one shape ("streams") run side by side.
Shapes: S streams, B batch, T steps, d width, H heads.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dmd_model.attention import attend
from dmd_model.dropout import dropout, relu_dropout
from dmd_model.transformer import StackedLinear, StackedNorm, normalise


class Attention(nn.Module):
    """S multi-head attentions, each of one sequence to another or to itself."""

    def __init__(self, streams: int, width: int, heads: int, attention_dropout: float):
        super().__init__()
        self.heads = heads
        rates = torch.full((streams,), attention_dropout) if attention_dropout else None
        self.register_buffer("attention_dropout", rates, persistent=False)  # [S]
        self.query = StackedLinear(streams, width, width)
        self.key_value = StackedLinear(streams, width, 2 * width)
        self.out = StackedLinear(streams, width, width)

    def forward(self, x: Tensor, source: Tensor, seen: Tensor) -> Tensor:
        """What ``x`` [S, B, T_q, d] hears from the steps ``seen`` [S or 1, B, T_k] of ``source`` [S, B, T_k, d]."""
        return self.attend(*self.project(x, source), seen)

    def project(self, x: Tensor, source: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries [S, B, T_q, d], keys and values [S, B, T_k, d]."""
        return self.query(x), *self.key_value(source).chunk(2, dim=-1)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, seen: Tensor) -> Tensor:
        """[S, B, T_q, d]; zero for a sample that sees no step at all."""
        hears = seen.any(dim=-1, keepdim=True)  # [S or 1, B, 1]
        dropout = self.attention_dropout if self.training else None
        heard = attend(query, key, value, self.heads, seen[:, :, None], dropout)  # [S, B, T_q, d]
        return self.out(heard) * hears[..., None]


class FeedForward(nn.Module):
    """S pre-normed, residual feed-forward nets of hidden width 4d: [S, B, T, d] -> [S, B, T, d]."""

    def __init__(self, streams: int, width: int, relu_dropout: float, residual_dropout: float):
        super().__init__()
        self.relu_dropout, self.residual_dropout = relu_dropout, residual_dropout
        self.norm = StackedNorm(streams, width)
        self.expand = StackedLinear(streams, width, 4 * width)
        self.contract = StackedLinear(streams, 4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        hidden = relu_dropout(self.expand(self.norm(normalise(x))), self.relu_dropout, self.training)
        return x + dropout(self.contract(hidden), self.residual_dropout, self.training)
