"""The segment table: one row for every row of the label file."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property

from storage.schema import Failure, Word


@dataclass(frozen=True)
class SegmentId:
    """A segment's name: its video and its clip within it. Data, never a path."""

    video: str
    clip: str

    def __str__(self) -> str:
        return f"{self.video}$_${self.clip}"


@dataclass(frozen=True)
class Segment:
    """One labelled stretch of a video, as the label file gives it.

    ``row`` is the line of the label file; ``media`` a path relative to the raw folder; ``media_sha256`` the hash of that
    file's bytes; ``start`` and ``end`` seconds within it (``end`` is infinite for "to the end"); ``label`` is NaN and
    ``split`` empty where there is none; ``given_words`` are word times that came with the data. ``failure`` is set where
    the row cannot be used at all (no media, a bad id, ...): such a row stays in the table and is never extracted.
    """

    id: SegmentId
    row: int
    media: str = ""
    media_sha256: str = ""
    start: float = 0.0
    end: float = float("inf")
    text: str = ""
    label: float = float("nan")
    split: str = ""
    given_words: tuple[Word, ...] = ()
    failure: Failure | None = None

    @cached_property
    def media_key(self) -> str:
        """Names what is seen and heard: the media bytes and the interval."""
        return _digest(self.media_sha256, self.start, self.end)

    @cached_property
    def text_key(self) -> str:
        """Names what is said, apart from any recording: the transcript."""
        return _digest(self.text)

    @cached_property
    def speech_key(self) -> str:
        """Names what is said and when: the recording, its transcript and the word times given with it."""
        given = [(word.text, word.start, word.end) for word in self.given_words]
        return _digest(self.media_key, self.text, given)


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
