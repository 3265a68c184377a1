"""Every row is in exactly one state; the table loses nothing."""

import dataclasses
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from storage.schema import Failure
from storage.segments import Segment, SegmentId, Step, from_arrays, funnel, states, to_arrays
from tests.storage.store_records import failures, texts, words

segments = st.builds(
    Segment,
    id=st.builds(SegmentId, texts, texts),
    row=st.integers(0, 2**40),
    media=texts,
    media_sha256=texts,
    start=st.floats(),
    end=st.floats(),
    text=st.sampled_from(["good film", "bad film", "a film"]),
    label=st.floats(),
    split=st.sampled_from(["train", "valid", "test", ""]),
    given_words=words,
    failure=st.none() | failures,
    excluded=st.sampled_from(["", "", "duplicate"]),
)


@st.composite
def steps(draw):
    """Two steps that are done for some of the transcripts."""
    done = st.dictionaries(st.sampled_from(["good film", "bad film", "a film"]), st.none() | failures)
    return [Step(name, lambda segment: segment.text, draw(done)) for name in ("words", "vision")]


@given(st.lists(segments), steps())
def test_every_row_is_in_one_state_and_the_counts_add_up(table, steps):
    found = states(table, steps)
    counts = funnel(found)
    assert len(found) == counts.total() == len(table)
    for segment, state in zip(table, found, strict=True):
        failed = [("ingest", segment.failure)] + [(step.name, step.done.get(segment.text)) for step in steps]
        failed = [(name, failure.reason) for name, failure in failed if failure]
        if state.name == "excluded":
            assert state.reason == segment.excluded != ""
        elif state.name == "failed":
            assert not segment.excluded and (state.step, state.reason) == failed[0]
        elif state.name == "pending":
            assert not failed and segment.text not in next(step for step in steps if step.name == state.step).done
        else:
            assert state.name == "extracted"
            assert not failed and all(step.done[segment.text] is None for step in steps)
    assert counts == Counter((state.name, state.step, state.reason) for state in found)


def test_the_first_failure_goes_before_what_is_pending_and_an_exclusion_before_all():
    segment = Segment(SegmentId("v", "1"), 2, text="good film")
    late = Step("vision", lambda segment: segment.text, {"good film": Failure("no_face", "no face seen")})
    pending = Step("words", lambda segment: segment.text, {})
    assert states([segment], [pending])[0].name == "pending"
    assert states([segment], [pending, late])[0].step == "vision"
    assert states([dataclasses.replace(segment, excluded="duplicate")], [late])[0].name == "excluded"


@settings(max_examples=40)
@given(st.lists(segments, max_size=20))
def test_the_table_of_arrays_gives_back_every_segment(table):
    assert repr(from_arrays(to_arrays(table))) == repr(table)


def test_keys_change_with_what_they_name_and_nothing_else():
    one = Segment(SegmentId("v", "1"), 2, media_sha256="a", start=0, end=2, text="good film")
    renamed = dataclasses.replace(one, id=SegmentId("w", "2"), row=9, label=1.0, split="test")
    assert (one.media_key, one.text_key, one.speech_key) == (renamed.media_key, renamed.text_key, renamed.speech_key)
    cut = dataclasses.replace(one, end=1.5)
    voiced = dataclasses.replace(one, sound="1.wav", sound_sha256="b")
    assert (voiced.media_key, voiced.text_key) == (one.media_key, one.text_key)
    assert voiced.sound_key != one.sound_key == one.media_key and voiced.speech_key != one.speech_key
    assert cut.media_key != one.media_key and cut.speech_key != one.speech_key and cut.text_key == one.text_key
