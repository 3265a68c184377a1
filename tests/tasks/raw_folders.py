"""Raw folders of media of a few bytes, and what ingest makes of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from storage.segments import Segment
from tasks.ingest import read_raw

HEADER = "video_id,clip_id,text\n"


def corpus(raw: Path, *names: str, rows: str = "", header: str = HEADER) -> Path:
    """A raw folder with media of a few bytes (each its own name), last changed long ago."""
    for name in names:
        path = raw / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
        os.utime(path, (1e9, 1e9))
    if rows:
        (raw / "label.csv").write_text(header + rows)
    return raw


def read_segments(raw: Path, **options) -> list[Segment]:
    """The segments of a raw folder."""
    return read_raw(raw, **options)[0]


def failures(segments: Sequence[Segment]) -> dict[str, str]:
    """The reasons of the segments that failed, by id."""
    return {str(segment.id): segment.failure.reason for segment in segments if segment.failure}
