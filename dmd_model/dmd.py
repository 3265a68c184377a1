"""DMD, Decoupled Multimodal Distilling (Li, Wang and Cui, CVPR 2023, arXiv 2303.13802), as its config describes it.

Shapes: M = 3 modalities (text, vision, audio), B batch, T steps of the longest modality, d common width.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from dmd_model import kernels, losses, parallel
from dmd_model.batch import Batch
from dmd_model.config import ABLATIONS, DMDConfig, Training
from dmd_model.decoupling import Decoupled, Decoupling
from dmd_model.encoder_layer import Weights
from dmd_model.graph_distillation import HETERO_PRIOR, HOMO_PRIOR, Distillation, GraphDistillation
from dmd_model.heads import ResidualHead
from dmd_model.model import Model, Output
from dmd_model.projection import last_steps
from dmd_model.recurrent import masked_mean
from dmd_model.transformer import EncoderBank, at_step, pick

# Cross-modal streams (target, source), in the order in which a target's memory encoder concatenates them.
CROSS = ((0, 2), (0, 1), (1, 0), (1, 2), (2, 0), (2, 1))


@dataclass(frozen=True)
class DMDOutput(Output):
    """Everything the losses need: predictions are [B], logits [M, B], representations [M, B, width].

    Of E emotions predictions are logits [B, E], and logits [M, B, E].
    """

    common_logit: Tensor
    homo_logits: Tensor
    homo_representations: Tensor
    hetero_logits: Tensor
    hetero_representations: Tensor
    memory: Tensor  # [M, B, 2d], the summaries of the specific streams
    margin_vectors: Tensor  # [M, B, d]
    sequences: Decoupled
    there: Tensor  # bool [M, B or 1], which modalities the samples have


class DMD(Model):
    """The network with its two graph distillation units, for any number of columns of each modality."""

    never_waits = True
    PRESETS = {
        "default": (DMDConfig(), Training()),
        "official-mosi": (DMDConfig.official("mosi"), Training.official()),
        "official-mosei": (DMDConfig.official("mosei"), Training.official()),
        "paper-mosi": (DMDConfig.paper("mosi"), Training.paper()),
        "paper-mosei": (DMDConfig.paper("mosei"), Training.paper()),
        **{preset: (DMDConfig(**{switch: False}), Training()) for preset, switch in ABLATIONS.items()},
    }

    def __init__(self, config: DMDConfig, columns: tuple[int, int, int]):
        super().__init__()
        self.config, d = config, config.d
        self.decoupling = Decoupling(config, columns)
        drops = (config.embed_dropout, config.relu_dropout, config.residual_dropout)
        attended = [0, 1, 2, *(source for _, source in CROSS)]
        self.streams = EncoderBank(
            9, 3, d, config.heads, config.layers, [config.attention_dropout[m] for m in attended], *drops
        )
        self.memories = EncoderBank(
            3, 3, 2 * d, config.heads, config.memory_layers, [config.memory_attention_dropout] * 3, *drops
        )
        flat = self.decoupling.steps() if config.time_reduction == "flatten" else (1, 1, 1)
        self.align = nn.ModuleList(nn.Linear(d * t, d) for t in flat)
        last = (config.output_dropout, max(1, len(config.emotions)))
        self.homo_heads = nn.ModuleList(ResidualHead(d * t, d, *last) for t in flat)
        self.hetero_heads = nn.ModuleList(ResidualHead(2 * d, 2 * d, *last) for _ in range(3))
        self.common_head = ResidualHead(3 * d, 3 * d, *last)
        self.fusion_weights = nn.ModuleList(nn.Linear(width, width) for width in (2 * d, 2 * d, 2 * d, 3 * d))
        self.fusion_head = ResidualHead(9 * d, 9 * d, *last)
        self.homo_unit = GraphDistillation(config, d, config.homo_hidden, HOMO_PRIOR, config.homo_representation)
        self.hetero_unit = GraphDistillation(
            config, 2 * d, config.hetero_hidden, HETERO_PRIOR, config.hetero_representation
        )

    @property
    def fixed_lengths(self) -> tuple[int, int, int] | None:
        """The configured ones where padding takes part, as in the official code; else None."""
        return None if self.config.mask_padding else self.config.lengths

    def forward(self, batch: Batch) -> DMDOutput:
        """The prediction [B] of a batch, with all that the losses and the graph distillation units need besides."""
        parts = self.decoupling(batch.sequences, batch.lengths)
        margin_vectors, homo_inputs = self._reduce_time(parts)
        homo = [head(x) for head, x in zip(self.homo_heads, homo_inputs, strict=True)]
        common, memory = self._encode(parts)  # [B, 3d], [M, B, 2d]
        _, _, common_logit = self.common_head(common)
        hetero = [head(x) for head, x in zip(self.hetero_heads, memory, strict=True)]
        features = torch.cat(
            [self._fuse(weight, x) for weight, x in zip(self.fusion_weights, (*memory, common), strict=True)], dim=1
        )  # [B, 9d]
        return DMDOutput(
            prediction=self.fusion_head(features)[2],
            common_logit=common_logit,
            homo_logits=torch.stack([logit for _, _, logit in homo]),
            homo_representations=torch.stack([hidden for hidden, _, _ in homo]),
            hetero_logits=torch.stack([logit for _, _, logit in hetero]),
            hetero_representations=torch.stack([total for _, total, _ in hetero]),
            memory=memory,
            margin_vectors=margin_vectors,
            sequences=parts,
            there=parts.present.any(dim=2),
        )

    def units(self, output: DMDOutput) -> tuple[Distillation, Distillation]:
        """The homogeneous and the heterogeneous unit on one batch."""
        return (
            self.homo_unit(output.homo_logits, output.homo_representations, output.there),
            self.hetero_unit(output.hetero_logits, output.hetero_representations, output.there),
        )

    def losses(self, output: DMDOutput, labels: Tensor) -> dict[str, Tensor]:
        """Every loss term by name, unweighted as in the paper's sums, and their weighted sum ``total``.

        ``edges_homo`` and ``edges_hetero`` [6], the mean edge weights of the batch, ride along for the record.
        """
        config, parts = self.config, output.sequences
        homo, hetero = self.units(output)
        terms = {
            "task": losses.error(output.prediction, labels).mean(),
            "auxiliary": losses.error_by_head(output.homo_logits, labels, output.there)
            + losses.error_by_head(output.hetero_logits, labels, output.there)
            + losses.error(output.common_logit, labels).mean(),
            "reconstruction": losses.squared_error(
                parts.reconstructed, parts.projected, parts.present, config.squared_norms
            ),
            "cycle": losses.squared_error(parts.specific, parts.specific_again, parts.present, config.squared_norms),
            "orthogonality": losses.orthogonality(
                parts.specific, parts.common, parts.present, config.ort_axis, config.ort_form
            ),
            "margin": losses.margin(
                output.margin_vectors, labels, output.there, config.triplet, config.margin_form, config.margin
            ),
        }
        for name, unit in (("homo", homo), ("hetero", hetero)):
            terms |= {f"{name}_logit": unit.logit, f"{name}_representation": unit.representation,
                      f"{name}_regularisation": unit.regularisation}  # fmt: skip
        edges = {"edges_homo": homo.edges.detach().mean(dim=1), "edges_hetero": hetero.edges.detach().mean(dim=1)}
        return {"total": self._total(terms), **terms, **edges}

    def _total(self, terms: dict[str, Tensor]) -> Tensor:
        config = self.config
        total = terms["task"] + config.auxiliary_weight * terms["auxiliary"]
        if config.feature_decoupling:
            total = total + config.decoupling_weight * (
                terms["cycle"] + terms["reconstruction"]
                + config.margin_ort_weight * (terms["margin"] + terms["orthogonality"])
            )  # fmt: skip
        for name, weight, switched_on in (
            ("homo", config.homo_representation_weight, config.homo_distillation),
            ("hetero", config.hetero_representation_weight, config.hetero_distillation),
        ):
            if switched_on:
                total = total + config.distillation_weight * (
                    terms[f"{name}_logit"] + terms[f"{name}_regularisation"] + weight * terms[f"{name}_representation"]
                )
        return total

    def _reduce_time(self, parts: Decoupled) -> tuple[Tensor, list[Tensor]]:
        """Common sequences as one vector each: for the margin loss [M, B, d], for the heads [B, d or T_m d]."""
        common = parts.common
        if self.config.time_reduction == "mean":
            heads = list(masked_mean(common, parts.present))
            return torch.stack([align(x) for align, x in zip(self.align, heads, strict=True)]), heads
        kept = [x[:, :steps] for x, steps in zip(common, self.decoupling.steps(), strict=True)]  # [B, T_m, d]
        channel_major = [x.transpose(1, 2).flatten(1) for x in kept]
        vectors = torch.stack([align(x) for align, x in zip(self.align, channel_major, strict=True)])
        return vectors, [x.flatten(1) for x in kept]

    def _encode(self, parts: Decoupled) -> tuple[Tensor, Tensor]:
        """Common parts through self-attention [B, 3d], specific ones through cross-modal attention [M, B, 2d]."""
        present, there = parts.present, parts.present.any(dim=2)[..., None]  # [M, B or 1, T], [M, B or 1, 1]
        targets = [target for target, _ in CROSS]
        sources = [source if self.config.crossmodal_attention else target for target, source in CROSS]
        seen = self._seen(present, [0, 1, 2, *targets], [0, 1, 2, *sources]), self._seen(present, [0, 1, 2], [0, 1, 2])
        read = None if self.config.summary == "mean" else last_steps(present).expand(3, parts.common.shape[1])  # [M, B]
        encode = self._side_by_side if kernels.serve(parts.common) else self._all_at_once
        common, memory = encode(parts, targets, sources, *seen, read)
        return (common * there).transpose(0, 1).flatten(1), memory * there

    def _all_at_once(
        self, parts: Decoupled, targets: list[int], sources: list[int], seen: Tensor, own: Tensor, read: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Summaries of the common parts [M, B, d] and of the specific ones [M, B, 2d], by two banks."""
        x = torch.cat([parts.common, pick(parts.specific, targets)])  # [9, B, T, d]
        encoded = self.streams(x, pick(parts.specific, sources), seen)
        crossed = encoded[3:].unflatten(0, (3, 2)).permute(0, 2, 3, 1, 4).flatten(3)  # [M, B, T, 2d]
        if read is None:
            return masked_mean(encoded[:3], parts.present), masked_mean(
                self.memories(crossed, None, own), parts.present
            )
        return at_step(encoded[:3], read).squeeze(2), self.memories(crossed, None, own, read=read)

    def _side_by_side(
        self, parts: Decoupled, targets: list[int], sources: list[int], seen: Tensor, own: Tensor, read: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The same on a CPU, by a call for each summary; the longer ones come first, so that threads end together."""
        streams, memories = self.streams.weights(), self.memories.weights()
        read = [None] * 3 if read is None else read
        specific = [
            (parts.specific[m], parts.specific[sources[2 * m]], parts.specific[sources[2 * m + 1]], seen[3 + 2 * m],
             seen[4 + 2 * m], own[m], parts.present[m], read[m], *streams[3 + 2 * m], *streams[4 + 2 * m], *memories[m])
            for m in range(3)
        ]  # fmt: skip
        common = [(parts.common[m], seen[m], parts.present[m], read[m], *streams[m]) for m in range(3)]
        functions = [partial(self._specific_summary, m) for m in range(3)] + [
            partial(self._summary, self.streams, m) for m in range(3)
        ]
        found = parallel.calls(functions, specific + common)
        return torch.stack(found[3:]), torch.stack(found[:3])

    def _specific_summary(
        self, m: int, x: Tensor, source: Tensor, other: Tensor, seen: Tensor, other_seen: Tensor, own: Tensor,
        present: Tensor, read: Tensor | None, *weights: Tensor,
    ) -> Tensor:  # fmt: skip
        """Of one modality: two cross-modal streams, side by side through the memory's encoder: [B, 2d]."""
        each = 2 + len(Weights._fields) * len(self.streams.layers)
        crossed = torch.cat([
            self.streams.encode(3 + 2 * m, x, source, seen, None, *weights[:each]),
            self.streams.encode(4 + 2 * m, x, other, other_seen, None, *weights[each : 2 * each]),
        ], dim=-1)  # [B, T, 2d]  # fmt: skip
        return self._summary(self.memories, m, crossed, own, present, read, *weights[2 * each :])

    def _summary(
        self,
        bank: EncoderBank,
        stream: int,
        x: Tensor,
        seen: Tensor,
        present: Tensor,
        read: Tensor | None,
        *weights: Tensor,
    ) -> Tensor:
        """[B, T, E] through an encoder that attends to itself: [B, E]."""
        encoded = bank.encode(stream, x, None, seen, read, *weights)
        return masked_mean(encoded, present) if read is None else encoded.squeeze(1)

    def _seen(self, present: Tensor, targets: list[int], sources: list[int]) -> Tensor:
        """Which steps of the source each step of the target may see, [S, B or 1, T or 1, T]."""
        seen = pick(present, sources)[:, :, None, :]
        if self.config.causal:
            steps = torch.arange(present.shape[-1], device=present.device)
            lengths = present.sum(dim=2)  # [M, B or 1]
            reach = (pick(lengths, targets) - pick(lengths, sources)).abs()[:, :, None, None]
            seen = seen & (steps - steps[:, None] <= reach)
        return seen

    def _fuse(self, weight: nn.Linear, x: Tensor) -> Tensor:
        gate = weight(x).sigmoid()
        return gate if self.config.fusion == "sigmoid" else gate * x
