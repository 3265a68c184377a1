"""What aligners have in common: tokens keep their spelling, their times come from the spoken words that were found."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.schema import Word
from tasks.features.words import AlignmentError, Found, align_tokens, boundary_errors, read_align

SOUND = np.full(2 * 16_000, 0.5, np.float32)


def each_for(seconds: float, without: set[int] = frozenset()):
    """A finder that hears each spoken word for so long, one after the other, but not those ``without``."""

    def find(words: list[str]) -> list[Found | None]:
        return [
            None if place in without else Found(place * seconds, (place + 1) * seconds, -0.5)
            for place in range(len(words))
        ]

    return find


def test_a_token_lasts_from_the_first_to_the_last_of_its_words():
    words = align_tokens(SOUND, ["Only", "$21.50,", "now!"], each_for(0.1))
    assert [word.text for word in words] == ["Only", "$21.50,", "now!"]
    np.testing.assert_allclose([(word.start, word.end) for word in words], [(0, 0.1), (0.1, 0.5), (0.5, 0.6)])
    assert [word.confidence for word in words] == pytest.approx([np.exp(-0.5)] * 3)


def test_confidence_of_several_words_is_weighted_by_their_time():
    (word,) = align_tokens(SOUND, ["twenty-one"], lambda _: [Found(0, 0.1, -1.0), Found(0.1, 0.4, -3.0)])
    assert word.confidence == pytest.approx(np.exp(-(0.1 * 1 + 0.3 * 3) / 0.4))


def test_a_word_that_is_not_found_loses_no_other():
    words = align_tokens(SOUND, "a b twenty-one c".split(), each_for(0.1, without={1, 2}))
    assert [word.source for word in words] == ["aligned", "interpolated", "aligned", "aligned"]
    np.testing.assert_allclose(
        [(word.start, word.end) for word in words], [(0, 0.1), (0.1, 0.3), (0.3, 0.4), (0.4, 0.5)]
    )
    assert words[1].confidence == 0.0


@given(st.lists(st.sampled_from(["word", "--", "3.5%", "😀"]), min_size=1, max_size=9), st.sets(st.integers(0, 12)))
def test_times_rise_whatever_is_missing(tokens, without):
    if not {"word", "3.5%"} & set(tokens):
        with pytest.raises(AlignmentError, match="no word that could be said"):
            align_tokens(SOUND, tokens, each_for(0.05, without))
        return
    words = align_tokens(SOUND, tokens, each_for(0.05, without))
    assert [word.text for word in words] == tokens
    times = [time for word in words for time in (word.start, word.end)]
    assert times == sorted(times) and 0 <= times[0] and times[-1] <= 2.0
    assert all((word.confidence == 0) == (word.source == "interpolated") for word in words)


def test_silence_and_unspeakable_text_have_their_reasons():
    for sound, tokens, reason in (
        (np.zeros(16_000, np.float32), ["hello"], "silent"),
        (SOUND, ["--", "..."], "no_alignable_word"),
        (SOUND, [], "no_alignable_word"),
    ):
        with pytest.raises(AlignmentError) as caught:
            align_tokens(sound, tokens, each_for(0.1))
        assert caught.value.reason == reason


def test_word_times_are_read_without_silence(tmp_path):
    path = tmp_path / "clip.align"
    path.write_text("0 23750 sil\n23750 29500 bin\n29500 34000 blue\n34000 34500 sp\n\n")
    assert read_align(path) == (Word("bin", 0.95, 1.18), Word("blue", 1.18, 1.36))


@pytest.mark.parametrize("line", ["1 2", "a 2 word", "5 5 word", "9 2 word", "1 2 two words", "-1 2 word"])
def test_a_line_that_is_no_word_time_is_named(tmp_path, line):
    path = tmp_path / "clip.align"
    path.write_text(f"0 10 bin\n{line}\n")
    with pytest.raises(ValueError, match="clip.align, line 2"):
        read_align(path)


def test_boundary_errors_are_distances_of_starts_and_ends():
    found = [Word("a", 0.10, 0.50), Word("b", 0.50, 0.90)]
    true = [Word("a", 0.12, 0.50), Word("b", 0.40, 1.00)]
    np.testing.assert_allclose(boundary_errors(found, true), [0.02, 0, 0.1, 0.1])
    assert boundary_errors([], []).shape == (0,)
    with pytest.raises(ValueError, match="2 aligned words cannot be compared with 1"):
        boundary_errors(found, true[:1])
