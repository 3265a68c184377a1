"""MISA, Modality-Invariant and -Specific Representations (Hazarika, Zimmermann, Poria, ACM MM 2020, arXiv 2005.03545).

Each modality becomes a vector, of which one encoder for all modalities takes what is invariant (shared) and one of its
own what is specific (private). Shared parts are made alike, private parts unlike them and one another, and both
together must give the vector again. A transformer layer over the six parts precedes the prediction.

Shapes: B batch, T steps, D columns, d common width; [3, B, d] is in the order text, vision, audio.

Uncertain in the source, and chosen here:
- Sizes, dropouts and weights are those of MMSA's configuration, which differ from the authors'.
- Text is the mean of the word vectors that the model is given, whether or not their encoder is fine-tuned: that is what
  the paper does with BERT's. Vision and audio are read to their own length; both codes read them to that of the text.
- Shared parts are made alike by central moments, as in the paper's results; the adversarial variant is left out, and so
  is a discriminator of parts that both codes hold but never train. Lengths of vectors take part in the gradient of the
  orthogonality, as the paper's formula has it; the code holds them constant.
- The task loss is the squared error of the paper and of both codes, not the L1 of the other models.
- Parts of absent modalities are seen by no attention and no loss, and are zero in the fusion.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dmd_model.batch import Batch
from dmd_model.config import Training
from dmd_model.discrepancy import central_moments, soft_orthogonality
from dmd_model.heads import mlp_head
from dmd_model.model import Model, Output
from dmd_model.recurrent import Recurrent, inside, masked_mean
from dmd_model.transformer import StackedLinear

PAIRS = ([0, 0, 1], [1, 2, 2])  # of modalities


@dataclass(frozen=True)
class MISAConfig:
    """Defaults are MMSA's for MOSI. Widths are in units."""

    lengths: tuple[int, int, int] = (50, 50, 50)  # longest sequences of text, vision and audio, in words
    d: int = 128  # a multiple of heads
    heads: int = 2
    feedforward: int = 2048  # width within the transformer layer
    transformer_dropout: float = 0.1
    head_dropout: float = 0.2

    difference_weight: float = 0.1
    similarity_weight: float = 0.3
    reconstruction_weight: float = 1.0


@dataclass(frozen=True)
class MISAOutput(Output):
    """``prediction`` [B]; the vectors of the modalities, their parts and what these give again are [3, B, d]."""

    vectors: Tensor
    private: Tensor
    shared: Tensor
    reconstructed: Tensor
    there: Tensor  # bool [3, B]


class MISA(Model):
    """Encoders, their two projections, and the fusion of the six parts."""

    PRESETS = {
        "mosi": (MISAConfig(), Training(batch_size=16, learning_rate=1e-4, accumulate=2, clip_value=0.8)),
        "mosei": (
            MISAConfig(head_dropout=0.5, difference_weight=0.3, similarity_weight=0.8),
            Training(batch_size=64, learning_rate=1e-4, accumulate=2, clip_value=0.8),
        ),
    }

    def __init__(self, config: MISAConfig, columns: tuple[int, int, int]):
        super().__init__()
        self.config, d = config, config.d
        text, vision, audio = columns
        self.vision, self.audio = SequenceEncoder(vision), SequenceEncoder(audio)
        self.projections = nn.ModuleList(
            nn.Sequential(nn.Linear(width, d), nn.ReLU(), nn.LayerNorm(d))
            for width in (text, self.vision.width, self.audio.width)
        )
        self.private = StackedLinear(3, d, d)
        self.shared = nn.Linear(d, d)
        self.reconstruction = StackedLinear(3, d, d)
        self.transformer = nn.TransformerEncoderLayer(d, config.heads, config.feedforward, config.transformer_dropout)
        self.head = mlp_head(6 * d, 3 * d, config.head_dropout)

    def forward(self, batch: Batch) -> MISAOutput:
        """The prediction [B], with private, shared and reconstructed vectors [3, B, d]."""
        lengths, there = batch.lengths, batch.lengths > 0
        encoded = (
            masked_mean(batch.text, inside(lengths[0], batch.text.shape[1])),
            self.vision(batch.vision, lengths[1]),
            self.audio(batch.audio, lengths[2]),
        )
        vectors = torch.stack([project(x) for project, x in zip(self.projections, encoded, strict=True)])  # [3, B, d]
        private, shared = self.private(vectors).sigmoid(), self.shared(vectors).sigmoid()
        return MISAOutput(
            prediction=self._fuse(torch.cat([private, shared]), there.repeat(2, 1)),
            vectors=vectors,
            private=private,
            shared=shared,
            reconstructed=self.reconstruction(private + shared),
            there=there,
        )

    def losses(self, output: MISAOutput, labels: Tensor) -> dict[str, Tensor]:
        """Task (squared error), difference, similarity and reconstruction, and their weighted sum ``total``."""
        config, private, shared, there = self.config, output.private, output.shared, output.there
        one, other = PAIRS
        both = there[one] & there[other]  # [3, B]
        apart = (torch.cat([private, private[one]]), torch.cat([shared, private[other]]), torch.cat([there, both]))
        differences = [soft_orthogonality(x, y, kept=kept) for x, y, kept in zip(*apart, strict=True)]
        alike = (shared[one], shared[other], both)
        similarities = [central_moments(x, y, kept=kept) for x, y, kept in zip(*alike, strict=True)]
        errors = (output.reconstructed - output.vectors).square().mean(dim=2) * there  # [3, B]
        terms = {
            "task": (output.prediction - labels).square().mean(),
            "difference": torch.stack(differences).sum(),
            "similarity": torch.stack(similarities).mean(),
            "reconstruction": (errors.sum(dim=1) / there.sum(dim=1).clamp(min=1)).mean(),
        }
        total = (terms["task"] + config.difference_weight * terms["difference"]
                 + config.similarity_weight * terms["similarity"]
                 + config.reconstruction_weight * terms["reconstruction"])  # fmt: skip
        return {"total": total, **terms}

    def _fuse(self, parts: Tensor, there: Tensor) -> Tensor:
        """Six parts [6, B, d], of which ``there`` [6, B], to a prediction [B]."""
        attended = self.transformer(parts, src_key_padding_mask=~there.T) * there[..., None]
        return self.head(attended.transpose(0, 1).flatten(1)).squeeze(-1)


class SequenceEncoder(nn.Module):
    """Two bidirectional LSTMs of the input's width, normed in between; their final states: [B, T, D] -> [B, 4D]."""

    def __init__(self, width: int):
        super().__init__()
        self.first = Recurrent(width, width, bidirectional=True)
        self.norm = nn.LayerNorm(self.first.width)
        self.second = Recurrent(self.first.width, width, bidirectional=True)
        self.width = self.first.width + self.second.width

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        states, first = self.first(x, lengths)
        _, second = self.second(self.norm(states), lengths)
        return torch.cat([first, second], dim=1)
