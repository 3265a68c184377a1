"""LMF, Low-rank Multimodal Fusion (Liu, Shen, Lakshminarasimhan, Liang, Zadeh and Morency, ACL 2018, arXiv 1806.00064).

A linear map of TFN's outer product of the modality vectors whose weight tensor is a weighted sum of r outer products of
vectors, one for each modality: the tensor is never built, each vector is mapped to r numbers, and these are multiplied.

Shapes: B batch, h_m width of modality m, r rank.

Uncertain in the source, and chosen here:
- Sizes, ranks and dropouts are those of MMSA's configuration; the paper searches over them.
- The sum over the rank is weighted by learnt weights, and the map goes straight to the prediction, as in the code of
  the paper's authors.
- That code names a dropout after the fusion which it never applies: left out. MMSA's optimiser never trains two of the
  parameters: here all are trained.
- Dropout of the text network and absent modalities: as in TFN.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from dmd_model.baselines.subnetworks import SubNetworks
from dmd_model.batch import Batch
from dmd_model.config import Training
from dmd_model.model import Model, Output


@dataclass(frozen=True)
class LMFConfig:
    """Defaults are MMSA's for MOSI. Widths are in units, tuples in the order text, vision, audio."""

    lengths: tuple[int, int, int] = (50, 50, 50)  # longest sequences, in words
    hidden: tuple[int, int, int] = (128, 128, 16)
    text_out: int = 64
    rank: int = 3
    dropout: tuple[float, float, float] = (0.3, 0.3, 0.3)


class LMF(Model):
    """Three sub-networks and their low-rank fusion."""

    PRESETS = {
        "mosi": (LMFConfig(), Training(batch_size=64, learning_rate=1e-3)),
        "mosei": (
            LMFConfig(rank=4, dropout=(0.2, 0.2, 0.2)),
            Training(batch_size=32, learning_rate=1e-3, weight_decay=1e-3),
        ),
    }

    def __init__(self, config: LMFConfig, columns: tuple[int, int, int]):
        super().__init__()
        self.config = config
        self.subnetworks = SubNetworks(columns, config.hidden, config.text_out, config.dropout)
        self.factors = nn.ParameterList(
            nn.init.xavier_normal_(torch.empty(config.rank, 1 + width)) for width in self.subnetworks.widths
        )
        self.out = nn.Linear(config.rank, 1)
        nn.init.xavier_normal_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, batch: Batch) -> Output:
        """The prediction [B] of a batch."""
        text, vision, audio = (
            vector @ factor.T for vector, factor in zip(self.subnetworks(batch), self.factors, strict=True)
        )  # [B, r] each
        return Output(self.out(text * vision * audio).squeeze(-1))
