"""A store whose segments are lost on the way as a test says."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from storage.feature_store import FeatureStore
from storage.schema import Failure, Frames, Word, fingerprint
from storage.segments import Segment, SegmentId
from tasks.extract import Step

HOSTILE = "<script>alert(1)</script>&\"'<img src=x onerror=alert(2)>"
RECIPES = {name: {"made": name} for name in ("words", "glove", "bert", "vision", "audio")}
RECIPES["bert"]["encoder"] = "bert-base-uncased"
STEPS = [Step(name, fingerprint(recipe), ("x",)) for name, recipe in RECIPES.items()]


def funnel_store(folder: Path, lost: dict[int, tuple[str, str]], segments: list[Segment]) -> FeatureStore:
    """A store in which the segment of a row is lost at a step for a reason; all others come through."""
    store = FeatureStore.open(str(folder / "store"))
    store.write_segments(segments)
    usable = [segment for segment in segments if segment.failure is None and not segment.excluded]
    for step in STEPS:
        failed = {s.row: Failure(lost[s.row][1], f"{HOSTILE} in row {s.row}") for s in usable if s.row in lost}
        failed = {row: failure for row, failure in failed.items() if lost[row][0] == step.name}
        good = (Word("w", 0, 1),) if step.name == "words" else Frames(np.ones((1, 1)), np.zeros(1), np.ones(1, bool))
        results = {step.key(segment): failed.get(segment.row, good) for segment in usable}
        if step.name == "words":
            store.append_words(RECIPES["words"], results)
        else:
            store.append(step.name, RECIPES[step.name], ("x",), results)
    return store


def table(count: int) -> list[Segment]:
    return [
        Segment(
            SegmentId("v", str(row)),
            row,
            media=f"{row}.mp4",
            media_sha256=f"{row:064}",
            text=f"w{row}",
            label=1.0,
            split="train",
        )
        for row in range(2, count + 2)
    ]
