"""Records for the tests of the store: plain ones by number, arbitrary ones by Hypothesis."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as stnp

from storage.schema import AlignedDataset, Failure, Frames, Word
from storage.segments import Segment, SegmentId

COLUMNS = ("smile", "frown", "blink")
RECIPE = {"extractor": "faces", "code": 1, "thresholds": [0.5, 0.25]}

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
finite = st.floats(0, 1e6)
failures = st.builds(Failure, st.sampled_from(["no_face", "silent", "truncated"]), texts)
words = st.lists(st.builds(Word, texts, finite, finite, st.floats(0, 1), texts), max_size=5).map(tuple)


@st.composite
def frames(draw: st.DrawFn) -> Frames:
    count = draw(st.integers(0, 9))
    return Frames(
        draw(stnp.arrays(np.float32, (count, len(COLUMNS)))),
        draw(stnp.arrays(np.float64, count)),
        draw(stnp.arrays(np.bool_, count)),
    )


@st.composite
def batches(draw: st.DrawFn, result: st.SearchStrategy) -> list[dict]:
    """Results by key, cut into batches anyhow."""
    results = list(draw(st.dictionaries(texts, result, max_size=12)).items())
    cuts = sorted(draw(st.lists(st.integers(0, len(results)), max_size=4)))
    return [dict(results[start:stop]) for start, stop in zip([0, *cuts], [*cuts, len(results)], strict=True)]


def some_frames(seed: int, count: int = 40) -> Frames:
    random = np.random.default_rng(seed)
    mask = random.random(count) < 0.8
    return Frames(random.normal(size=(count, len(COLUMNS))).astype(np.float32), np.arange(count) / 30, mask)


def some_results(first: int, stop: int) -> dict[str, Frames | Failure]:
    """By key; every fifth is a failure."""
    return {
        f"key{number}": Failure("no_face", f"no face in clip {number}") if number % 5 == 4 else some_frames(number)
        for number in range(first, stop)
    }


def some_segments(count: int) -> list[Segment]:
    return [
        Segment(SegmentId(f"video{row // 3}", str(row)), row, media_sha256=f"sha{row}", text=f"words of {row}")
        for row in range(count)
    ]


def some_unaligned(seed: int = 0) -> AlignedDataset:
    """The same with frames of its own in vision, of which one segment has none, and with times for some."""
    dataset, random = some_dataset(seed), np.random.default_rng(seed)
    counts = [7, 2, 0, 4]
    frames = sum(counts)
    return replace(
        dataset,
        features={**dataset.features, "vision": random.normal(size=(frames, len(COLUMNS))).astype(np.float32)},
        masks={**dataset.masks, "vision": random.random(frames) < 0.7},
        frame_offsets={"vision": np.cumsum([0, *counts])},
        frame_times={"vision": np.where(np.arange(frames) < 7, np.arange(frames) / 30, np.nan)},
    )


def some_dataset(seed: int = 0) -> AlignedDataset:
    random = np.random.default_rng(seed)
    lengths = [3, 0, 5, 1]
    count = sum(lengths)
    return AlignedDataset(
        ids=tuple(f"v$_${row}" for row in range(4)),
        videos=("v",) * 4,
        labels=np.array([1.5, np.nan, -3, 0], np.float32),
        splits=("train", "valid", "test", ""),
        offsets=np.cumsum([0, *lengths]),
        words=tuple(f"wörd{word}" for word in range(count)),
        starts=np.arange(count, dtype=np.float64),
        ends=np.append(np.arange(1, count, dtype=np.float64), np.nan),
        features={
            "glove": random.normal(size=(count, 4)).astype(np.float32),
            "vision": random.normal(size=(count, len(COLUMNS))).astype(np.float32),
        },
        masks={"glove": np.ones(count, bool), "vision": random.random(count) < 0.5},
        columns={"glove": ("a", "b", "c", "d"), "vision": COLUMNS},
    )


def assert_same_frames(one: Frames, other: Frames) -> None:
    for name in ("values", "times", "mask"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), strict=True)
