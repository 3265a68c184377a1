"""FDMER, Feature-Disentangled Multimodal Emotion Recognition (Yang, Huang, Kuang, Du and Zhang, ACM MM 2022).

Each modality becomes a vector, of which a shared encoder takes what is common and a private one what is its own. A
discriminator that tells modalities apart must fail on common and succeed on private parts; common parts shall agree,
private parts shall differ from them. Attention over the six parts gives each its weight in the prediction.

Shapes: M = 3 modalities (text, vision, audio), B batch, T steps of the longest modality, d width.

There is no official code. Uncertain in the source, and chosen here:
 - Word features are given, so text has a transformer encoder like vision and audio (the paper fine-tunes BERT): a
   linear map to width d, two layers of self-attention, the mean over steps.
 - Both encoders are one linear layer with tanh: bounded, so that the discriminator is not won over by size.
 - One discriminator of two layers sees both parts, the common ones through a gradient reversal; cross-entropy.
 - Consistency: mean squared difference of the matrices of cosines between samples, for pairs of modalities.
 - Disparity: soft orthogonality over the batch, HSIC with linear kernels but for the unit length of the vectors.
 - Nothing is reconstructed, as the paper's losses are understood to be these alone.
 - Fusion: one layer of self-attention over the six parts, then a mean with weights that a linear score gives.
 - The task loss is L1, as in the other models; the weights of the other losses are 0.1.
 - Parts of a modality that a sample does not have are seen by no attention and no loss.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dmd_model.baselines.projected import ProjectionConfig
from dmd_model.batch import Batch
from dmd_model.config import Training
from dmd_model.discrepancy import soft_orthogonality
from dmd_model.heads import mlp_head
from dmd_model.model import Model, Output
from dmd_model.projection import Projection
from dmd_model.transformer import EncoderBank, StackedLinear

PAIRS = ([0, 0, 1], [1, 2, 2])  # of modalities


@dataclass(frozen=True)
class FDMERConfig(ProjectionConfig):
    """Width after the paper; the rest is a guess."""

    d: int = 128
    heads: int = 8
    layers: int = 2  # of the encoders of the modalities
    attention_dropout: float = 0.1
    embed_dropout: float = 0.1
    relu_dropout: float = 0.1
    residual_dropout: float = 0.1
    output_dropout: float = 0.2

    adversarial_weight: float = 0.1
    disparity_weight: float = 0.1
    consistency_weight: float = 0.1


@dataclass(frozen=True)
class FDMEROutput(Output):
    """``prediction`` [B], and what the losses compare."""

    common: Tensor  # [M, B, d]
    private: Tensor  # [M, B, d]
    modality_logits: Tensor  # [2, M, B, 3]: of common parts (through the reversal) and of private parts
    there: Tensor  # bool [M, B]


class FDMER(Model):
    """Encoders, disentangling, discriminator, attention over the parts."""

    PRESETS = {
        "mosi": (FDMERConfig(), Training(batch_size=32, learning_rate=1e-4)),
        "mosei": (FDMERConfig(), Training(batch_size=64, learning_rate=1e-4)),
    }

    def __init__(self, config: FDMERConfig, columns: tuple[int, int, int]):
        super().__init__()
        self.config, d = config, config.d
        drops = (config.embed_dropout, config.relu_dropout, config.residual_dropout)
        self.projection = Projection(columns, config.d, config.kernels, config.input_dropout)
        self.encoders = EncoderBank(3, 3, d, config.heads, config.layers, [config.attention_dropout] * 3, *drops)
        self.common = nn.Linear(d, d)
        self.private = StackedLinear(3, d, d)
        self.discriminator = nn.Sequential(nn.Linear(d, d), nn.ReLU(), nn.Linear(d, 3))
        self.fusion = EncoderBank(1, 1, d, config.heads, 1, [config.attention_dropout], *drops)
        self.score = nn.Linear(d, 1, bias=False)  # softmax would not see a bias
        self.head = mlp_head(d, d, config.output_dropout)

    def forward(self, batch: Batch) -> FDMEROutput:
        """The prediction [B], with the common and private parts that the losses need."""
        vectors, there = self._encode(batch)
        common = self.common(vectors).tanh()  # [M, B, d]
        private = self.private(vectors).tanh()
        return FDMEROutput(
            prediction=self.head(self._fuse(torch.cat([common, private]), there.repeat(2, 1))).squeeze(-1),
            common=common,
            private=private,
            modality_logits=self.discriminator(torch.stack([ReverseGradient.apply(common), private])),
            there=there,
        )

    def losses(self, output: FDMEROutput, labels: Tensor) -> dict[str, Tensor]:
        """``adversarial`` is of the common parts, which learn to raise it, ``discrimination`` of the private ones."""
        config, there = self.config, output.there
        adversarial, discrimination = modality_errors(output.modality_logits, there)
        disparities = [
            soft_orthogonality(common[kept], private[kept])
            for common, private, kept in zip(output.common, output.private, there, strict=True)
        ]
        terms = {
            "task": (output.prediction - labels).abs().mean(),
            "adversarial": adversarial,
            "discrimination": discrimination,
            "disparity": torch.stack(disparities).mean(),
            "consistency": consistency(output.common, there),
        }
        total = (terms["task"] + config.adversarial_weight * (adversarial + discrimination)
                 + config.disparity_weight * terms["disparity"]
                 + config.consistency_weight * terms["consistency"])  # fmt: skip
        return {"total": total, **terms}

    def _encode(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """One vector for each modality, [M, B, d], and which are there, bool [M, B]."""
        x, present = self.projection(batch.sequences, batch.lengths)
        encoded = self.encoders(x, None, present[:, :, None]) * present[..., None]  # [M, B, T, d]
        counts = present.sum(dim=2)  # [M, B]
        return encoded.sum(dim=2) / counts.clamp(min=1)[..., None], counts > 0

    def _fuse(self, parts: Tensor, there: Tensor) -> Tensor:
        """[6, B, d], of which ``there`` [6, B], to [B, d]."""
        tokens, kept = parts.transpose(0, 1), there.T  # [B, 6, d], [B, 6]
        attended = self.fusion(tokens[None], None, kept[None, :, None]).squeeze(0)  # [B, 6, d]
        scores = self.score(attended).masked_fill(~kept[..., None], torch.finfo(attended.dtype).min)
        return (scores.softmax(dim=1) * attended).sum(dim=1)


class ReverseGradient(torch.autograd.Function):
    """The identity, whose gradient is negated: what lies before it learns to make the loss larger."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        return -gradient


def modality_errors(logits: Tensor, there: Tensor) -> Tensor:
    """Mean cross-entropy [K] of ``logits`` [K, M, B, 3] of the modality, over the vectors that are ``there`` [M, B]."""
    errors = -logits.log_softmax(dim=-1).diagonal(dim1=1, dim2=3)  # [K, B, M]
    return (errors * there.T).sum(dim=(1, 2)) / there.sum().clamp(min=1)


def consistency(common: Tensor, there: Tensor) -> Tensor:
    """How unlike the cosines between samples are in two modalities: [M, B, d], of which ``there`` [M, B], to a mean."""
    unit = F.normalize(common, dim=-1, eps=1e-6)
    similarity = unit @ unit.mT  # [M, B, B]
    both = there[PAIRS[0]] & there[PAIRS[1]]  # [3, B]
    counted = both[:, :, None] & both[:, None]  # [3, B, B]
    return ((similarity[PAIRS[0]] - similarity[PAIRS[1]]).square() * counted).sum() / counted.sum().clamp(min=1)
