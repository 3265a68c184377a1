"""What a trained model reads in a segment, word by word, and what each word adds in each modality.

Shapes: N segments, W words over all segments, M = 3 modalities (text, vision, audio), K = 6 edges, B batch, T_m steps
of a batch's longest segment in modality m: words, word pieces or frames.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from dmd_model.batch import PIECES, Batch, DeviceSamples, Samples
from dmd_model.dmd import DMDOutput
from dmd_model.model import Model, Output
from dmd_model.prediction import predict_placed, prepare

_STEPS = 6400
"""As many steps are in a batch, padding included: 128 segments of 50 words, or 12 of 500 frames."""


@dataclass(frozen=True)
class WordRows:
    """Which rows of the samples belong to which word, segment by segment and in the order in which they are said.

    ``segments`` int64 [W]; word w has rows ``first[w, m]`` until ``stop[w, m]`` of its segment's rows in modality m,
    int64 [W, M] each. A word without a row has ``first == stop``: where it would be.
    """

    segments: np.ndarray
    first: np.ndarray
    stop: np.ndarray

    @classmethod
    def aligned(cls, samples: Samples) -> WordRows:
        """Those of word-aligned samples: one row a word."""
        counts = np.max([np.diff(sequences.offsets) for sequences in samples.modalities.values()], axis=0)  # [N]
        places = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)  # [W]
        first = np.repeat(places[:, None], 3, axis=1)
        return cls(np.repeat(np.arange(len(samples)), counts), first, first + 1)

    def within(self, counts: np.ndarray) -> WordRows:
        """The same where a model reads so many rows of each segment, int64 [M, N], and no more."""
        limits = counts[:, self.segments].T  # [W, M]
        return replace(self, first=np.minimum(self.first, limits), stop=np.minimum(self.stop, limits))

    def so_far(self, counts: np.ndarray) -> np.ndarray:
        """How many rows of its segment each word ends, int64 [W, M]; the last word ends all ``counts`` [M, N]."""
        ends = self.stop.copy()
        begins = np.flatnonzero(np.diff(self.segments, prepend=-1))
        for begin, end in zip(begins, [*begins[1:], len(ends)], strict=True):
            ends[begin:end] = np.maximum.accumulate(ends[begin:end])
            ends[end - 1] = counts[:, self.segments[begin]]
        return ends


@dataclass(frozen=True)
class Readings:
    """What a model says after each word, given the segment's words so far; the last word's are the whole segment's.

    ``prediction`` float32 [W]. DMD alone has ``heads`` and ``edges`` by unit (``homogeneous``, ``heterogeneous``): what
    the head of each modality predicts, [W, M], NaN where it has read nothing yet, and edge weights, [W, K] in the order
    of ``graph_distillation.EDGES``. The homogeneous heads have heard their own modality alone; the heterogeneous ones
    come after cross-modal attention.
    """

    prediction: np.ndarray
    heads: dict[str, np.ndarray]
    edges: dict[str, np.ndarray]


@torch.inference_mode()
def read_words(model: Model, samples: Samples, words: WordRows) -> Readings:
    """The readings of samples, on the scale of the labels. Raises DataError as ``predict`` does."""
    data = prepare(model, samples)
    ends = words.within(data.counts).so_far(data.counts)  # [W, M]
    found: dict[str, np.ndarray] = {}
    for rows, batch in _batches(data, words):
        batch = _so_far(batch, torch.as_tensor(ends[rows], device=batch.labels.device), samples.text.columns == PIECES)
        for name, values in _readings(model, model(batch), absent=batch.lengths.T == 0).items():  # [B, ...]
            found.setdefault(name, np.empty((len(words.segments), *values.shape[1:]), np.float32))[rows] = values

    def by_unit(kind: str) -> dict[str, np.ndarray]:
        return {name.removeprefix(kind): values for name, values in found.items() if name.startswith(kind)}

    return Readings(found["prediction"], by_unit("heads "), by_unit("edges "))


@torch.inference_mode()
def occlude_words(model: Model, samples: Samples, words: WordRows, mask_piece: int | None = None) -> np.ndarray:
    """By how much each word raises the prediction in each modality: float32 [W, M], on the scale of the labels.

    It is the segment's prediction, less the one where the word's rows in that modality are the training split's mean,
    or, of word pieces, the piece ``mask_piece`` (occlusion: Zeiler and Fergus, 2014). NaN where the word has no row in
    the modality that the model reads.
    """
    data = prepare(model, samples)
    words = words.within(data.counts)
    whole = predict_placed(model, data)  # [N]
    effects = np.full(words.first.shape, np.nan, np.float32)
    for m in range(3):
        pieces = m == 0 and samples.text.columns == PIECES
        if pieces and mask_piece is None:
            raise ValueError("word pieces are hidden by a piece that says nothing: mask_piece is needed")
        for rows, batch in _batches(data, words):
            x = batch.sequences[m]  # [B, T_m, D]
            steps = np.arange(x.shape[1])
            hidden = (steps >= words.first[rows, m, None]) & (steps < words.stop[rows, m, None])  # [B, T_m]
            hidden = torch.as_tensor(hidden, device=x.device)
            if pieces:
                x[..., 0].masked_fill_(hidden, mask_piece)
            else:
                x.masked_fill_(hidden[..., None], 0)
            without = model(batch).prediction.float().cpu().numpy()  # [B]
            there = words.stop[rows, m] > words.first[rows, m]
            effects[rows[there], m] = (whole[words.segments[rows]] - without)[there]
    return effects * model.run.training.label_unit


def _batches(data: DeviceSamples, words: WordRows) -> Iterator[tuple[np.ndarray, Batch]]:
    """(words int64 [B], the segments in which they are said as a batch), segments of like length first.

    The tensors of a batch are copies, which may be changed.
    """
    counts = np.full(len(data), max(data.longest)) if data.fixed else data.counts.max(axis=0)  # [N]
    longest = counts[words.segments]  # [W]
    order = np.argsort(longest, kind="stable")
    at = 0
    while at < len(order):
        size = 1
        while at + size < len(order) and (size + 1) * longest[order[at + size]] <= _STEPS:
            size += 1
        rows = order[at : at + size]
        yield rows, data.batch(words.segments[rows])
        at += size


def _so_far(batch: Batch, ends: torch.Tensor, pieces: bool) -> Batch:
    """Each segment as far as its first ``ends`` [B, M] rows go; word ``pieces`` keep the mark at their end."""
    lengths = torch.minimum(batch.lengths, ends.T)
    if pieces:
        every = torch.arange(len(batch.ids), device=ends.device)
        marks = batch.text[every, (batch.lengths[0] - 1).clamp(min=0)]  # [B, 2]
        batch.text[every, lengths[0].clamp(max=batch.text.shape[1] - 1)] = marks
        lengths[0] = torch.minimum(batch.lengths[0], lengths[0] + 1)
    for x, length in zip(batch.sequences, lengths, strict=True):
        x *= torch.arange(x.shape[1], device=x.device)[:, None] < length[:, None, None]
    return replace(batch, lengths=lengths)


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
