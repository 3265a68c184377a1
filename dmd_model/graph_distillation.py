"""The graph distillation unit: modalities teach one another along learned, directed edges.

Nodes are the three modalities; an edge from a teacher to a student carries a weight that depends on the sample. HomoGD
is this unit on the common parts, HeteroGD on the specific parts after cross-modal attention (Li, Wang and Cui, CVPR
2023).
Shapes: M = 3 modalities, B batch, K = 6 edges, h width of a representation, g hidden width of the unit.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dmd_model.config import DMDConfig
from dmd_model.losses import cosine
from dmd_model.transformer import pick

STUDENTS, TEACHERS = (0, 0, 1, 1, 2, 2), (1, 2, 0, 2, 0, 1)
EDGES = tuple(f"{'LVA'[teacher]}→{'LVA'[student]}" for student, teacher in zip(STUDENTS, TEACHERS, strict=True))
# The official prior, before its softmax: text teaches both others; in HeteroGD vision teaches audio, too.
HOMO_PRIOR, HETERO_PRIOR = (0, 0, 1, 0, 1, 0), (0, 0, 1, 0, 1, 1)
_PRIOR_TEMPERATURE = 0.25


@dataclass(frozen=True)
class Distillation:
    """What one unit says of a batch: its edge weights [K, B] (order of ``EDGES``) and its three loss terms."""

    edges: Tensor
    logit: Tensor
    representation: Tensor
    regularisation: Tensor


class GraphDistillation(nn.Module):
    """Edge weights from logits and representations, and the losses of student against teacher along the edges."""

    def __init__(self, config: DMDConfig, width: int, hidden: int, hand_set: tuple[int, ...], representation: str):
        super().__init__()
        self.config, self.representation = config, representation
        self.embed_logit = nn.Linear(max(1, len(config.emotions)), hidden)
        self.embed_representation = nn.Linear(width, hidden)
        self.edge = nn.Linear(4 * hidden, 1)  # of the student's 2g features, then of the teacher's
        self.register_buffer("prior", edge_prior(config, hand_set), persistent=False)  # [K]

    def forward(self, logits: Tensor, representations: Tensor, there: Tensor) -> Distillation:
        """``logits`` [M, B] or [M, B, E], ``representations`` [M, B, h], ``there`` bool [M, B or 1]: what exists.

        No gradient reaches a teacher but through the edges. An edge of an absent modality weighs nothing, and only
        samples with all three modalities are held to the prior.
        """
        logits = logits if logits.dim() == 3 else logits.unsqueeze(-1)  # [M, B, E]
        exists = pick(there, STUDENTS) & pick(there, TEACHERS)  # [K, B or 1]
        edges = self.edges(logits, representations, exists)
        complete = there.all(dim=0).expand(logits.shape[1])  # [B]
        mean = (edges * complete).sum(dim=1) / complete.sum().clamp(min=1)  # [K]
        weights = (edges + self.prior[:, None]) * exists if self.config.edge_prior == "hand_set" else edges
        student, teacher = pick(logits, STUDENTS), pick(logits.detach(), TEACHERS)  # [K, B, E]
        return Distillation(
            edges=edges,
            logit=(weights * (student - teacher).abs().mean(dim=2)).mean(dim=1).sum(),
            representation=self._representation_loss(weights, representations, exists),
            regularisation=self.config.edge_regularisation * ((mean - self.prior) * complete.any()).square().sum(),
        )

    def edges(self, logits: Tensor, representations: Tensor, exists: Tensor) -> Tensor:
        """Weights of the six edges for each sample, [K, B]; 0 for edges that do not exist. ``logits`` [M, B, E]."""
        nodes = torch.cat([self.embed_logit(logits), self.embed_representation(representations)], dim=-1)  # [M, B, 2g]
        as_student, as_teacher = (nodes @ self.edge.weight.view(2, -1).T).unbind(dim=-1)  # [M, B] each
        raw = pick(as_student, STUDENTS) + pick(as_teacher, TEACHERS) + self.edge.bias  # [K, B]
        lowest = torch.finfo(raw.dtype).min  # not -inf: where no edge exists, the softmax must stay finite
        return _softmax((raw / self.config.edge_temperature).masked_fill(~exists, lowest), self.config) * exists

    def _representation_loss(self, weights: Tensor, representations: Tensor, exists: Tensor) -> Tensor:
        student, teacher = pick(representations, STUDENTS), pick(representations.detach(), TEACHERS)  # [K, B, h]
        if self.representation == "l1":
            return (weights * (student - teacher).abs().sum(dim=-1)).mean(dim=1).sum()
        similarity = cosine(student, teacher, dim=-1)  # [K, B]
        if self.representation == "repel":  # the official cosine is averaged before it is weighted
            return (weights.mean(dim=1) * (similarity.relu() * exists).mean(dim=1)).sum()
        return (weights * (1 - similarity)).mean(dim=1).sum()


def edge_prior(config: DMDConfig, hand_set: tuple[int, ...]) -> Tensor:
    """The edge weights [K] to which a unit is drawn; ``hand_set`` is HOMO_PRIOR or HETERO_PRIOR."""
    prior = torch.tensor(hand_set if config.edge_prior == "hand_set" else [0] * 6) / _PRIOR_TEMPERATURE
    return _softmax(prior[:, None], config).squeeze(1)


def _softmax(raw: Tensor, config: DMDConfig) -> Tensor:
    """Edge weights of raw edges, [K, B], over all edges or over those to one student."""
    if config.edge_softmax == "joint":
        return raw.softmax(dim=0)
    return raw.unflatten(0, (3, 2)).softmax(dim=1).flatten(0, 1)
