"""MulT, the Multimodal Transformer (Tsai, Bai, Liang, Kolter, Morency and Salakhutdinov, ACL 2019, arXiv 1906.00295).

Each modality, projected to one width, is told what each other one says by a cross-modal transformer, six in all. The
two sequences of a target are put side by side and read by a transformer of their own, whose last steps are the summary.

Shapes: M = 3 modalities (text, vision, audio), B batch, T steps of the longest modality, d common width.

Sizes, dropouts and optimiser settings are those of MMSA's configuration (thuiar/MMSA). Chosen here:
 - Padding takes no part, and the last valid step is read; the official code reads padding like words.
 - Every step sees every valid step of the source. The official code bars the future beyond |T_target - T_source| steps,
   of which the paper says nothing.
 - No weight decay: MMSA's configuration names one, but its optimiser is made without it.
 - Convolutions keep the length, official ones shorten it.
 - A modality that a sample does not have has a summary of zero, and tells the others nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from dmd_model.baselines.projected import ProjectionConfig
from dmd_model.batch import Batch
from dmd_model.config import Training
from dmd_model.dmd import CROSS
from dmd_model.heads import ResidualHead
from dmd_model.model import Model, Output
from dmd_model.projection import Projection, last_steps
from dmd_model.transformer import EncoderBank, pick

TARGETS, SOURCES = (list(side) for side in zip(*CROSS, strict=True))


@dataclass(frozen=True)
class MulTConfig(ProjectionConfig):
    """Defaults are MMSA's settings for MOSI."""

    d: int = 50
    heads: int = 10
    layers: int = 4  # of the cross-modal and of the memory encoders alike
    kernels: tuple[int, int, int] = (5, 5, 5)
    input_dropout: tuple[float, float, float] = (0.5, 0.0, 0.0)
    attention_dropout: tuple[float, float, float] = (0.3, 0.0, 0.2)  # by the modality that is attended to
    memory_attention_dropout: float = 0.3
    embed_dropout: float = 0.2
    relu_dropout: float = 0.0
    residual_dropout: float = 0.0
    output_dropout: float = 0.5


class MulT(Model):
    """Six cross-modal encoders, three memory encoders, a residual head."""

    never_waits = True
    PRESETS = {
        "mosi": (MulTConfig(), Training(batch_size=16, accumulate=8, learning_rate=2e-3, clip_value=0.6)),
        "mosei": (
            MulTConfig(
                d=30, heads=6, kernels=(5, 3, 1), input_dropout=(0.3, 0.0, 0.0), attention_dropout=(0.4, 0.0, 0.0),
                memory_attention_dropout=0.4, embed_dropout=0.0,
            ),
            # MMSA: 8 batches of 4 in an optimiser step, which is the same step, more slowly
            Training(batch_size=16, accumulate=2, learning_rate=5e-4, clip_value=0.6),
        ),
    }  # fmt: skip

    def __init__(self, config: MulTConfig, columns: tuple[int, int, int]):
        super().__init__()
        self.config = config
        self.projection = Projection(columns, config.d, config.kernels, config.input_dropout)
        self.crossmodal = EncoderBank(
            6, 0, config.d, config.heads, config.layers, [config.attention_dropout[source] for source in SOURCES],
            config.embed_dropout, config.relu_dropout, config.residual_dropout,
        )  # fmt: skip
        self.memory = Memory(config)

    def forward(self, batch: Batch) -> Output:
        """The prediction [B] of a batch."""
        x, present = self.projection(batch.sequences, batch.lengths)
        crossed = self.crossmodal(
            pick(x, TARGETS), pick(x, SOURCES), pick(present, SOURCES)[:, :, None]
        )  # [6, B, T, d]
        return Output(self.memory(crossed, present))


class Memory(nn.Module):
    """From the six crossed sequences to the prediction; ``config`` is that of a model that has MulT's second half."""

    def __init__(self, config: MulTConfig):
        super().__init__()
        self.encoders = EncoderBank(
            3, 3, 2 * config.d, config.heads, config.layers, [config.memory_attention_dropout] * 3,
            config.embed_dropout, config.relu_dropout, config.residual_dropout,
        )  # fmt: skip
        self.head = ResidualHead(6 * config.d, 6 * config.d, config.output_dropout)

    def forward(self, crossed: Tensor, present: Tensor) -> Tensor:
        """``crossed`` [6, B, T, d] in the order of ``CROSS``, ``present`` bool [M, B, T]: prediction [B]."""
        pairs = crossed.unflatten(0, (3, 2)).permute(0, 2, 3, 1, 4).flatten(3)  # [M, B, T, 2d]
        summaries = self.encoders(pairs, None, present[:, :, None], read=last_steps(present))  # [M, B, 2d]
        summaries = summaries * present.any(dim=2)[..., None]
        return self.head(summaries.transpose(0, 1).flatten(1))[2]
