"""Loss terms of feature decoupling.

Shapes: M = 3 modalities, B batch, T steps, d width, N = 3B vectors. ``present`` [M, B or 1, T]: which steps take part;
``there`` [M, B or 1]: which modalities do. A modality that no sample has adds nothing.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def cosine(x: Tensor, y: Tensor, dim: int) -> Tensor:
    """Cosine with PyTorch's 1e-12 on the squared norms, so that a zero vector has cosine 0 and a finite gradient."""
    squares = (x.square().sum(dim) + 1e-12) * (y.square().sum(dim) + 1e-12)
    return (x * y).sum(dim) / squares.sqrt()


def squared_error(x: Tensor, y: Tensor, present: Tensor, norms: str) -> Tensor:
    """Sum over modalities of the squared difference of [M, B, T, d], over the steps that take part.

    ``norms``: its ``mean`` over elements, or its ``sum`` (squared Frobenius norm) averaged over samples.
    """
    present = present.expand(x.shape[:-1])
    counts = present.sum(dim=(1, 2)) * x.shape[-1] if norms == "mean" else present.any(dim=2).sum(dim=1)  # [M]
    return ((x - y).square().sum(dim=(1, 2, 3)) / counts.clamp(min=1)).sum()


def error(logits: Tensor, labels: Tensor) -> Tensor:
    """Of each sample, [..., B]: |logit - label| of a sentiment, the mean cross-entropy of emotions [..., B, E]."""
    if labels.dim() == 1:
        return (logits - labels).abs()
    return F.binary_cross_entropy_with_logits(logits, labels.expand_as(logits), reduction="none").mean(dim=-1)


def error_by_head(logits: Tensor, labels: Tensor, there: Tensor) -> Tensor:
    """Sum over heads, logits [M, B] or [M, B, E], of the mean error over the samples that have the modality."""
    errors = error(logits, labels)  # [M, B]
    there = there.expand_as(errors)
    return ((errors * there).sum(dim=1) / there.sum(dim=1).clamp(min=1)).sum()


def orthogonality(specific: Tensor, common: Tensor, present: Tensor, axis: str, form: str) -> Tensor:
    """Sum over modalities of the mean of max(0, cos) (``hinge``) or cos^2 (``square``) of the two parts [M, B, T, d].

    The cosine runs over d for every step of every sample (``feature``), or over the batch for every step and channel
    (``batch``, what the official call amounts to in PyTorch up to 1.9).
    """
    similarity = cosine(specific, common, dim=1 if axis == "batch" else 3)  # [M, T, d] or [M, B, T]
    taking_part = present.any(dim=1)[..., None] if axis == "batch" else present
    penalty = similarity.relu() if form == "hinge" else similarity.square()
    taking_part = taking_part.expand(penalty.shape)
    return ((penalty * taking_part).sum(dim=(1, 2)) / taking_part.sum(dim=(1, 2)).clamp(min=1)).sum()


def margin(vectors: Tensor, labels: Tensor, there: Tensor, triplet: str, margin_form: str, margin: float) -> Tensor:
    """Triplet loss on cosines of the common parts, vectors [M, B, d].

    The margin is constant, or ``margin`` times the label distance. Of emotions, labels [B, E], the class is all of
    them, and the distance the number in which two samples differ. For every anchor i: mean over its positives p and
    negatives n of max(0, margin_in - cos_ip + cos_in); then the mean over anchors that have both. ``official``:
    positives have exactly the anchor's label, negatives any other, in any modality. ``paper``: positives have the
    anchor's class (rounded label) in another modality, negatives another class in the anchor's modality.
    """
    modalities, batch, _ = vectors.shape
    flat = vectors.flatten(0, 1)  # [N, d]
    unit = flat / (flat.square().sum(dim=1, keepdim=True) + 1e-8).sqrt()
    similarity = unit @ unit.T  # [N, N]
    label = (labels if labels.dim() == 2 else labels[:, None]).repeat(modalities, 1)  # [N, E]
    modality = torch.arange(modalities, device=labels.device).repeat_interleave(batch)
    if triplet == "official":
        same_class = (label[:, None] == label).all(dim=2)
        positive = same_class & ~torch.eye(len(label), dtype=torch.bool, device=labels.device)
        negative = ~same_class
    else:
        same_class = (label.round()[:, None] == label.round()).all(dim=2)
        same_modality = modality[:, None] == modality
        positive, negative = same_class & ~same_modality, ~same_class & same_modality
    exists = there.expand(modalities, batch).flatten()  # [N]
    positive, negative = positive & exists & exists[:, None], negative & exists
    margins = margin * (label[:, None] - label).abs().sum(dim=2) if margin_form == "label_distance" else margin
    violation = ((margins + similarity)[:, None, :] - similarity[:, :, None]).relu()  # [N anchors, N pos., N neg.]
    pairs = positive.sum(dim=1) * negative.sum(dim=1)  # [N]
    per_anchor = (violation * (positive[:, :, None] & negative[:, None, :])).sum(dim=(1, 2)) / pairs.clamp(min=1)
    return per_anchor.sum() / (pairs > 0).sum().clamp(min=1)
