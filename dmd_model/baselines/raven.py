"""RAVEN, Recurrent Attended Variation Embedding Network (Wang et al., "Words can shift", AAAI 2019, arXiv 1811.09362).

Vision and audio shift each word's vector before an LSTM reads the words: an LSTM sums up each nonverbal stream, gates
that also see the word weigh the two, and the shift is at most ``beta`` times as long as the word. Word-aligned data.

Uncertain in the source, and chosen here:
- The paper's nonverbal LSTMs start anew at each word and read up to 20 frames of it. Aligned data has one frame a word,
  and an LSTM over one frame has no past: its recurrent weights would never be used. Here they run on over the segment,
  so that a word is shifted by what was seen and heard up to it.
- The released code cuts the gradient between the loss and the nonverbal networks, which then never learn, does not
  squash the gates, and normalises audio for each position with the statistics of the batch, in tests too. Here, as in
  the paper's equations, gradients flow and gates are sigmoids; columns are standardised by the protocol.
- The released code shifts by at most beta |word|, and by beta |shift| |word| if the shift is shorter than 1; here it is
  the paper's rule, word + min(beta |word| / |shift|, 1) shift.
- The loss is L1, as for the other models; the released code minimises squared errors.
- There are no settings for MOSEI; they are those for MOSI.

A segment without text has no words to shift: all that is read of it is its length.

Shapes: B batch, T words, D_t columns of text, C state width of the nonverbal LSTMs, H of the one over words.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dmd_model.batch import Batch
from dmd_model.config import Training
from dmd_model.dropout import dropout
from dmd_model.model import Model, Output
from dmd_model.recurrent import Recurrent


@dataclass(frozen=True)
class RAVENConfig:
    """Sizes and dropouts, of the released code."""

    lengths: tuple[int, int, int] = (50, 50, 50)  # longest sequences in words
    nonverbal_hidden: int = 150  # width of the projected frames, and of the states of the nonverbal LSTMs
    hidden: int = 300  # state width of the LSTM over words
    beta: float = 0.2  # longest shift, as a part of the word's length
    dropout: float = 0.2  # of the frames of vision and audio, and of the shifted words


class RAVEN(Model):
    """An LSTM over words that vision and audio have shifted."""

    PRESETS = {preset: (RAVENConfig(), Training(batch_size=20, learning_rate=1e-3)) for preset in ("mosi", "mosei")}

    def __init__(self, config: RAVENConfig, columns: tuple[int, int, int]):
        super().__init__()
        self.config, width = config, config.nonverbal_hidden
        text = columns[0]
        self.projections = nn.ModuleList(nn.Linear(frame, width) for frame in columns[1:])
        self.nonverbal = nn.ModuleList(Recurrent(width, width) for _ in columns[1:])
        self.gates = nn.ModuleList(nn.Linear(width + text, 1) for _ in columns[1:])
        self.mix = nn.Linear(2 * width, text)
        self.lstm = Recurrent(text, config.hidden)
        self.out = nn.Linear(config.hidden, 1)

    def forward(self, batch: Batch) -> Output:
        """The prediction [B] of a batch."""
        (words, *frames), lengths = batch.aligned()
        gated = [self._gated(m, words, sequence, batch.lengths[1 + m]) for m, sequence in enumerate(frames)]
        shifted = shift(words, self.mix(torch.cat(gated, dim=2)), self.config.beta)  # [B, T, D_t]
        _, final = self.lstm(dropout(shifted, self.config.dropout, self.training), lengths)  # [B, H]
        return Output(self.out(final).squeeze(-1))

    def _gated(self, m: int, words: Tensor, frames: Tensor, lengths: Tensor) -> Tensor:
        """States of a nonverbal stream (0 vision, 1 audio), each times a gate that it and its word open: [B, T, C]."""
        frames = dropout(frames, self.config.dropout, self.training)
        states, _ = self.nonverbal[m](self.projections[m](frames), lengths)
        return states * self.gates[m](torch.cat([states, words], dim=2)).sigmoid()


def shift(words: Tensor, shifts: Tensor, beta: float) -> Tensor:
    """Words [B, T, D] plus their shifts, where these are longer than beta |word| shortened to that."""
    longest = beta * words.norm(dim=2, keepdim=True)  # [B, T, 1]
    return words + shifts * (longest / shifts.norm(dim=2, keepdim=True).clamp(min=1e-6)).clamp(max=1)
