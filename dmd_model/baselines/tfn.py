"""TFN, Tensor Fusion Network (Zadeh, Chen, Poria, Cambria and Morency, EMNLP 2017, arXiv 1707.07250).

Each modality becomes one vector with a one in front. Their outer product holds all products of one, two and three
modalities; it is flattened and read by two layers, and a sigmoid squashes the prediction to the labels' range.

Shapes: B batch, h_m width of modality m.

Uncertain in the source, and chosen here:
- Sizes and dropouts are those of MMSA's configuration, where the widest vector is that of vision, not of text as in the
  paper (129 x 33 x 33).
- Dropout of the text network is on the LSTM's final state, as in the implementation that MMSA took it from; MMSA turns
  it off for LSTMs of one layer.
- Absent modalities, which the paper does not have, leave the product of the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

from dmd_model.baselines.subnetworks import SubNetworks
from dmd_model.batch import Batch
from dmd_model.config import Training
from dmd_model.dropout import dropout
from dmd_model.model import Model, Output


@dataclass(frozen=True)
class TFNConfig:
    """Defaults are MMSA's for MOSI. Widths are in units, tuples in the order text, vision, audio."""

    lengths: tuple[int, int, int] = (50, 50, 50)  # longest sequences, in words
    hidden: tuple[int, int, int] = (128, 128, 32)
    text_out: int = 32
    fusion_hidden: int = 64
    dropout: tuple[float, float, float] = (0.3, 0.3, 0.3)
    fusion_dropout: float = 0.5  # of the elements of the fused tensor


class TFN(Model):
    """Three sub-networks, their outer product, and two layers that read it."""

    PRESETS = {
        "mosi": (TFNConfig(), Training(batch_size=32, learning_rate=1e-3)),
        "mosei": (
            TFNConfig(
                hidden=(128, 128, 16), text_out=128, fusion_hidden=16, dropout=(0.4, 0.4, 0.4), fusion_dropout=0.4
            ),
            Training(batch_size=128, learning_rate=5e-3),
        ),
    }

    def __init__(self, config: TFNConfig, columns: tuple[int, int, int]):
        super().__init__()
        self.config = config
        self.subnetworks = SubNetworks(columns, config.hidden, config.text_out, config.dropout)
        fused = prod(1 + width for width in self.subnetworks.widths)
        self.head = nn.Sequential(
            nn.Linear(fused, config.fusion_hidden), nn.ReLU(),
            nn.Linear(config.fusion_hidden, config.fusion_hidden), nn.ReLU(),
            nn.Linear(config.fusion_hidden, 1),
        )  # fmt: skip

    def forward(self, batch: Batch) -> Output:
        """The prediction [B] of a batch, in (-3, 3)."""
        fused = tensor_fusion(*self.subnetworks(batch)).flatten(1)  # [B, prod(1 + h_m)]
        logit = self.head(dropout(fused, self.config.fusion_dropout, self.training)).squeeze(-1)
        return Output(6 * logit.sigmoid() - 3)


def tensor_fusion(text: Tensor, vision: Tensor, audio: Tensor) -> Tensor:
    """Outer product of three vectors: [B, a], [B, b], [B, c] -> [B, a, b, c]."""
    return torch.einsum("bt,bv,ba->btva", text, vision, audio)
