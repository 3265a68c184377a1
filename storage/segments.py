"""The segment table: one row for every row of the label file."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from storage import arrays
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

    ``row`` is the line of the label file; ``media`` a path relative to the raw folder; ``media_sha256`` the hash of
    that file's bytes; ``sound`` and ``sound_sha256`` those of a recording of its own that the sound is in, if there is
    one; ``start`` and ``end`` seconds within both (``end`` is infinite for "to the end"); ``label`` is NaN
    and ``split`` empty where there is none; ``given_words`` are word times that came with the data. ``failure`` is set
    where the row cannot be used at all (no media, a bad id, ...); ``excluded`` is a short reason where it is left out
    on purpose (``duplicate``, ...). Such rows stay in the table and are never extracted.
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
    sound: str = ""
    sound_sha256: str = ""
    failure: Failure | None = None
    excluded: str = ""

    @cached_property
    def media_key(self) -> str:
        """Names what is seen: the media bytes and the interval."""
        return _digest(self.media_sha256, self.start, self.end)

    @cached_property
    def sound_key(self) -> str:
        """Names what is heard: the bytes of the sound and the interval."""
        return _digest(self.sound_sha256 or self.media_sha256, self.start, self.end)

    @cached_property
    def text_key(self) -> str:
        """Names what is said, apart from any recording: the transcript."""
        return _digest(self.text)

    @cached_property
    def speech_key(self) -> str:
        """Names what is said and when: the sound, its transcript and the word times given with it."""
        given = [(word.text, word.start, word.end) for word in self.given_words]
        return _digest(self.sound_key, self.text, given)


@dataclass(frozen=True)
class State:
    """Where one segment stands: ``extracted``, ``failed``, ``excluded`` or ``pending``.

    A failed one names the step that failed (``ingest`` for a row that could not be used at all), its reason code and
    message; an excluded one the reason; a pending one the first step that has not been done.
    """

    name: str
    step: str = ""
    reason: str = ""
    message: str = ""


class Step(NamedTuple):
    """One step of extraction: its name, the key of a segment in it, and its result by key (None is success)."""

    name: str
    key: Callable[[Segment], str]
    done: Mapping[str, Failure | None]


def states(segments: Sequence[Segment], steps: Sequence[Step]) -> list[State]:
    """The one state of every segment, in the order given.

    An exclusion goes before all else, then the first failure in the order of the steps, then the first step not done.
    """
    return [_state(segment, steps) for segment in segments]


def funnel(states: Sequence[State]) -> Counter[tuple[str, str, str]]:
    """How many segments are in each (state, step, reason); the counts add up to the number of segments."""
    return Counter((state.name, state.step, state.reason) for state in states)


def _state(segment: Segment, steps: Sequence[Step]) -> State:
    if segment.excluded:
        return State("excluded", reason=segment.excluded)
    results = [("ingest", segment.failure), *((step.name, step.done.get(step.key(segment))) for step in steps)]
    for name, failure in results:
        if failure is not None:
            return State("failed", name, failure.reason, failure.message)
    for step in steps:
        if step.key(segment) not in step.done:
            return State("pending", step.name)
    return State("extracted")


def to_arrays(segments: Sequence[Segment]) -> dict[str, np.ndarray]:
    """The table as equally long arrays, one row a segment; ``given_words`` and ``failure`` as JSON."""
    return {
        "video": arrays.text([segment.id.video for segment in segments]),
        "clip": arrays.text([segment.id.clip for segment in segments]),
        "row": np.array([segment.row for segment in segments], np.int64),
        "media": arrays.text([segment.media for segment in segments]),
        "media_sha256": arrays.text([segment.media_sha256 for segment in segments]),
        "sound": arrays.text([segment.sound for segment in segments]),
        "sound_sha256": arrays.text([segment.sound_sha256 for segment in segments]),
        "start": np.array([segment.start for segment in segments], np.float64),
        "end": np.array([segment.end for segment in segments], np.float64),
        "text": arrays.text([segment.text for segment in segments]),
        "label": np.array([segment.label for segment in segments], np.float64),
        "split": arrays.text([segment.split for segment in segments]),
        "given_words": arrays.text([json.dumps([vars(word) for word in segment.given_words]) for segment in segments]),
        "failure": arrays.text([json.dumps(segment.failure and vars(segment.failure)) for segment in segments]),
        "excluded": arrays.text([segment.excluded for segment in segments]),
    }


def table_digest(segments: Sequence[Segment]) -> str:
    """Of every field of every row."""
    return arrays.digest(to_arrays(segments))


def from_arrays(table: Mapping[str, np.ndarray]) -> list[Segment]:
    """The segments of which ``to_arrays`` made these arrays."""
    rows = zip(*(values.tolist() for values in table.values()), strict=True)
    return [_segment(**dict(zip(table, row, strict=True))) for row in rows]


def _segment(video: str, clip: str, given_words: str, failure: str, **fields) -> Segment:
    words = tuple(Word(**word) for word in json.loads(given_words))
    why = json.loads(failure)
    return Segment(SegmentId(video, clip), given_words=words, failure=why and Failure(**why), **fields)


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
