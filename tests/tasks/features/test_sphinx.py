"""Words are found where they are spoken, and what could not be found says so."""

import numpy as np
import pytest

from tasks.features import media
from tasks.features.sphinx import SphinxAligner
from tasks.features.words import AlignmentError, boundary_errors, read_align

ALIGNER = SphinxAligner()


@pytest.fixture(scope="module")
def clip(shared_data):
    """(waveform, tokens, true words) of a real clip."""
    grid = shared_data / "grid"
    true = read_align(grid / "bbaf2n.align")
    return media.waveform(grid / "bbaf2n.mpg"), [word.text for word in true], true


@pytest.mark.real_data
@pytest.mark.parametrize("video, times", [("bbaf2n", "bbaf2n"), ("id2_vcd_swwp2s", "swwp2s")])
def test_every_boundary_of_real_speech_is_within_50_ms(shared_data, video, times):
    grid = shared_data / "grid"
    true = read_align(grid / f"{times}.align")
    found = ALIGNER.align(media.waveform(grid / f"{video}.mpg"), [word.text for word in true])
    errors = boundary_errors(found, true)
    assert errors.shape == (12,) and errors.max() <= 0.05 + 1e-9
    assert all(word.source == "aligned" and 0.3 < word.confidence <= 1 for word in found)


@pytest.mark.real_data
def test_every_real_clip_is_aligned_in_order(shared_data):
    grid = shared_data / "grid"
    for line in (grid / "transcripts.tsv").read_text().splitlines():
        video, text = line.split("\t")
        found = ALIGNER.align(media.waveform(grid / video), text.split())
        assert [word.text for word in found] == text.split()
        times = [time for word in found for time in (word.start, word.end)]
        assert times == sorted(times) and 0 <= times[0] and times[-1] <= 2.98


@pytest.mark.real_data
def test_what_was_aligned_before_does_not_matter(clip):
    waveform, tokens, _ = clip
    first = ALIGNER.align(waveform, tokens)
    ALIGNER.align(waveform[::-1].copy(), ["something", "else", "entirely"])
    assert ALIGNER.align(waveform, tokens) == first


@pytest.mark.real_data
def test_tokens_keep_their_spelling_and_numbers_are_heard(clip):
    waveform, _, true = clip
    found = ALIGNER.align(waveform, ["Bin", "BLUE,", "at", "F", "2", "now!"])
    assert [word.text for word in found] == ["Bin", "BLUE,", "at", "F", "2", "now!"]
    assert boundary_errors(found, true).max() < 0.06


@pytest.mark.real_data
def test_a_token_of_several_words_lasts_from_the_first_to_the_last(clip):
    waveform, _, true = clip
    found = ALIGNER.align(waveform, ["bin-blue", "at", "f2", "now"])
    assert abs(found[0].start - true[0].start) < 0.06 and abs(found[0].end - true[1].end) < 0.06
    assert abs(found[2].start - true[3].start) < 0.06 and abs(found[2].end - true[4].end) < 0.06


@pytest.mark.real_data
def test_tokens_that_are_not_said_share_the_pause_between_their_neighbours(clip):
    waveform, _, true = clip
    found = ALIGNER.align(waveform, ["--", "bin", "blue", "--", "at", "f", "two", "now", "...", "--"])
    assert [word.source == "interpolated" for word in found] == [
        text in ("--", "...") for text in (w.text for w in found)
    ]
    times = [time for word in found for time in (word.start, word.end)]
    assert times == sorted(times)
    assert found[0].start == 0.0 and found[0].end == found[1].start and found[0].confidence == 0.0
    assert found[-2].end == found[-1].start and found[-1].end == pytest.approx(len(waveform) / 16_000)


@pytest.mark.real_data
def test_confidence_falls_where_the_words_are_not_those_spoken(clip):
    waveform, tokens, _ = clip
    right = [word.confidence for word in ALIGNER.align(waveform, tokens)]
    wrong = [word.confidence for word in ALIGNER.align(waveform, "he really liked that awful movie".split())]
    assert np.median(right) > 2 * np.median(wrong)


@pytest.mark.real_data
def test_an_unknown_word_is_aligned_by_its_guessed_sound(clip):
    waveform, _, true = clip
    found = ALIGNER.align(waveform, ["binn", "blueh", "at", "f", "two", "now"])
    assert boundary_errors(found, true).max() < 0.1


@pytest.mark.real_data
@pytest.mark.parametrize("absent", ["antidisestablishmentarianism", "incomprehensibilities electroencephalography"])
def test_words_that_the_sound_has_no_room_for_do_not_lose_the_others(clip, absent):
    waveform, _, true = clip
    found = ALIGNER.align(waveform, ["bin", "blue", *absent.split(), "f", "two", "now"])
    assert [word.source for word in found] == [
        *["aligned"] * 2, *["interpolated"] * len(absent.split()), *["aligned"] * 3
    ]  # fmt: skip
    kept = [word for word in found if word.source == "aligned"]
    spoken = [word for word in true if word.text != "at"]
    assert np.median(boundary_errors(kept, spoken)) <= 0.05 and min(word.confidence for word in kept) > 0.5


@pytest.mark.parametrize(
    "waveform, tokens",
    [
        (np.random.default_rng(0).normal(0, 0.1, 48_000).astype(np.float32), "bin blue at f two now".split()),
        (np.random.default_rng(0).normal(0, 0.1, 3200).astype(np.float32), ["hello"] * 9),
        (np.ones(8, np.float32) / 2, ["hello"]),
    ],
    ids=["noise", "far too short", "hardly any sound"],
)
def test_what_cannot_be_aligned_has_a_reason(waveform, tokens):
    with pytest.raises(AlignmentError) as caught:
        ALIGNER.align(waveform, tokens)
    assert caught.value.reason == "alignment_failed"


def test_the_recipe_tells_configurations_apart():
    assert SphinxAligner().recipe() == ALIGNER.recipe() != SphinxAligner(seed=1).recipe()
