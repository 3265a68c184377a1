"""MICA, Modality-Invariant Crossmodal Attention (Liang, Lin, Feng, Zhang and Lv, ICCV 2021, "Attention is not Enough").

MulT, whose cross-modal attention compares queries and keys of unlike distributions. Here both are drawn into one space:
their marginal distributions are matched, and pairs of elements that surely belong together are pulled together.

Shapes: M = 3 modalities (text, vision, audio), S = 6 streams, L layers, B batch, T steps, d common width.

There is no official code. Uncertain in the source, and chosen here:
 - The six cross-modal encoders are aligned in every layer, over the full width of query and key (all heads).
 - Marginal: maximum mean discrepancy between the queries and the keys of a batch, each averaged over the steps of a
   sample; five Gaussian kernels around the mean squared distance.
 - Elements: a query and a key of one sample are a sure pair if each is the nearest of the other by cosine.
   Cross-entropy over the keys of the sample pulls the pair together and pushes the other keys away.
 - Both terms have the weight 0.1. A stream counts where a sample has both of its modalities.
 - Memory encoders and head are those of MulT, sizes and optimiser settings those of its paper and official code;
   dropouts are a guess, the stronger ones for the smaller data set.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dmd_model.baselines.attention import Attention, FeedForward
from dmd_model.baselines.mult import SOURCES, TARGETS, Memory
from dmd_model.baselines.projected import ProjectionConfig
from dmd_model.batch import Batch
from dmd_model.config import Training
from dmd_model.dropout import dropout
from dmd_model.model import Model, Output
from dmd_model.projection import Projection
from dmd_model.transformer import StackedNorm, normalise, pick, positions

BANDWIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)  # of the kernels, in mean squared distances
TEMPERATURE = 0.1  # of the cosines that choose between keys


@dataclass(frozen=True)
class MICAConfig(ProjectionConfig):
    """Sizes are those of the paper of MulT; MICA's own are not known."""

    layers: int = 4  # of the cross-modal and of the memory encoders alike
    kernels: tuple[int, int, int] = (3, 3, 3)
    input_dropout: tuple[float, float, float] = (0.3, 0.0, 0.0)
    attention_dropout: float = 0.2
    memory_attention_dropout: float = 0.2
    embed_dropout: float = 0.2
    relu_dropout: float = 0.1
    residual_dropout: float = 0.1
    output_dropout: float = 0.2

    marginal_weight: float = 0.1
    element_weight: float = 0.1


@dataclass(frozen=True)
class MICAOutput(Output):
    """``prediction`` [B], and what the losses align, of L layers and S streams."""

    queries: Tensor  # [L, S, B, T, d]
    keys: Tensor  # [L, S, B, T, d]
    present: Tensor  # bool [M, B, T]


class MICA(Model):
    """MulT with aligned queries and keys."""

    never_waits = True
    PRESETS = {
        "mosi": (MICAConfig(), Training(batch_size=32, learning_rate=1e-3, clip_value=0.8)),
        "mosei": (
            MICAConfig(
                input_dropout=(0.1, 0.0, 0.0), attention_dropout=0.1, memory_attention_dropout=0.1, embed_dropout=0.1,
                output_dropout=0.1,
            ),
            Training(batch_size=32, learning_rate=1e-3, clip_value=0.8),
        ),
    }  # fmt: skip

    def __init__(self, config: MICAConfig, columns: tuple[int, int, int]):
        super().__init__()
        self.config = config
        self.projection = Projection(columns, config.d, config.kernels, config.input_dropout)
        self.layers = nn.ModuleList(CrossmodalLayer(config) for _ in range(config.layers))
        self.final_norm = StackedNorm(6, config.d)
        self.memory = Memory(config)

    def forward(self, batch: Batch) -> MICAOutput:
        """The prediction [B], with every layer's queries and keys, which the losses align."""
        projected, present = self.projection(batch.sequences, batch.lengths)
        x = self._embed(pick(projected, TARGETS))  # [S, B, T, d]
        source = normalise(self._embed(pick(projected, SOURCES)))
        queries, keys = [], []
        for layer in self.layers:
            x, query, key = layer(x, source, pick(present, SOURCES))
            queries.append(query)
            keys.append(key)
        prediction = self.memory(self.final_norm(normalise(x)), present)
        return MICAOutput(prediction, torch.stack(queries), torch.stack(keys), present)

    def losses(self, output: MICAOutput, labels: Tensor) -> dict[str, Tensor]:
        """``marginal`` is a mean over layers and streams, ``element`` over the sure pairs of all of them."""
        asking, asked = pick(output.present, TARGETS), pick(output.present, SOURCES)  # [S, B, T]
        terms = {
            "task": (output.prediction - labels).abs().mean(),
            "marginal": marginal_discrepancy(
                _mean_step(output.queries, asking), _mean_step(output.keys, asked), asking.any(2) & asked.any(2)
            ),
            "element": element_discrepancy(output.queries, output.keys, asking[..., None] & asked[..., None, :]),
        }
        total = (terms["task"] + self.config.marginal_weight * terms["marginal"]
                 + self.config.element_weight * terms["element"])  # fmt: skip
        return {"total": total, **terms}

    def _embed(self, x: Tensor) -> Tensor:
        return dropout(x * x.shape[-1] ** 0.5 + positions(x), self.config.embed_dropout, self.training)


class CrossmodalLayer(nn.Module):
    """One layer of six cross-modal encoders that shows its queries and keys."""

    def __init__(self, config: MICAConfig):
        super().__init__()
        self.residual_dropout = config.residual_dropout
        self.norm = StackedNorm(6, config.d)
        self.attention = Attention(6, config.d, config.heads, config.attention_dropout)
        self.feedforward = FeedForward(6, config.d, config.relu_dropout, config.residual_dropout)

    def forward(self, x: Tensor, source: Tensor, seen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``x`` and ``source``, normalised, [S, B, T, d], ``seen`` [S, B, T]: the new ``x``, queries and keys."""
        query, key, value = self.attention.project(self.norm(normalise(x)), self.norm(source))
        heard = self.attention.attend(query, key, value, seen)
        return self.feedforward(x + dropout(heard, self.residual_dropout, self.training)), query, key


def marginal_discrepancy(queries: Tensor, keys: Tensor, there: Tensor) -> Tensor:
    """Multi-kernel MMD of two sets [L, S, B, d], over the samples ``there`` [S, B]; mean over streams that have any."""
    x = torch.cat([queries, keys], dim=2)  # [L, S, 2B, d]
    share = (there / there.sum(dim=1, keepdim=True).clamp(min=1)).to(x.dtype)  # [S, B]
    sign = torch.cat([share, -share], dim=1)  # [S, 2B]; MMD is sign^T K sign
    distance = (x[:, :, :, None] - x[:, :, None]).square().sum(dim=-1)  # [L, S, 2B, 2B]
    mean = torch.einsum("lsij,si,sj->ls", distance.detach(), sign.abs(), sign.abs()) / 4
    scaled = distance / mean.clamp(min=1e-6)[..., None, None]
    kernel = torch.stack([(-scaled / bandwidth).exp() for bandwidth in BANDWIDTHS]).mean(dim=0)
    streams = len(x) * there.any(dim=1).sum()
    return torch.einsum("lsij,si,sj->", kernel, sign, sign) / streams.clamp(min=1)


def element_discrepancy(queries: Tensor, keys: Tensor, valid: Tensor) -> Tensor:
    """Cross-entropy of the sure pairs of [L, S, B, T, d]; ``valid`` [S, B, T_q, T_k]; mean over all sure pairs."""
    cosine = F.normalize(queries, dim=-1, eps=1e-6) @ F.normalize(keys, dim=-1, eps=1e-6).mT  # [L, S, B, T_q, T_k]
    cosine = cosine.masked_fill(~valid, -2.0)  # less than any cosine
    sure = (cosine == cosine.amax(dim=-1, keepdim=True)) & (cosine == cosine.amax(dim=-2, keepdim=True)) & valid
    choice = (cosine / TEMPERATURE).masked_fill(~valid, -1e4).log_softmax(dim=-1)
    return -(choice * sure).sum() / sure.sum().clamp(min=1)


def _mean_step(x: Tensor, present: Tensor) -> Tensor:
    """[L, S, B, T, d] -> [L, S, B, d] over the steps that are present [S, B, T]; zero where none is."""
    return (x * present[..., None]).sum(dim=3) / present.sum(dim=2).clamp(min=1)[..., None]
