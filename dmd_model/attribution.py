"""What a trained model reads in a segment, word by word, and what each word adds in each modality.

Shapes: N segments, W words over all segments, M = 3 modalities (text, vision, audio), K = 6 edges, B batch, T words of
a batch's longest segment.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from dmd_model.batch import Batch, DeviceSamples, Samples
from dmd_model.dmd import DMDOutput
from dmd_model.model import Model, Output
from dmd_model.prediction import predict_placed, prepare

_BATCH = 128


@dataclass(frozen=True)
class Readings:
    """What a model says after each word, given the segment's words so far; the last word's are the whole segment's.

    ``prediction`` float32 [W]. DMD alone has ``heads`` and ``edges`` by unit (``homogeneous``, ``heterogeneous``): what
    the head of each modality predicts, [W, M], NaN where the segment does not have it, and edge weights, [W, K] in the
    order of ``graph_distillation.EDGES``. The homogeneous heads have heard their own modality alone; the heterogeneous
    ones come after cross-modal attention.
    """

    prediction: np.ndarray
    heads: dict[str, np.ndarray]
    edges: dict[str, np.ndarray]


@torch.inference_mode()
def read_words(model: Model, samples: Samples) -> Readings:
    """The readings of word-aligned samples, on the scale of the labels. Raises DataError as ``predict`` does."""
    data = prepare(model, samples)
    words = _words(samples)
    found: dict[str, np.ndarray] = {}
    for rows, batch, places in _batches(data, words):
        batch = _so_far(batch, places)
        for name, values in _readings(model, model(batch), absent=batch.lengths.T == 0).items():  # [B, ...]
            found.setdefault(name, np.empty((len(words), *values.shape[1:]), np.float32))[rows] = values

    def by_unit(kind: str) -> dict[str, np.ndarray]:
        return {name.removeprefix(kind): values for name, values in found.items() if name.startswith(kind)}

    return Readings(found["prediction"], by_unit("heads "), by_unit("edges "))


@torch.inference_mode()
def occlude_words(model: Model, samples: Samples) -> np.ndarray:
    """By how much each word raises the prediction in each modality: float32 [W, M], on the scale of the labels.

    It is the segment's prediction, less the one where the word's row in that modality is the training split's mean
    (occlusion: Zeiler and Fergus, 2014). NaN where the segment does not have the modality.
    """
    data = prepare(model, samples)
    words = _words(samples)
    whole = predict_placed(model, data)  # [N]
    effects = np.full((len(words), 3), np.nan, np.float32)
    for m in range(3):
        for rows, batch, places in _batches(data, words):
            x = batch.sequences[m]  # [B, T, D]
            x *= torch.arange(x.shape[1], device=x.device)[:, None] != places[:, None, None]
            without = model(batch).prediction.float().cpu().numpy()  # [B]
            segments = words[rows, 0]
            there = data.counts[m, segments] > 0
            effects[rows[there], m] = (whole[segments] - without)[there]
    return effects * model.run.training.label_unit


def _words(samples: Samples) -> np.ndarray:
    """(segment, place in it) of every word: int64 [W, 2]."""
    counts = np.max([np.diff(sequences.offsets) for sequences in samples.modalities.values()], axis=0)  # [N]
    segments = np.repeat(np.arange(len(samples)), counts)
    return np.stack([segments, np.arange(len(segments)) - np.repeat(np.cumsum(counts) - counts, counts)], axis=1)


def _batches(data: DeviceSamples, words: np.ndarray) -> Iterator[tuple[np.ndarray, Batch, torch.Tensor]]:
    """(rows of ``words`` int64 [B], their segments as a batch, their places int64 [B]), segments of like length first.

    The tensors of a batch are copies, which may be changed.
    """
    order = np.argsort(data.counts.max(axis=0)[words[:, 0]], kind="stable")
    for at in range(0, len(order), _BATCH):
        rows = order[at : at + _BATCH]
        batch = data.batch(words[rows, 0])
        yield rows, batch, torch.as_tensor(words[rows, 1], device=batch.labels.device)


def _so_far(batch: Batch, places: torch.Tensor) -> Batch:
    """Each segment as far as its word at ``places`` [B]."""
    for x in batch.sequences:
        x *= torch.arange(x.shape[1], device=x.device)[:, None] <= places[:, None, None]
    return replace(batch, lengths=torch.minimum(batch.lengths, places + 1))


def _readings(model: Model, output: Output, absent: torch.Tensor) -> dict[str, np.ndarray]:
    """What one output says, by name, [B, ...]; ``absent`` bool [B, M]."""
    scale = model.run.training.from_model
    found = {"prediction": scale(output.prediction.float().cpu().numpy())}
    if isinstance(output, DMDOutput):
        logits = {"homogeneous": output.homo_logits, "heterogeneous": output.hetero_logits}  # [M, B] each
        units = dict(zip(logits, model.units(output), strict=True))
        for unit, values in logits.items():
            found[f"heads {unit}"] = scale(values.T.masked_fill(absent, torch.nan).float().cpu().numpy())
            found[f"edges {unit}"] = units[unit].edges.T.float().cpu().numpy()  # [B, K]
    return found
