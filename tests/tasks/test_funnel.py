"""The funnel: every row is lost at one stage for one reason, or used."""

from __future__ import annotations

import math
import re
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from storage.segments import Segment, SegmentId, State
from tasks.features.media import MediaError
from tasks.funnel import DECODING, STAGES, make_funnel

FATES = {
    State("extracted"): None,
    State("excluded", reason="erratum"): ("found", "erratum"),
    State("failed", "ingest", "missing_media"): ("found", "missing_media"),
    State("failed", "ingest", "bad_interval"): ("found", "bad_interval"),
    State("failed", "ingest", "unreadable"): ("decoded", "unreadable"),
    State("failed", "ingest", "no_speech"): ("aligned", "no_speech"),
    State("failed", "words", "no_audio"): ("decoded", "no_audio"),
    State("failed", "words", "bad_interval"): ("decoded", "bad_interval"),
    State("failed", "words", "alignment_failed"): ("aligned", "alignment_failed"),
    State("failed", "words", "silent"): ("aligned", "silent"),
    State("pending", "words"): ("aligned", "pending"),
    State("failed", "vision", "truncated"): ("decoded", "truncated"),
    State("failed", "vision", "no_face"): ("faces", "no_face"),
    State("failed", "audio", "worker_died"): ("valid", "worker_died"),
    State("failed", "bert", "unexpected"): ("valid", "unexpected"),
    State("pending", "glove"): ("valid", "pending"),
}


def segment(label: float = 1.0, split: str = "train") -> Segment:
    return Segment(SegmentId("v", "1"), 2, label=label, split=split)


def test_each_fate_is_a_loss_at_its_stage():
    for state, loss in FATES.items():
        assert make_funnel([segment()], [state]).lost == Counter([loss] if loss else []), state


def test_what_models_cannot_use_is_lost_last():
    segments = [segment(label=math.nan), segment(split=""), segment()]
    funnel = make_funnel(segments, [State("extracted")] * 3)
    assert funnel.lost == {("used", "no_label"): 1, ("used", "no_split"): 1}
    assert funnel.reached == dict.fromkeys(STAGES, 3) | {"used": 1}


@given(states=st.lists(st.sampled_from(list(FATES))))
def test_losses_and_what_is_used_add_up_at_every_stage(states):
    funnel = make_funnel([segment()] * len(states), states)
    assert list(funnel.reached) == list(STAGES) and funnel.reached["labelled"] == len(states)
    assert funnel.lost.total() + funnel.reached["used"] == len(states)
    counts = list(funnel.reached.values())
    assert counts == sorted(counts, reverse=True)


def test_every_reason_of_media_is_one_of_decoding_but_what_is_seen_or_heard_in_them():
    reasons = set(re.findall(r"``([a-z_]+)``", MediaError.__doc__))
    assert reasons - DECODING == {"silent", "no_face"}
