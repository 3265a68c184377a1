"""The splits of a data set: whether a model can be trained on them, their name, and batches of one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np

from dmd_model.batch import DataError, DeviceSamples, Samples

SPLITS = ("train", "valid", "test")
_POOL = 8  # so many batches of samples are sorted by length and cut into batches again


def check(samples: Mapping[str, Samples], emotions: tuple[str, ...], label_range: tuple[float, float]) -> None:
    """Raises DataError on splits that are missing, empty, bad, overlapping, or of unlike columns or labels."""
    if not {"train", "valid"} <= set(samples) <= set(SPLITS):
        raise DataError(f"splits are {', '.join(SPLITS)}; given: {', '.join(samples) or 'none'}")
    seen: dict[str, str] = {}
    for split in samples:
        if not len(samples[split]):
            raise DataError(f"the {split} split has no segments")
        samples[split].check((0.0, 1.0) if emotions else label_range)
        if samples[split].labels.shape[1:] != ((len(emotions),) if emotions else ()):
            raise DataError(f"the {split} split has labels of shape {samples[split].labels.shape}; the model predicts "
                            + (", ".join(emotions) or "a sentiment"))  # fmt: skip
        if samples[split].columns != samples["train"].columns:
            raise DataError(f"the {split} split has other columns than the train split")
        for identifier in samples[split].ids:
            if identifier in seen:
                raise DataError(f"segment {identifier} is twice in the data: in {seen[identifier]} and in {split}")
            seen[identifier] = split


def digest(samples: Mapping[str, Samples]) -> str:
    """Names the data: ids, labels and arrays of all splits, 16 hex digits of SHA-256."""
    digest = hashlib.sha256()
    for split in sorted(samples):
        part = samples[split]
        digest.update(repr((split, part.ids)).encode())
        digest.update(np.ascontiguousarray(part.labels).tobytes())
        for sequences in part.modalities.values():
            for array in (sequences.values, sequences.offsets, sequences.measured):
                digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def random_batches(data: DeviceSamples, size: int, random: np.random.Generator) -> list[np.ndarray]:
    """All samples once, in random batches; of samples of like length where batches are padded to their longest.

    The one that is not full comes last: seeds of a stack have batches of one size at a time.
    """
    order = random.permutation(len(data))
    if data.fixed:
        return [order[at : at + size] for at in range(0, len(order), size)]
    lengths, pool, batches = data.counts.max(axis=0), _POOL * size, []
    for at in range(0, len(order), pool):
        pooled = order[at : at + pool]
        pooled = pooled[np.argsort(lengths[pooled], kind="stable")]
        batches += [pooled[first : first + size] for first in range(0, len(pooled), size)]
    batches = [batches[number] for number in random.permutation(len(batches))]
    return sorted(batches, key=len, reverse=True)
