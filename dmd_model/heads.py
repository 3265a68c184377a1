"""Heads from a vector to a prediction, shared by the models."""

from __future__ import annotations

from torch import Tensor, nn

from dmd_model.dropout import dropout


class ResidualHead(nn.Module):
    """x -> ReLU layer -> dropout -> linear, plus x -> logit. Returns hidden layer, residual sum and logit.

    The head of MulT and of DMD. The logit is [B], or [B, outputs] where there are several.
    """

    def __init__(self, width: int, hidden: int, output_dropout: float, outputs: int = 1):
        super().__init__()
        self.inner, self.outer = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.out = nn.Linear(width, outputs)
        self.output_dropout = output_dropout

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden = self.inner(x).relu()
        total = self.outer(dropout(hidden, self.output_dropout, self.training)) + x
        return hidden, total, self.out(total).squeeze(-1)  # several outputs are not squeezed


def mlp_head(width: int, hidden: int, dropout: float) -> nn.Sequential:
    """Linear, ReLU, dropout, linear: [B, width] -> [B, 1]."""
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, 1))
