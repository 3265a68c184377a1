"""A video of one's own as segments: by its pauses, by a table, with words, with word times, and without text."""

from __future__ import annotations

import csv
import re
from difflib import SequenceMatcher
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest

from tasks.features import media
from tasks.features.media import MediaError
from tasks.features.words import read_align
from tasks.own_video import cut
from tasks.segmentation import Limits
from tasks.transcribe import TranscriptionError
from tasks.transcripts import TranscriptError
from tests.tasks.joined_video import PAUSE, RATE, join

LIMITS = Limits(pause=0.5, seconds=20, words=50)


@pytest.fixture(scope="module")
def clips(corpus) -> list[tuple[Path, str]]:
    """Two clips of one video of the corpus, and what is said in them."""
    with (corpus / "label.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[:2]
    return [(corpus / "Raw" / row["video_id"] / f"{row['clip_id']}.mp4", row["text"]) for row in rows]


@pytest.fixture(scope="module")
def video(clips, tmp_path_factory) -> Path:
    return join([clip for clip, _ in clips], tmp_path_factory.mktemp("own") / "holiday.mp4")


@pytest.fixture(scope="module")
def truth(clips) -> list[list[tuple[float, float]]]:
    """When each word of each clip is said, in seconds of the video."""
    found, before = [], 0.0
    for clip, _ in clips:
        words = read_align(clip.with_suffix(".align"))
        found.append([(before + word.start, before + word.end) for word in words])
        pictures = sum(1 for _ in media.frames(clip, frames_per_second=RATE))
        before += pictures / RATE + PAUSE
    return found


def of(video: Path, transcript=None, table=None, with_text=True, limits=LIMITS):
    return cut.fn(video, transcript, table, with_text, limits, 0.3)


def written(tmp_path, name: str, text: str) -> Path:
    (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path / name


def test_a_plain_transcript_is_parted_at_the_pause(video, clips, truth, tmp_path):
    segments = of(video, written(tmp_path, "said.txt", "\n".join(text for _, text in clips)))
    assert [segment.text for segment in segments] == [text for _, text in clips]
    assert [str(segment.id) for segment in segments] == ["holiday$_$001", "holiday$_$002"]
    for segment, words in zip(segments, truth, strict=True):
        assert segment.start <= words[0][0] + 0.1 and segment.end >= words[-1][1] - 0.1
        assert segment.media == "holiday.mp4" and len(segment.media_sha256) == 64 and segment.given_words == ()


def test_a_long_stretch_is_parted_further(video, clips, tmp_path):
    segments = of(video, written(tmp_path, "said.txt", " ".join(text for _, text in clips)),
                  limits=Limits(0.5, 20, words=6))  # fmt: skip
    assert all(len(segment.text.split()) <= 6 for segment in segments) and len(segments) > 2
    assert " ".join(segment.text for segment in segments) == " ".join(text for _, text in clips)


def test_subtitles_are_looked_for_within_their_times(video, clips, truth, tmp_path):
    cues = [f"00:00:{words[0][0]:06.3f} --> 00:00:{words[-1][1]:06.3f}" for words in truth]
    text = "\n\n".join(f"{cue}\n{said}" for cue, (_, said) in zip(cues, clips, strict=True))
    segments = of(video, written(tmp_path, "said.srt", text))
    assert [segment.text for segment in segments] == [said for _, said in clips]


def test_given_word_times_are_kept(video, truth, tmp_path):
    lines = [f"{round(a * 25000)} {round(b * 25000)} word" for words in truth for a, b in words]
    segments = of(video, written(tmp_path, "said.align", "\n".join(lines)))
    assert len(segments) == 2
    for segment, words in zip(segments, truth, strict=True):
        found = [(segment.start + word.start, segment.start + word.end) for word in segment.given_words]
        np.testing.assert_allclose(found, words, atol=1e-4)


def test_a_table_says_where_segments_lie_and_the_transcript_what_is_said_in_them(video, clips, truth, tmp_path):
    middle = truth[0][-1][1] + 0.3
    table = written(tmp_path, "cut.csv", f"start,end\n0,{middle}\n{middle},{middle + 0.2}\n{middle + 0.2},99\n")
    transcript = written(tmp_path, "said.txt", " ".join(text for _, text in clips))
    first, empty, second = of(video, transcript, table)
    assert (first.text, second.text) == tuple(text for _, text in clips)
    assert (first.start, first.end) == (0, middle) and second.end < 99
    assert empty.failure.reason == "no_words" and empty.text == ""


def test_a_table_with_texts_needs_no_transcript(video, clips, tmp_path):
    table = written(tmp_path, "cut.csv", f'start,end,text\n0,2.5,"{clips[0][1]}"\n')
    (segment,) = of(video, None, table)
    assert (segment.start, segment.end, segment.text) == (0, 2.5, clips[0][1])


def test_without_text_spans_fill_what_is_voiced(video, truth):
    segments = of(video, with_text=False)
    assert len(segments) == 2 and all(segment.text == "" for segment in segments)
    for segment, words in zip(segments, truth, strict=True):
        assert abs(segment.start - words[0][0]) < 0.4 and abs(segment.end - words[-1][1]) < 0.4
        assert all(0.15 < word.end - word.start < 0.6 for word in segment.given_words)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("start,end\n", "cut.csv has no row"),
        ("begin,end\n0,1\n", "cut.csv, row 2: start and end"),
        ("start,end\n0,1\n2,1\n", "cut.csv, row 3: no segment of .* lasts from 2 to 1 s"),
        ("start,end\n0,nan\n", "row 2"),
        ("start,end\n900,901\n", "row 2"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_by_row(video, tmp_path, text, sentence):
    with pytest.raises(TranscriptError, match=sentence):
        of(video, None, written(tmp_path, "cut.csv", text))


def test_videos_that_cannot_be_read_are_refused_in_a_sentence(clips, tmp_path):
    with pytest.raises(MediaError, match="cannot be opened: No such file"):
        of(tmp_path / "none.mp4")
    with pytest.raises(MediaError, match="not a readable recording"):
        of(written(tmp_path, "text.mp4", "hello"))
    with pytest.raises(MediaError, match="is silence: nobody speaks in it") as refusal:
        of(join([clips[0][0]], tmp_path / "mute.mp4", volume=0))
    assert refusal.value.reason == "silent"


def test_without_a_transcript_the_words_are_what_is_heard(video, clips):
    pytest.importorskip("faster_whisper", reason="the extra 'transcribe' (faster-whisper) is not installed")
    segments = of(video)
    assert len(segments) == 2 and all(segment.given_words == () for segment in segments)
    for segment, (_, said) in zip(segments, clips, strict=True):
        heard = re.sub(r"[^a-z ]", "", segment.text.lower()).split()
        assert SequenceMatcher(None, heard, said.lower().split(), autojunk=False).ratio() > 0.7


def test_without_a_transcript_and_a_transcriber_the_extra_is_named(video, monkeypatch):
    monkeypatch.setattr("tasks.transcribe.version", missing)
    with pytest.raises(TranscriptionError, match="pip install 'dmd.transcribe.'") as refusal:
        of(video)
    assert refusal.value.reason == "no_transcriber"


def missing(package: str) -> str:
    raise PackageNotFoundError(package)
