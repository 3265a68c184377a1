"""Pack: words and frames of all segments become one data set."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from prefect import task
from prefect.cache_policies import NO_CACHE

from storage.feature_store import FeatureStore
from storage.schema import AlignedDataset, Frames, Word, fingerprint
from storage.segments import Segment, State
from tasks.extract import TEXT_FEATURES, Step, segment_states
from tasks.features.pooling import pool

CODE_VERSION = 2
"""Of this module and of the pooling; in the recipe."""
BLOCK = 256
"""Segments whose frames are in memory at once."""


class PackError(Exception):
    """Not everything that belongs into the data set has been extracted."""

    reason = "not_extracted"


@task(cache_policy=NO_CACHE)
def pack(store: FeatureStore, steps: Sequence[Step], aligned: bool = True) -> str:
    """Commit the data set of all segments that came through the steps, words first; return its fingerprint.

    ``aligned``: frames are pooled into words; otherwise they stay as they were measured. Raises PackError where a step
    was not done for a segment.
    """
    words, *features = steps
    table = store.segments()
    states = segment_states(store, table, steps)
    if pending := Counter(state.step for state in states if state.name == "pending"):
        missing = ", ".join(f"{feature} of {count} segments" for feature, count in pending.items())
        raise PackError(f"not extracted yet: {missing}; run again with that modality among `modalities`")
    segments = extracted(table, states)
    made_of = recipe(segments, words, features, aligned)
    if store.has_aligned(fingerprint(made_of)):
        return fingerprint(made_of)
    columns = {step.name: step.columns for step in features}
    return store.write_aligned(made_of, aligned_dataset(store, segments, words, features, columns, aligned))


def extracted(segments: Sequence[Segment], states: Sequence[State]) -> list[Segment]:
    """The segments for which every step succeeded, in the order given."""
    return [segment for segment, state in zip(segments, states, strict=True) if state.name == "extracted"]


def recipe(segments: Sequence[Segment], words: Step, features: Sequence[Step], aligned: bool = True) -> dict:
    """All that the data set of these segments depends on: the recipe under which it is stored."""
    rows = [
        (
            segment.id.video,
            segment.id.clip,
            None if math.isnan(segment.label) else segment.label,
            segment.split,
            *(step.key(segment) for step in (words, *features)),
        )
        for segment in segments
    ]
    return {
        "code": CODE_VERSION,
        "aligned": aligned,
        "words": words.fingerprint,
        "features": {step.name: step.fingerprint for step in features},
        "segments": hashlib.sha256(json.dumps(rows).encode()).hexdigest(),
    }


def aligned_dataset(
    store: FeatureStore,
    segments: Sequence[Segment],
    words: Step,
    features: Sequence[Step],
    columns: Mapping[str, Sequence[str]],
    aligned: bool = True,
) -> AlignedDataset:
    """The features of segments that are extracted, in the order given.

    Features of the text have a row a word already, but for the word pieces, which are more than words; frames of the
    recording are pooled into words if ``aligned``. ``columns`` names the columns of each feature. Raises StoreError
    where a segment's words or features are not in the store.
    """
    texts: list[str] = []
    times: list[tuple[float, float]] = []
    offsets = [0]
    values = {step.name: [np.zeros((0, len(columns[step.name])), np.float32)] for step in features}
    masks = {step.name: [np.zeros(0, bool)] for step in features}
    own_rows = [name for name in values if name == "pieces" or not (aligned or name in TEXT_FEATURES)]
    frame_times = {name: [np.zeros(0)] for name in own_rows}
    frame_counts: dict[str, list[int]] = {name: [] for name in frame_times}
    for segment, spoken, measured in _read(store, segments, words, features):
        texts += [word.text for word in spoken]
        times += [(word.start, word.end) for word in spoken]
        offsets.append(len(texts))
        for step in features:
            frames = measured[step.name]
            if step.name in own_rows:
                rows, mask = frames.values, frames.mask
                known = step.name not in TEXT_FEATURES  # when a piece is said is not
                frame_times[step.name].append(frames.times if known else np.full(len(rows), np.nan))
                frame_counts[step.name].append(len(rows))
            elif step.name in TEXT_FEATURES:
                rows, mask = _text_rows(frames, spoken, segment)
            else:
                rows, mask = pool(frames, spoken)
            values[step.name].append(rows)
            masks[step.name].append(mask)
    starts_ends = np.array(times, np.float64).reshape(-1, 2)  # [W, 2]
    return AlignedDataset(
        ids=tuple(str(segment.id) for segment in segments),
        videos=tuple(segment.id.video for segment in segments),
        labels=np.array([segment.label for segment in segments], np.float32),
        splits=tuple(segment.split for segment in segments),
        offsets=np.array(offsets, np.int64),
        words=tuple(texts),
        starts=starts_ends[:, 0].copy(),
        ends=starts_ends[:, 1].copy(),
        features={step.name: np.concatenate(values.pop(step.name)) for step in features},  # what is joined is let go
        masks={name: np.concatenate(rows) for name, rows in masks.items()},
        columns={step.name: tuple(columns[step.name]) for step in features},
        frame_offsets={name: np.cumsum([0, *counts], dtype=np.int64) for name, counts in frame_counts.items()},
        frame_times={name: np.concatenate(times) for name, times in frame_times.items()},
    )


def _read(
    store: FeatureStore, segments: Sequence[Segment], words: Step, features: Sequence[Step]
) -> Iterator[tuple[Segment, tuple[Word, ...], dict[str, Frames]]]:
    """Each segment with its words and its frames by feature, read a block at a time."""
    for first in range(0, len(segments), BLOCK):
        block = segments[first : first + BLOCK]
        spoken = store.words(words.fingerprint, _keys(words, block))
        measured = {step.name: store.frames(step.name, step.fingerprint, _keys(step, block)) for step in features}
        for segment in block:
            frames = {step.name: measured[step.name][step.key(segment)] for step in features}
            yield segment, spoken[words.key(segment)], frames


def _keys(step: Step, segments: Sequence[Segment]) -> list[str]:
    return list(dict.fromkeys(step.key(segment) for segment in segments))


def _text_rows(frames: Frames, spoken: Sequence[Word], segment: Segment) -> tuple[np.ndarray, np.ndarray]:
    if len(frames.values) != len(spoken):
        raise ValueError(f"{segment.id} has {len(spoken)} words but text features of {len(frames.values)}")
    return frames.values, frames.mask
