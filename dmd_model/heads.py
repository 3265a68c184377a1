"""Heads from a vector to a prediction, shared by the models."""

from __future__ import annotations

from torch import Tensor, nn

from dmd_model.transformer import dropout


class ResidualHead(nn.Module):
    """x -> ReLU layer -> dropout -> linear, plus x -> one logit. Returns hidden layer, residual sum and logit [B].

    The head of MulT and of DMD.
    """

    def __init__(self, width: int, hidden: int, output_dropout: float):
        super().__init__()
        self.inner, self.outer, self.out = nn.Linear(width, hidden), nn.Linear(hidden, width), nn.Linear(width, 1)
        self.output_dropout = output_dropout

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden = self.inner(x).relu()
        total = self.outer(dropout(hidden, self.output_dropout, self.training)) + x
        return hidden, total, self.out(total).squeeze(-1)


def mlp_head(width: int, hidden: int, dropout: float) -> nn.Sequential:
    """Linear, ReLU, dropout, linear: [B, width] -> [B, 1]."""
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, 1))
