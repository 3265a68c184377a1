"""The funnel: how many rows of the labels reach each stage, and why the others do not."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from storage.segments import Segment, State

STAGES = {
    "labelled": "rows of the labels",
    "found": "recording found",
    "decoded": "recording decoded",
    "aligned": "words aligned",
    "faces": "face found",
    "valid": "every feature measured",
    "used": "with label and split, for models",
}
"""What the segments that reach a stage have."""

DECODING = frozenset(
    "not_regular_file unreadable no_video no_audio truncated bad_interval too_long too_large timeout".split()
)
"""Reasons for which a recording is not decoded, whatever step came to it first."""

_STAGE_OF_STEP = {"ingest": "found", "words": "aligned", "vision": "faces"}
_UNHEARD = ("silent", "no_speech")
"""Reasons for which there is no transcript, and so no words."""


@dataclass(frozen=True)
class Funnel:
    """``reached``: how many segments reach each stage; ``lost``: how many do not, by that stage and the reason."""

    reached: dict[str, int]
    lost: Counter[tuple[str, str]]


def make_funnel(segments: Sequence[Segment], states: Sequence[State]) -> Funnel:
    """The funnel of segments in these states; what is lost at all stages and what is used add up to all segments."""
    losses = [_loss(segment, state) for segment, state in zip(segments, states, strict=True)]
    lost = Counter(loss for loss in losses if loss)
    left, reached = len(segments), {}
    for stage in STAGES:
        left -= sum(count for (at, _), count in lost.items() if at == stage)
        reached[stage] = left
    return Funnel(reached, lost)


def _loss(segment: Segment, state: State) -> tuple[str, str] | None:
    """The stage that a segment does not reach, and why; None where it is used."""
    if state.name == "excluded":
        return "found", state.reason
    if state.name == "pending":
        return _STAGE_OF_STEP.get(state.step, "valid"), "pending"
    if state.name == "failed":
        return _failed_at(state), state.reason
    if math.isnan(segment.label):
        return "used", "no_label"
    return None if segment.split else ("used", "no_split")


def _failed_at(state: State) -> str:
    if state.step == "ingest" and state.reason in _UNHEARD:
        return "aligned"
    if state.reason in DECODING and not (state.step == "ingest" and state.reason == "bad_interval"):
        return "decoded"
    return _STAGE_OF_STEP.get(state.step, "valid")
