"""Transcripts of people's own: what each format says, and a sentence for each that says nothing."""

from __future__ import annotations

import pytest

from storage.schema import Word
from tasks.transcripts import Cue, TranscriptError, read_transcript

SRT = """1
00:00:01,000 --> 00:00:02,500
<i>What a</i> film!

2
00:01:05,250 --> 00:01:06,000
I would
see it again
"""
VTT = """WEBVTT

NOTE nobody says this

intro
01:05.250 --> 01:06.000 align:start
again

00:01.000 --> 00:02.500
<v Mary>What a film
"""


def write(tmp_path, name: str, text: str):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_plain_text_is_one_cue_over_all_of_the_recording(tmp_path):
    assert read_transcript(write(tmp_path, "a.txt", "\ufeffWhat a\n film!")) == [Cue(("What", "a", "film!"))]


def test_subtitles_are_cues_in_the_order_of_their_times(tmp_path):
    first = Cue(("What", "a", "film!"), 1.0, 2.5)
    assert read_transcript(write(tmp_path, "a.srt", SRT)) == [
        first,
        Cue(("I", "would", "see", "it", "again"), 65.25, 66.0),
    ]
    assert read_transcript(write(tmp_path, "a.vtt", VTT)) == [
        Cue(("What", "a", "film"), 1.0, 2.5),
        Cue(("again",), 65.25, 66.0),
    ]


def test_words_with_times_are_words(tmp_path):
    found = read_transcript(write(tmp_path, "a.align", "0 25000 sil\n25000 37500 what\n"))
    assert found == (Word("what", 1.0, 1.5),)
    assert read_transcript(write(tmp_path, "a.ctm", "talk 1 1.0 0.5 what\n")) == found


@pytest.mark.parametrize(
    ("name", "text", "reason", "sentence"),
    [
        ("a.txt", " \n", "empty_transcript", "a.txt has no word in it"),
        ("a.srt", "1\n00:00:01,000 --> 00:00:02,000\n\n", "empty_transcript", "has no word in it"),
        ("a.srt", "1\n00:00:03,000 --> 00:00:02,000\nhi\n", "malformed", "a.srt, line 2: .* with start < end"),
        ("a.srt", "1\nsoon --> later\nhi\n", "malformed", "a.srt, line 2"),
        ("a.align", "0 word\n", "malformed", "a.align, line 1"),
        ("a.align", "0 25000 sil\n", "empty_transcript", "has no word in it"),
    ],
)
def test_what_says_nothing_is_refused_in_a_sentence(tmp_path, name, text, reason, sentence):
    with pytest.raises(TranscriptError, match=sentence) as refusal:
        read_transcript(write(tmp_path, name, text))
    assert refusal.value.reason == reason


def test_no_file_and_no_text_are_refused(tmp_path):
    with pytest.raises(TranscriptError, match="cannot be read: No such file"):
        read_transcript(tmp_path / "a.txt")
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe\x00film")
    with pytest.raises(TranscriptError, match="is not UTF-8 text"):
        read_transcript(tmp_path / "b.txt")
