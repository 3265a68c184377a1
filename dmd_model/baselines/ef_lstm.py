"""EF-LSTM, early fusion: one LSTM reads the concatenated features word by word.

The baseline of Williams et al. ("Recognizing emotions in video using multimodal DNN feature fusion", ACL workshop 2018)
and of the MulT paper (Tsai et al., ACL 2019), in the form and with the settings of thuiar/MMSA. Word-aligned data.

Uncertain in the source, and chosen here:
- MMSA normalises each of 50 time steps over batch and features; that ties a word's scale to its position and reads
  padding. Here batch norm works on features, over the words that are no padding.
- MMSA reads the state after the last padded step; here it is the state after the last word.
- MMSA's weight decay for MOSI, 0.005, keeps the LSTM from learning anything of GloVe vectors (MOSI's valid error 1.42
  with it and 0.97 without): there is none.

Shapes: B batch, T words, D columns of all modalities, H state width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dmd_model.batch import Batch
from dmd_model.config import Training
from dmd_model.dropout import dropout
from dmd_model.heads import mlp_head
from dmd_model.model import Model, Output
from dmd_model.recurrent import Recurrent, RowNorm, inside


@dataclass(frozen=True)
class EFLSTMConfig:
    """Sizes and dropouts; the defaults are MMSA's for MOSI."""

    lengths: tuple[int, int, int] = (50, 50, 50)  # longest sequences in words
    hidden: int = 128  # state width of the LSTM, and width of the head
    layers: int = 4  # of the LSTM
    dropout: float = 0.5  # between the layers of the LSTM, of its final state, and in the head


class EFLSTM(Model):
    """Batch norm, stacked LSTM, and a head on its final state."""

    PRESETS = {
        "mosi": (EFLSTMConfig(), Training(batch_size=32, learning_rate=1e-3)),
        "mosei": (
            EFLSTMConfig(hidden=256, layers=2, dropout=0.4),
            Training(batch_size=128, learning_rate=5e-3, weight_decay=1e-4),
        ),
    }

    def __init__(self, config: EFLSTMConfig, columns: tuple[int, int, int]):
        super().__init__()
        self.config = config
        self.norm = RowNorm(sum(columns))
        self.lstm = Recurrent(sum(columns), config.hidden, config.layers, dropout=config.dropout)
        self.head = mlp_head(config.hidden, config.hidden, config.dropout)

    def forward(self, batch: Batch) -> Output:
        """The prediction [B] of a batch."""
        sequences, lengths = batch.aligned()
        words = torch.cat(sequences, dim=2)  # [B, T, D]
        words = self.norm(words, inside(lengths, words.shape[1]))
        _, final = self.lstm(words, lengths)  # [B, H]
        return Output(self.head(dropout(final, self.config.dropout, self.training)).squeeze(-1))
