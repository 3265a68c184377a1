"""A prediction made by hand: two segments of two words and one, three seeds, the second segment without text."""

from __future__ import annotations

import numpy as np

from storage.schema import AlignedDataset
from storage.segments import Segment, SegmentId
from tasks.predict import Reading

SEGMENTS = [
    Segment(SegmentId("v", "001"), 1, "v.mp4", "a" * 64, 0.5, 2.0, "good </script><b>&amp; $5"),
    Segment(SegmentId("v", "002"), 2, "v.mp4", "a" * 64, 2.5, 3.0, "yes"),
]
WORDS = ("good", "</script><b>&amp;", "yes")


def reading(seeds: int = 3) -> Reading:
    random = np.random.default_rng(0)

    def values(*shape: int) -> np.ndarray:
        return random.uniform(-3, 3, (seeds, *shape)).astype(np.float32)

    heads = {unit: values(3, 3) for unit in ("homogeneous", "heterogeneous")}
    occlusion = values(3, 3)
    for array in (occlusion, *heads.values()):
        array[:, 2, 0] = np.nan  # no text in the second segment
    words = AlignedDataset(
        ids=tuple(str(segment.id) for segment in SEGMENTS),
        videos=("v", "v"),
        labels=np.full(2, np.nan, np.float32),
        splits=("", ""),
        offsets=np.array([0, 2, 3]),
        words=WORDS,
        starts=np.array([0.1, 0.6, 0.0]),
        ends=np.array([0.6, 1.4, 0.5]),
        features={},
        masks={},
        columns={},
    )
    edges = {unit: np.abs(values(3, 6)) / 3 for unit in heads}
    return Reading(words, values(3), occlusion, heads, edges)
