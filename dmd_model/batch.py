"""From ragged arrays to batches: checks, standardisation, padding.

A modality that a segment does not have (no rows, or none of them measured) is absent: its length is 0.

Shapes: N segments, W words over all segments, D columns of a modality, B batch, T words of a batch's longest segment.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dmd_model.config import MODALITIES

logger = logging.getLogger(__name__)
PIECES = ("piece", "word")
"""Columns of text that is given as word pieces, for an encoder that is trained: numbers, which are not standardised."""


class DataError(ValueError):
    """Samples that no model can be trained on; the message names the segment and the column."""


@dataclass(frozen=True)
class Sequences:
    """One modality of N segments, flat and ragged: segment i owns rows ``offsets[i]:offsets[i + 1]``.

    ``values`` float32 [W, D]; ``offsets`` int64 [N + 1]; ``mask`` bool [W], False where nothing was measured (all True
    where it is not given); ``columns`` the D names (numbers where they are not given).
    """

    values: np.ndarray
    offsets: np.ndarray
    mask: np.ndarray | None = None
    columns: tuple[str, ...] = ()

    @classmethod
    def absent(cls, count: int) -> Sequences:
        """A modality that none of ``count`` segments has."""
        return cls(np.zeros((0, 1), np.float32), np.zeros(count + 1, np.int64))

    @property
    def counts(self) -> np.ndarray:
        """Rows of each segment, int64 [N]; 0 where the modality is absent."""
        seen = np.concatenate([[0], np.cumsum(self.measured)])[self.offsets]  # measured rows before each segment
        return np.where(np.diff(seen) > 0, np.diff(self.offsets), 0)

    @property
    def measured(self) -> np.ndarray:
        return np.ones(len(self.values), dtype=bool) if self.mask is None else self.mask

    @property
    def names(self) -> tuple[str, ...]:
        return self.columns or tuple(f"column {number}" for number in range(self.values.shape[1]))


@dataclass(frozen=True)
class Samples:
    """N segments with their three modalities.

    ``labels`` float32, [N] a sentiment or [N, E] the presence (0 or 1) of E emotions; only prediction allows NaN, no
    label.
    """

    ids: tuple[str, ...]
    labels: np.ndarray
    text: Sequences
    vision: Sequences
    audio: Sequences

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def modalities(self) -> dict[str, Sequences]:
        return {name: getattr(self, name) for name in MODALITIES}

    @property
    def columns(self) -> dict[str, tuple[str, ...]]:
        return {name: sequences.names for name, sequences in self.modalities.items()}

    def check(self, label_range: tuple[float, float] | None = None) -> None:
        """Raises DataError on arrays that do not fit, empty segments, NaN or infinite values.

        With ``label_range``, also on labels that are missing or out of it.
        """
        if len(self.labels) != len(self.ids):
            raise DataError(f"{len(self.ids)} ids, but {len(self.labels)} labels")
        if label_range is not None:
            self._check_labels(*label_range)
        for name, sequences in self.modalities.items():
            self._check_modality(name, sequences)
        empty = np.flatnonzero(sum(sequences.counts for sequences in self.modalities.values()) == 0)
        if len(empty):
            raise DataError(f"segment {self.ids[empty[0]]} has no words in any modality ({len(empty)} such segments): "
                            "leave them out")  # fmt: skip

    def _check_labels(self, lowest: float, highest: float) -> None:
        labels = self.labels.reshape(len(self), -1)
        for wrong, advice in (
            (~np.isfinite(labels), "leave out what has no label"),
            ((labels < lowest) | (labels > highest), f"label_range says {lowest:g} to {highest:g}"),
        ):
            bad = np.flatnonzero(wrong.any(axis=1))
            if len(bad):
                label = labels[bad[0]][wrong[bad[0]]][0]
                raise DataError(f"segment {self.ids[bad[0]]} has label {label} ({len(bad)} such segments): {advice}")

    def _check_modality(self, name: str, sequences: Sequences) -> None:
        values, offsets = sequences.values, sequences.offsets
        if values.ndim != 2 or len(offsets) != len(self) + 1 or offsets[0] != 0 or offsets[-1] != len(values):
            raise DataError(f"{name}: offsets of length {len(offsets)} do not fit {len(self)} segments and values of "
                            f"shape {values.shape}")  # fmt: skip
        if sequences.columns and len(sequences.columns) != values.shape[1]:
            raise DataError(f"{name}: {len(sequences.columns)} column names for {values.shape[1]} columns")
        if sequences.mask is not None and len(sequences.mask) != len(values):
            raise DataError(f"{name}: mask of length {len(sequences.mask)} for {len(values)} rows")
        backwards = np.flatnonzero(np.diff(offsets) < 0)
        if len(backwards):
            raise DataError(f"{name}: the offsets of segment {self.ids[backwards[0]]} run backwards")
        rows, columns = np.nonzero(~np.isfinite(values))
        if len(rows):
            segment = self.ids[int(np.searchsorted(offsets, rows[0], side="right")) - 1]
            value, column = values[rows[0], columns[0]], sequences.names[columns[0]]
            raise DataError(f"{name}: {value} in segment {segment}, {column} ({len(rows)} such values): "
                            "set them to zero and mask their rows")  # fmt: skip


@dataclass(frozen=True)
class Standardiser:
    """Column means and scales over the measured rows of the training split, for each modality; [D] float32 each.

    A scale is 1 / standard deviation, and 0 for a column that does not vary: constant in training, it says nothing.
    """

    means: dict[str, np.ndarray] = field(default_factory=dict)
    scales: dict[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def over(cls, train: Samples) -> Standardiser:
        """Of the measured rows of the training split; a column that does not vary becomes zero. Not of word pieces."""
        means, scales = {}, {}
        for name, sequences in train.modalities.items():
            if sequences.columns == PIECES:
                continue
            rows = sequences.values[sequences.measured].astype(np.float64)
            mean = rows.mean(axis=0) if len(rows) else np.zeros(rows.shape[1])
            deviation = rows.std(axis=0) if len(rows) else np.zeros(rows.shape[1])
            varies = deviation > 1e-6 * np.maximum(np.abs(mean), 1e-6)
            means[name] = mean.astype(np.float32)
            scales[name] = np.divide(1, deviation, out=np.zeros_like(deviation), where=varies).astype(np.float32)
        return cls(means, scales)

    def __call__(self, samples: Samples) -> Samples:
        """Standardised samples; rows that were not measured are zero, the mean, in every column."""
        changed = {}
        for name, sequences in samples.modalities.items():
            if name not in self.means:
                continue
            values = (sequences.values - self.means[name]) * self.scales[name]
            changed[name] = replace(sequences, values=(values * sequences.measured[:, None]).astype(np.float32))
        return replace(samples, **changed)


@dataclass(frozen=True)
class Batch:
    """Right-padded with zeros: text, vision, audio [B, T_m, D_m], lengths int64 [3, B] in that order.

    An absent modality has length 0; every T_m is at least 1. Labels are [B], or [B, E] of E emotions.
    """

    ids: tuple[str, ...]
    text: Tensor
    vision: Tensor
    audio: Tensor
    lengths: Tensor
    labels: Tensor

    @property
    def sequences(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.text, self.vision, self.audio

    def aligned(self) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
        """The three sequences on one time axis, [B, T, D_m], and its lengths, [B]: for models that go word by word.

        Raises DataError on a segment whose modalities have unlike lengths.
        """
        lengths = self.lengths.amax(dim=0)  # [B]
        unlike = ((self.lengths > 0) & (self.lengths < lengths)).any(dim=0)
        if unlike.any():
            segment = int(unlike.nonzero()[0])
            raise DataError(f"segment {self.ids[segment]} has {self.lengths[:, segment].tolist()} steps of "
                            "text, vision and audio: this model needs word-aligned data")  # fmt: skip
        longest = max(x.shape[1] for x in self.sequences)
        return tuple(F.pad(x, (0, 0, 0, longest - x.shape[1])) for x in self.sequences), lengths


class DeviceSamples:
    """Samples that lie on a device, ragged, and are padded there to the longest of each batch.

    Sequences are cut to ``longest`` words, which a log line counts. If ``fixed``, all batches have that length.
    """

    def __init__(self, samples: Samples, longest: tuple[int, int, int], fixed: bool, device: torch.device):
        self.ids, self.longest, self.fixed = samples.ids, longest, fixed
        self.labels = torch.as_tensor(np.asarray(samples.labels, np.float32), device=device)
        self.values, self.starts, lengths = [], [], []
        for limit, (name, sequences) in zip(longest, samples.modalities.items(), strict=True):
            counts = sequences.counts
            if cut := int((counts > limit).sum()):
                logger.warning(
                    "%s: %d of %d segments are longer than %d words and are cut", name, cut, len(counts), limit
                )
            # row 0 is zero: it is what padding reads
            values = np.pad(sequences.values, ((1, 0), (0, 0)))
            self.values.append(torch.as_tensor(values, dtype=torch.float32, device=device))
            self.starts.append(torch.as_tensor(sequences.offsets[:-1] + 1, device=device))
            lengths.append(np.minimum(counts, limit))
        self.lengths = torch.as_tensor(np.stack(lengths), device=device)  # [3, N]
        self.counts = np.stack(lengths)
        self.limits = longest if fixed else self._longest(self.counts)  # of any batch

    def __len__(self) -> int:
        return len(self.ids)

    def batch(self, indices: np.ndarray) -> Batch:
        """The samples at ``indices``, int64 [B]."""
        chosen = torch.as_tensor(indices, device=self.labels.device)
        return self.gather(chosen, self.longest_of(indices), self.ids_of(indices))

    def longest_of(self, indices: np.ndarray) -> tuple[int, int, int]:
        """To what a batch of the samples at ``indices`` is padded."""
        return self.longest if self.fixed else self._longest(self.counts[:, indices])

    def ids_of(self, indices: np.ndarray) -> tuple[str, ...]:
        """Of the samples at ``indices``."""
        return tuple(self.ids[i] for i in indices)

    def gather(self, chosen: Tensor, longest: Sequence[int], ids: tuple[str, ...] = ()) -> Batch:
        """The samples ``chosen``, int64 [B] on the device, padded to ``longest``; the GPU is not waited for."""
        lengths = self.lengths[:, chosen]
        padded = []
        for m in range(3):
            steps = torch.arange(longest[m], device=chosen.device)
            rows = self.starts[m][chosen, None] + steps
            padded.append(self.values[m][torch.where(steps < lengths[m, :, None], rows, 0)])  # [B, T_m, D_m]
        return Batch(ids, *padded, lengths, self.labels[chosen])

    @staticmethod
    def _longest(counts: np.ndarray) -> tuple[int, int, int]:
        return tuple(max(1, int(count)) for count in counts.max(axis=1))
