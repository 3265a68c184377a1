"""The modality sub-networks of TFN and LMF: a batch of sequences as one vector for each modality.

Text goes through an LSTM, whose final state is mapped to ``text_out`` columns. Vision and audio are averaged over their
steps, normalised and sent through three layers.

Shapes: B batch, D_m columns and h_m width of modality m.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from dmd_model.batch import Batch
from dmd_model.recurrent import Recurrent, RowNorm, inside, masked_mean


class SubNetworks(nn.Module):
    """Text, vision and audio of a batch -> [1; h_m], three times [B, 1 + h_m].

    The one in front lets a product over the modalities hold those of fewer: an absent modality is [1; 0], and so takes
    no part in it.
    """

    def __init__(
        self, columns: tuple[int, int, int], hidden: tuple[int, int, int], text_out: int,
        dropout: tuple[float, float, float],
    ):  # fmt: skip
        super().__init__()
        self.text = TextNetwork(columns[0], hidden[0], text_out, dropout[0])
        self.vision = MeanNetwork(columns[1], hidden[1], dropout[1])
        self.audio = MeanNetwork(columns[2], hidden[2], dropout[2])
        self.widths = (text_out, *hidden[1:])

    def forward(self, batch: Batch) -> list[Tensor]:
        networks = (self.text, self.vision, self.audio)
        vectors = [
            network(x, lengths) * (lengths > 0)[:, None]
            for network, x, lengths in zip(networks, batch.sequences, batch.lengths, strict=True)
        ]
        return [F.pad(vector, (1, 0), value=1.0) for vector in vectors]


class TextNetwork(nn.Module):
    """LSTM -> final state -> dropout -> linear: [B, T, D] -> [B, out]."""

    def __init__(self, width: int, hidden: int, out: int, dropout: float):
        super().__init__()
        self.recurrent = Recurrent(width, hidden)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(hidden, out)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        _, final = self.recurrent(x, lengths)
        return self.out(self.dropout(final))


class MeanNetwork(nn.Module):
    """Mean over the steps -> batch norm -> dropout -> three ReLU layers: [B, T, D] -> [B, hidden]."""

    def __init__(self, width: int, hidden: int, dropout: float):
        super().__init__()
        self.norm = RunningNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(nn.Linear(inputs, hidden) for inputs in (width, hidden, hidden))

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        h = self.dropout(self.norm(masked_mean(x, inside(lengths, x.shape[1])), lengths > 0))
        for layer in self.layers:
            h = layer(h).relu()
        return h


class RunningNorm(RowNorm):
    """Batch norm that applies its running statistics in training too, as it does in use.

    What it norms are inputs, which training does not change: statistics of a batch of few segments, which are moreover
    of like length, would only be noisier than the running ones.
    """

    def forward(self, x: Tensor, kept: Tensor) -> Tensor:
        """``x`` [B, D] and ``kept`` bool [B]; the other rows become zero."""
        if self.training:
            super().forward(x, kept)  # moves the running statistics
        normed = (x - self.running_mean) * (self.running_var + self.eps).rsqrt() * self.weight + self.bias
        return normed * kept[:, None]
