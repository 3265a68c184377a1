"""Attention and feed-forward parts for models whose encoders are not the standard ones of ``EncoderBank``.

As there, S parts of one shape ("streams") run side by side.
Shapes: S streams, B batch, T steps, d width, H heads.
"""

from __future__ import annotations

from torch import Tensor, nn

from dmd_model.transformer import StackedLinear, StackedNorm, dropout, normalise


class Attention(nn.Module):
    """S multi-head attentions, each of one sequence to another or to itself."""

    def __init__(self, streams: int, width: int, heads: int, attention_dropout: float):
        super().__init__()
        self.heads, self.attention_dropout = heads, attention_dropout
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
        barred = (~seen & hears)[:, :, None, None]  # [S or 1, B, 1, 1, T_k]
        scale = (query.shape[-1] / self.heads) ** -0.5
        scores = self._split(query * scale) @ self._split(key).mT  # [S, B, H, T_q, T_k]
        weights = scores.masked_fill(barred, float("-inf")).softmax(dim=-1)
        heard = dropout(weights, self.attention_dropout, self.training) @ self._split(value)  # [S, B, H, T_q, d/H]
        return self.out(heard.transpose(2, 3).flatten(3)) * hears[..., None]

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(2, 3)  # [S, B, H, T, d/H]


class FeedForward(nn.Module):
    """S pre-normed, residual feed-forward nets of hidden width 4d: [S, B, T, d] -> [S, B, T, d]."""

    def __init__(self, streams: int, width: int, relu_dropout: float, residual_dropout: float):
        super().__init__()
        self.relu_dropout, self.residual_dropout = relu_dropout, residual_dropout
        self.norm = StackedNorm(streams, width)
        self.expand = StackedLinear(streams, width, 4 * width)
        self.contract = StackedLinear(streams, 4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        hidden = dropout(self.expand(self.norm(normalise(x))).relu(), self.relu_dropout, self.training)
        return x + dropout(self.contract(hidden), self.residual_dropout, self.training)
