"""LF-LSTM, late fusion: an LSTM for each modality, whose final states meet in the head.

A baseline of the MulT paper (Tsai et al., ACL 2019). The modalities need not be aligned.

Uncertain in the source, and chosen here: the authors published neither code nor sizes. Sizes and settings are those of
the nearest published relative, LF-DNN in thuiar/MMSA: its state and hidden widths, its dropout and its training, but
for its weight decay for MOSI, 0.01, with which the valid error on GloVe vectors is higher (1.03, without it 1.01).

Shapes: B batch, H sum of the state widths.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from dmd_model.batch import Batch
from dmd_model.config import Training
from dmd_model.dropout import dropout
from dmd_model.heads import mlp_head
from dmd_model.model import Model, Output
from dmd_model.recurrent import Recurrent


@dataclass(frozen=True)
class LFLSTMConfig:
    """Sizes and dropouts; the defaults are MMSA's of LF-DNN for MOSI."""

    lengths: tuple[int, int, int] = (50, 50, 50)  # longest sequences in steps
    hidden: tuple[int, int, int] = (128, 128, 16)  # state widths of the LSTMs
    head_hidden: int = 128  # width of the head
    dropout: float = 0.2  # of the final states, and in the head


class LFLSTM(Model):
    """Three LSTMs of one layer and a head on their final states; an absent modality's state is zero."""

    PRESETS = {
        "mosi": (LFLSTMConfig(), Training(batch_size=128, learning_rate=1e-3)),
        "mosei": (
            LFLSTMConfig(hidden=(128, 128, 32)),
            Training(batch_size=64, learning_rate=2e-3, weight_decay=1e-3),
        ),
    }

    def __init__(self, config: LFLSTMConfig, columns: tuple[int, int, int]):
        super().__init__()
        self.config = config
        self.lstms = nn.ModuleList(
            Recurrent(width, hidden) for width, hidden in zip(columns, config.hidden, strict=True)
        )
        self.head = mlp_head(sum(config.hidden), config.head_hidden, config.dropout)

    def forward(self, batch: Batch) -> Output:
        """The prediction [B] of a batch."""
        finals = [
            lstm(sequence, lengths)[1]
            for lstm, sequence, lengths in zip(self.lstms, batch.sequences, batch.lengths, strict=True)
        ]
        states = dropout(torch.cat(finals, dim=1), self.config.dropout, self.training)  # [B, H]
        return Output(self.head(states).squeeze(-1))
