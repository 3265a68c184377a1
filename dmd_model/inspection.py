"""What a trained DMD makes of segments on the way to its predictions.

Shapes: M = 3 modalities (text, vision, audio), N segments, K = 6 edges, d common width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from dmd_model.batch import Samples
from dmd_model.dmd import DMD, DMDOutput
from dmd_model.prediction import in_batches, prepare
from dmd_model.recurrent import masked_mean


@dataclass(frozen=True)
class Inspection:
    """The decoupled parts, what each modality's own heads read from them, and the edges of both units.

    Parts are means over a segment's steps. Readings are on the scale of the labels. Parts and readings of a modality
    that a segment does not have are NaN; its edges are 0.
    """

    common: np.ndarray  # float32 [M, N, d]
    specific: np.ndarray  # float32 [M, N, d]
    common_readings: np.ndarray  # float32 [M, N], of the heads that HomoGD distils
    specific_readings: np.ndarray  # float32 [M, N], of the heads that HeteroGD distils
    homo_edges: np.ndarray  # float32 [K, N], in the order of graph_distillation.EDGES
    hetero_edges: np.ndarray  # float32 [K, N]


@torch.inference_mode()
def inspect(model: DMD, samples: Samples) -> Inspection:
    """Look into a trained DMD that predicts a sentiment, in the order of ``samples``; labels are not looked at.

    Raises DataError on what :func:`dmd_model.prediction.predict` refuses.
    """
    data, training = prepare(model, samples), model.run.training
    found: list[tuple[np.ndarray, ...]] = []
    order = []
    for indices in in_batches(data):
        output: DMDOutput = model(data.batch(indices))
        parts = output.sequences
        there = output.there.expand(-1, len(indices))  # [M, B]
        homo, hetero = model.units(output)
        measured = (
            masked_mean(parts.common, parts.present).masked_fill(~there[..., None], torch.nan),
            masked_mean(parts.specific, parts.present).masked_fill(~there[..., None], torch.nan),
            training.from_model(output.homo_logits).masked_fill(~there, torch.nan),
            training.from_model(output.hetero_logits).masked_fill(~there, torch.nan),
            homo.edges,
            hetero.edges,
        )
        found.append(tuple(value.float().cpu().numpy() for value in measured))
        order.append(indices)
    back = np.argsort(np.concatenate(order))
    return Inspection(*(np.concatenate(values, axis=1)[:, back] for values in zip(*found, strict=True)))
