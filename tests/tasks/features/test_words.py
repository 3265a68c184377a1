"""Words are found where they are spoken, and what could not be found says so."""

import numpy as np
import pytest

from storage.schema import Word
from tasks.features import media
from tasks.features.words import AlignmentError, ForcedAligner, boundary_errors, read_align

ALIGNER = ForcedAligner()


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


@pytest.mark.parametrize(
    "waveform, tokens, reason",
    [
        (np.zeros(16_000, np.float32), ["hello"], "silent"),
        (np.ones(16_000, np.float32) / 2, ["--", "..."], "no_alignable_word"),
        (np.ones(16_000, np.float32) / 2, [], "no_alignable_word"),
        (np.random.default_rng(0).normal(0, 0.1, 3200).astype(np.float32), ["hello"] * 9, "alignment_failed"),
        (np.ones(8, np.float32) / 2, ["hello"], "alignment_failed"),
    ],
    ids=["silence", "no word", "no token", "far too short", "hardly any sound"],
)
def test_what_cannot_be_aligned_has_a_reason(waveform, tokens, reason):
    with pytest.raises(AlignmentError) as caught:
        ALIGNER.align(waveform, tokens)
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


def test_the_recipe_tells_configurations_apart():
    assert ForcedAligner().recipe() == ALIGNER.recipe() != ForcedAligner(seed=1).recipe()
