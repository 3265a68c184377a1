"""PMR, Progressive Modality Reinforcement (Lv, Chen, Huang, Duan and Lin, CVPR 2021).

A message hub holds what the modalities have in common. In every layer each modality is reinforced by the hub, through
a dynamic filter that decides how much of the message passes; then the hub is reinforced by the modalities.

Shapes: M = 3 modalities (text, vision, audio), B batch, T steps of the longest modality, d common width.

There is no official code. Uncertain in the source, and chosen here:
 - The first message is the three projected sequences, one after the other: 3T steps.
 - The filter is a gate for each element, sigmoid(W [own; heard] + b), between what the modality hears from itself and
   what it hears from the hub: x + (1 - gate) own + gate heard; a feed-forward net follows.
 - The hub adds up what it hears from each modality by attentions of their own; a feed-forward net follows. The last
   layer has no such update, since the prediction is read from the modalities.
 - Norms come before attention and feed-forward nets, as in MulT.
 - The last valid step of each modality is read, normed and concatenated; MulT's residual head predicts.
 - A modality that a sample does not have says nothing to the hub, and its summary is zero.
 - Sizes and optimiser settings are those of MulT's paper and official code; dropouts are a guess, the stronger ones for
   the smaller data set.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dmd_model.baselines.attention import Attention, FeedForward
from dmd_model.baselines.projected import ProjectionConfig
from dmd_model.batch import Batch
from dmd_model.config import Training
from dmd_model.dropout import dropout
from dmd_model.heads import ResidualHead
from dmd_model.model import Model, Output
from dmd_model.projection import Projection, last_steps
from dmd_model.transformer import StackedLinear, StackedNorm, at_step, normalise, positions


@dataclass(frozen=True)
class PMRConfig(ProjectionConfig):
    """Sizes are those of the paper of MulT; PMR's own are not known."""

    layers: int = 4
    kernels: tuple[int, int, int] = (3, 3, 3)
    input_dropout: tuple[float, float, float] = (0.3, 0.0, 0.0)
    attention_dropout: float = 0.2
    embed_dropout: float = 0.2
    relu_dropout: float = 0.1
    residual_dropout: float = 0.1
    output_dropout: float = 0.2


class PMR(Model):
    """Projection, layers of reinforcement with hub updates in between, residual head."""

    never_waits = True
    PRESETS = {
        "mosi": (PMRConfig(), Training(batch_size=32, learning_rate=1e-3, clip_value=0.8)),
        "mosei": (
            PMRConfig(input_dropout=(0.1, 0.0, 0.0), attention_dropout=0.1, embed_dropout=0.1, output_dropout=0.1),
            Training(batch_size=32, learning_rate=1e-3, clip_value=0.8),
        ),
    }

    def __init__(self, config: PMRConfig, columns: tuple[int, int, int]):
        super().__init__()
        self.config = config
        self.projection = Projection(columns, config.d, config.kernels, config.input_dropout)
        self.reinforcements = nn.ModuleList(Reinforcement(config) for _ in range(config.layers))
        self.updates = nn.ModuleList(HubUpdate(config) for _ in range(config.layers - 1))
        self.final_norm = StackedNorm(3, config.d)
        self.head = ResidualHead(3 * config.d, 3 * config.d, config.output_dropout)

    def forward(self, batch: Batch) -> Output:
        """The prediction [B]: modalities and hub reinforce one another layer by layer."""
        x, present = self.projection(batch.sequences, batch.lengths)
        x = dropout(x * x.shape[-1] ** 0.5 + positions(x), self.config.embed_dropout, self.training)
        hub, hub_present = (y.transpose(0, 1).flatten(1, 2)[None] for y in (x, present))  # [1, B, 3T, d], [1, B, 3T]
        x = self.reinforcements[0](x, hub, present, hub_present)
        for update, reinforcement in zip(self.updates, self.reinforcements[1:], strict=True):
            hub = update(hub, x, present)
            x = reinforcement(x, hub, present, hub_present)
        last = at_step(x, last_steps(present))  # [M, B, 1, d]
        summaries = (self.final_norm(normalise(last)) * present.any(dim=2)[..., None, None]).squeeze(2)
        return Output(self.head(summaries.transpose(0, 1).flatten(1))[2])


class Reinforcement(nn.Module):
    """Each modality hears itself and the hub, and filters what it heard."""

    def __init__(self, config: PMRConfig):
        super().__init__()
        self.residual_dropout = config.residual_dropout
        self.norm, self.hub_norm = StackedNorm(3, config.d), StackedNorm(3, config.d)
        self.own = Attention(3, config.d, config.heads, config.attention_dropout)
        self.heard = Attention(3, config.d, config.heads, config.attention_dropout)
        self.filter = StackedLinear(3, 2 * config.d, config.d)
        self.feedforward = FeedForward(3, config.d, config.relu_dropout, config.residual_dropout)

    def forward(self, x: Tensor, hub: Tensor, present: Tensor, hub_present: Tensor) -> Tensor:
        """``x`` [M, B, T, d] with ``present`` [M, B, T], ``hub`` [1, B, 3T, d] with ``hub_present`` [1, B, 3T]."""
        normed = self.norm(normalise(x))
        own = self.own(normed, normed, present)
        heard = self.heard(normed, self.hub_norm(normalise(hub)), hub_present)
        gate = self.filter(torch.cat([own, heard], dim=-1)).sigmoid()  # [M, B, T, d]
        return self.feedforward(x + dropout(own.lerp(heard, gate), self.residual_dropout, self.training))


class HubUpdate(nn.Module):
    """The hub hears each reinforced modality."""

    def __init__(self, config: PMRConfig):
        super().__init__()
        self.residual_dropout = config.residual_dropout
        self.norm, self.source_norm = StackedNorm(3, config.d), StackedNorm(3, config.d)
        self.attention = Attention(3, config.d, config.heads, config.attention_dropout)
        self.feedforward = FeedForward(1, config.d, config.relu_dropout, config.residual_dropout)

    def forward(self, hub: Tensor, x: Tensor, present: Tensor) -> Tensor:
        """``hub`` [1, B, 3T, d], ``x`` [M, B, T, d] with ``present`` [M, B, T]: the new hub [1, B, 3T, d]."""
        heard = self.attention(self.norm(normalise(hub)), self.source_norm(normalise(x)), present)  # [M, B, 3T, d]
        return self.feedforward(hub + dropout(heard.sum(dim=0), self.residual_dropout, self.training))
