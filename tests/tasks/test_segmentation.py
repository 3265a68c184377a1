"""Segments by pauses: every word in one of them, none too long, and a margin that takes nothing from a neighbour."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.schema import Word
from tasks.segmentation import MARGIN, Limits, bounds, by_pauses, even_spans, voiced

RATE = 16_000


@st.composite
def spoken(draw) -> tuple[Word, ...]:
    """Words with pauses of 0 to 1.5 s before them."""
    time, words = 0.0, []
    steps = st.tuples(st.floats(0, 1.5).map(lambda gap: round(gap, 2)), st.integers(1, 90))
    for gap, hundredths in draw(st.lists(steps, min_size=1, max_size=40)):
        start = time + gap
        time = start + hundredths / 100
        words.append(Word("word", start, time))
    return tuple(words)


limits = st.builds(Limits, st.floats(0.1, 1.2), st.floats(0.5, 8.0), st.integers(1, 12))


@given(spoken(), limits)
def test_every_word_is_in_one_run_that_is_not_too_long_and_has_no_pause(words, limits):
    runs = by_pauses(words, limits)
    assert [place for run in runs for place in range(run.start, run.stop)] == list(range(len(words)))
    for run in runs:
        inside = words[run]
        if len(inside) > 1:
            assert len(inside) <= limits.words and inside[-1].end - inside[0].start <= limits.seconds
            gaps = [after.start - before.end for before, after in zip(inside, inside[1:], strict=False)]
            assert max(gaps) < limits.pause


@given(spoken(), limits)
def test_every_pause_parts(words, limits):
    starts = {run.start for run in by_pauses(words, limits)}
    for place in range(1, len(words)):
        if words[place].start - words[place - 1].end >= limits.pause:
            assert place in starts


@given(spoken(), limits)
def test_segments_hold_their_words_with_a_margin_and_do_not_overlap(words, limits):
    runs, seconds = by_pauses(words, limits), words[-1].end + 1
    found = bounds(words, runs, seconds)
    assert all(end <= start + 1e-9 for (_, end), (start, _) in zip(found, found[1:], strict=False))
    for run, (start, end) in zip(runs, found, strict=True):
        assert 0 <= start <= words[run.start].start <= words[run.stop - 1].end <= end <= seconds
        assert words[run.start].start - start <= MARGIN + 1e-9 and end - words[run.stop - 1].end <= MARGIN + 1e-9


def test_a_run_that_is_too_long_is_parted_at_the_longest_pause_near_its_middle():
    edges = [(0, 1), (1.4, 2), (2.1, 3), (3.3, 4), (4.1, 5), (5.4, 6)]
    words = [Word("word", start, end) for start, end in edges]
    assert by_pauses(words, Limits(pause=0.5, seconds=10, words=5)) == [slice(0, 3), slice(3, 6)]


def test_speech_is_found_by_its_loudness_above_the_noise():
    random = np.random.default_rng(0)
    sound = random.normal(0, 0.003, 6 * RATE).astype(np.float32)
    for start, end in ((1.0, 2.0), (2.2, 3.0), (4.0, 5.0)):  # the second comes after less than a pause
        sound[round(start * RATE) : round(end * RATE)] += 0.2 * np.sin(np.arange(round((end - start) * RATE)) / 20)
    sound[round(5.6 * RATE) : round(5.65 * RATE)] = 0.2  # a click
    found = voiced(sound, RATE, pause=0.5)
    np.testing.assert_allclose(found, [(1.0, 3.0), (4.0, 5.0)], atol=0.02)


@given(st.lists(st.tuples(st.floats(0, 50), st.floats(0.2, 9)), max_size=5), st.floats(0.1, 1))
def test_spans_fill_the_stretches_without_a_gap(stretches, span):
    stretches = [(start, start + length) for start, length in stretches]
    found = even_spans(stretches, span)
    assert sum(word.end - word.start for word in found) == pytest.approx(sum(b - a for a, b in stretches))
    assert all(word.text == "" and 0.4 * span < word.end - word.start < 2.1 * span or span > 0.2 for word in found)
