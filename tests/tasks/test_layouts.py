"""Layouts: each kind of raw folder is recognised, and gives the rows that its files say."""

from __future__ import annotations

import csv
import hashlib
import json
import logging
import math
from pathlib import Path

import h5py
import numpy as np
import pytest

from storage.schema import Word
from tasks.ingest import read_raw
from tasks.labels import LabelError
from tasks.layouts import find_layout
from tests.tasks.raw_folders import corpus, failures, read_segments

TOLD = {1: "IT WAS GREAT", 2: "I HATED IT"}
OPINIONS = "1.5,3.25,03bSnISJMiM,1,2.4\n4.0,6.0,03bSnISJMiM,2,-1.0\n"


def mosi(raw: Path, *recordings: str, opinions: str = OPINIONS) -> Path:
    """The distribution of CMU-MOSI with one video of two segments."""
    corpus(raw, *(f"Raw/Video/{name}" for name in recordings))
    folder = raw / "Raw/Transcript/Segmented"
    folder.mkdir(parents=True)
    (folder / "03bSnISJMiM.annotprocessed").write_text("".join(f"{n}_DELIM_{text}\n" for n, text in TOLD.items()))
    if opinions:
        (raw / "Labels").mkdir()
        (raw / "Labels/OpinionLevelSentiment.csv").write_text(opinions)
    return raw


def mosei(raw: Path, transcript: str, video: str = "-3g5yACwYnA") -> Path:
    """The distribution of CMU-MOSEI with one video."""
    corpus(raw, f"Raw/Videos/Full/Combined/{video}.mp4")
    folder = raw / "Raw/Transcript/Segmented/Combined"
    folder.mkdir(parents=True)
    (folder / f"{video}.txt").write_text(transcript)
    return raw


def write_csd(path: Path, name: str, **videos: tuple[list, list]) -> Path:
    """A computational sequence as CMU's SDK writes it; a key's underscore stands for the dash of its video."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for video, (intervals, features) in videos.items():
            group = file.create_group(f"{name}/data/{video}")
            group["intervals"] = np.array(intervals, np.float64)
            group["features"] = np.array(features)
        file.create_group(f"{name}/metadata")
    return path


def facts(segments) -> list[tuple]:
    return [(s.id.clip, s.media.split("/")[-1], s.start, s.end, s.text, s.label, s.split) for s in segments]


def test_mosi_from_full_videos_is_cut_by_time(tmp_path):
    segments, source = read_raw(mosi(tmp_path, "Full/03bSnISJMiM.mp4"))
    assert facts(segments) == [
        ("1", "03bSnISJMiM.mp4", 1.5, 3.25, "IT WAS GREAT", 2.4, "train"),
        ("2", "03bSnISJMiM.mp4", 4.0, 6.0, "I HATED IT", -1.0, "train"),
    ]
    assert (source.layout, source.labels) == ("CMU-MOSI", f"{tmp_path.name}/Labels/OpinionLevelSentiment.csv")
    assert source.splits == "official folds of cmu-mosi"


def test_mosi_takes_a_clip_of_its_own_before_the_full_video(tmp_path):
    raw = mosi(tmp_path, "Full/03bSnISJMiM.mp4", "Segmented/03bSnISJMiM_2.mp4")
    first, second = read_segments(raw)
    assert (first.media, first.start) == ("Raw/Video/Full/03bSnISJMiM.mp4", 1.5)
    assert (second.media, second.start, second.end) == ("Raw/Video/Segmented/03bSnISJMiM_2.mp4", 0, math.inf)


def test_a_wav_of_a_recordings_name_has_its_sound(tmp_path):
    """The distribution has them in a folder of their own; elsewhere they lie beside."""
    raw = mosi(tmp_path / "mosi", "Full/03bSnISJMiM.mp4", "Segmented/03bSnISJMiM_2.mp4")
    wavs = [f"Raw/Audio/WAV_16000/{name}.wav" for name in ("Segmented/03bSnISJMiM_1", "Segmented/03bSnISJMiM_2")]
    first, second = read_segments(corpus(raw, *wavs))
    assert (first.sound, first.sound_sha256) == ("", ""), "its recording is the full video"
    assert (second.media, second.sound) == ("Raw/Video/Segmented/03bSnISJMiM_2.mp4", wavs[1])
    assert second.sound_sha256 == hashlib.sha256(wavs[1].encode()).hexdigest() != second.media_sha256
    first, second = read_segments(corpus(raw, "Raw/Audio/WAV_16000/Full/03bSnISJMiM.wav"))
    assert (first.sound, first.start) == ("Raw/Audio/WAV_16000/Full/03bSnISJMiM.wav", 1.5) and second.sound == wavs[1]
    raw = corpus(tmp_path / "own", "v/1.mp4", "v/1.wav", "v/2.mp4", "v/3.wav", rows="v,1,a\nv,2,b\nv,3,c\n")
    assert [segment.sound for segment in read_segments(raw)] == ["v/1.wav", "", ""]
    assert failures(read_segments(corpus(raw, "v/1.WAV"))) == {"v$_$1": "ambiguous_media", "v$_$3": "missing_media"}


def test_the_folder_raw_itself_may_be_named(tmp_path):
    raw = mosi(tmp_path, "Full/03bSnISJMiM.mp4", opinions="") / "Raw"
    (raw / "OpinionLevelSentiment.csv").write_text(OPINIONS)
    assert [segment.label for segment in read_segments(raw)] == [2.4, -1.0]


def test_mosi_labels_of_a_computational_sequence_are_numbered_by_their_place(tmp_path):
    raw = mosi(tmp_path, "Full/03bSnISJMiM.mp4", opinions="")
    write_csd(
        raw / "Raw/Labels/CMU_MOSI_Opinion_Labels.csd", "labels",
        **{"03bSnISJMiM": ([[1.5, 3.25], [4, 6]], [[2.4], [-1.0]])},
    )  # fmt: skip
    assert facts(read_segments(raw)) == [
        ("1", "03bSnISJMiM.mp4", 1.5, 3.25, "IT WAS GREAT", 2.4, "train"),
        ("2", "03bSnISJMiM.mp4", 4.0, 6.0, "I HATED IT", -1.0, "train"),
    ]


def test_every_mosi_label_is_a_row_whatever_is_missing(tmp_path, caplog):
    opinions = "1.5,3.25,03bSnISJMiM,1,2.4\n7,8,03bSnISJMiM,9,1\n1,2,gone,1,x\n1,2,gone,2\n"
    segments = read_segments(mosi(tmp_path, "Full/03bSnISJMiM.mp4", opinions=opinions))
    assert failures(segments) == {
        "03bSnISJMiM$_$9": "empty_text",
        "gone$_$1": "empty_text",
        "gone$_$2": "malformed_row",
    }
    assert segments[1].failure.message == "row 2, column transcript: no word in it"
    assert "1 transcribed segments have no label" in caplog.text


def test_mosi_without_labels_is_taken_without(tmp_path, caplog):
    segments = read_segments(mosi(tmp_path, "Segmented/03bSnISJMiM_1.mp4", "Segmented/03bSnISJMiM_2.mp4", opinions=""))
    assert [segment.text for segment in segments] == list(TOLD.values())
    assert all(math.isnan(segment.label) for segment in segments) and not failures(segments)
    assert "no labels beside" in caplog.text


@pytest.mark.parametrize(
    ("file", "line", "reason"),
    [("03bSnISJMiM.annotprocessed", "3 WHAT", "'3 WHAT' is not '1_DELIM_TEXT'")],
)
def test_a_malformed_transcript_is_named_by_file_and_line(tmp_path, file, line, reason):
    raw = mosi(tmp_path, "Full/03bSnISJMiM.mp4")
    with (raw / "Raw/Transcript/Segmented" / file).open("a") as transcript:
        transcript.write(line)
    with pytest.raises(LabelError, match=reason) as caught:
        read_segments(raw)
    assert f"{file}, line 3" in str(caught.value)


TRANSCRIPT = "-3g5yACwYnA___0___0.0___4.5___First ___ of all\n-3g5yACwYnA___1___82.7645___90.5___Key is part\n"


@pytest.mark.parametrize("clip", ["1", "82_7645"])
def test_mosei_labels_name_clips_by_number_or_by_start(tmp_path, clip):
    raw = mosei(tmp_path, TRANSCRIPT)
    (raw / "label.csv").write_text(f"video_id,clip_id,label\n-3g5yACwYnA,0,-0.5\n-3g5yACwYnA,{clip},1.0\n")
    segments, source = read_raw(raw)
    assert facts(segments) == [
        ("0", "-3g5yACwYnA.mp4", 0.0, 4.5, "First ___ of all", -0.5, "train"),
        (clip, "-3g5yACwYnA.mp4", 82.7645, 90.5, "Key is part", 1.0, "train"),
    ]
    assert (source.layout, source.splits) == ("CMU-MOSEI", "official folds of cmu-mosei")


def test_mosei_labels_of_a_computational_sequence_are_matched_by_start(tmp_path):
    raw = mosei(tmp_path, TRANSCRIPT)
    labels = {"-3g5yACwYnA": ([[82.76, 90.5], [0.0, 4.5], [30.0, 31.0]], [[1.0, 0.3], [-0.5, 0], [2, 0]])}
    write_csd(raw / "CMU_MOSEI_Labels.csd", "All Labels", **labels)
    second, first, without = read_segments(raw)
    assert (second.id.clip, second.text, second.label, second.start) == ("1", "Key is part", 1.0, 82.76)
    assert (first.id.clip, first.text, first.label) == ("0", "First ___ of all", -0.5)
    assert (without.id.clip, without.failure.reason) == ("30", "empty_text")


def test_a_video_in_no_official_fold_is_excluded(tmp_path):
    rows = "v1,1,a,1\nv1,2,,1\n03bSnISJMiM,1,a,1\n0h-zjBukYpk,1,b,1\ntIrG4oNLFzE,1,b,1\nWKA5OygbEKI,1,b,1\n"
    segments, source = read_raw(corpus(tmp_path, rows=rows, header="video_id,clip_id,text,label\n"))
    assert [segment.excluded for segment in segments] == ["in_no_official_fold", "", "", "", "", ""]
    assert failures(segments)["v1$_$2"] == "empty_text"
    assert [segment.split for segment in segments[2:]] == ["train", "train", "test", "valid"]


OWN = "video,start,end,text,label,split\nholiday.mp4,12.5,15,it was great,2,train\nholiday.mp4,15,17,not so,-1,train\n"


def test_ones_own_folder_with_short_names_of_columns(tmp_path):
    raw = corpus(tmp_path, "holiday.mp4")
    (raw / "label.csv").write_text(OWN)
    segments, source = read_raw(raw)
    assert [(str(s.id), s.media, s.start, s.end, s.label) for s in segments] == [
        ("holiday.mp4$_$12.5", "holiday.mp4", 12.5, 15, 2),
        ("holiday.mp4$_$15", "holiday.mp4", 15, 17, -1),
    ]
    assert (source.layout, source.splits) == ("label.csv", "column of the labels")


def test_nothing_but_the_video_is_needed(tmp_path, caplog):
    raw = corpus(tmp_path, "Raw/holiday.mp4", "Raw/work.mov")
    (raw / "label.csv").write_text("video\nholiday\nwork\n")
    named = read_segments(raw)
    assert [(str(s.id), s.media, s.start, s.end, s.text) for s in named] == [
        ("holiday$_$0", "Raw/holiday.mp4", 0, math.inf, ""),
        ("work$_$0", "Raw/work.mov", 0, math.inf, ""),
    ]
    assert not failures(named)
    (raw / "label.csv").unlink()
    with caplog.at_level(logging.INFO):
        listed, source = read_raw(raw)
    assert [(s.id, s.media, s.text) for s in listed] == [(s.id, s.media, s.text) for s in named]
    assert (source.layout, source.labels, source.untold) == ("videos without labels", f"{tmp_path.name}/Raw", 2)
    assert "each of its 2 videos is one segment" in caplog.text and "layout videos without labels" in caplog.text


def test_columns_of_ones_own_are_named_as_they_are_written(tmp_path):
    raw = corpus(tmp_path, "a.mp4")
    (raw / "label.csv").write_text("video,start,split,label\na,one,train,\na,2,dev,\na,3,train,9\n")
    messages = [segment.failure.message for segment in read_segments(raw)]
    assert [message.split(":")[0] for message in messages] == [
        "row 2, column start",
        "row 3, column split",
        "row 4, column label",
    ]


TEXTGRID = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 3
tiers? <exists>
size = 2
item []:
    item [1]:
        class = "IntervalTier"
        name = "anna - words"
        xmin = 0
        xmax = 3
        intervals: size = 4
        intervals [1]:
            xmin = 0
            xmax = 1
            text = ""
        intervals [2]:
            xmin = 1
            xmax = 1.5
            text = "bin"
        intervals [3]:
            xmin = 1.5
            xmax = 2
            text = "blue"
        intervals [4]:
            xmin = 2
            xmax = 3
            text = "sp"
    item [2]:
        class = "IntervalTier"
        name = "anna - phones"
        xmin = 0
        xmax = 3
        intervals: size = 1
        intervals [1]:
            xmin = 0
            xmax = 3
            text = "B"
"""
FORMATS = {
    ".align": "0 25000 sil\n25000 37500 bin\n37500 50000 blue\n",
    ".TextGrid": TEXTGRID,
    ".ctm": ";; a comment\na 1 1.0 0.5 bin 0.9\na 1 1.5 0.5 blue\na 1 2.0 1.0 <eps>\n",
}


@pytest.mark.parametrize("suffix", FORMATS)
def test_word_times_beside_a_recording_are_text_too_where_there_is_none(tmp_path, suffix):
    raw = corpus(tmp_path, "a.mp4", "b.mp4")
    (raw / f"a{suffix}").write_text(FORMATS[suffix])
    (raw / f"b{suffix}").write_text("what is this\n")
    first, second = read_segments(raw)
    assert first.text == "bin blue"
    assert first.given_words == (Word("bin", 1.0, 1.5), Word("blue", 1.5, 2.0))
    assert second.failure.reason == "bad_word_times" and f"b{suffix}" in second.failure.message


@pytest.mark.parametrize(
    ("line", "trouble"),
    [
        ("a 1 1.0 -0.5 bin", "'bin' lasts from 1.0 to 0.5 s"),
        ("a 1 nan 0.5 bin", "'bin' lasts from nan"),
        ("a 1 1.0 0.5", "line 1: 'a 1 1.0 0.5' is not 'file channel start duration word'"),
    ],
)
def test_word_times_that_cannot_be_fail_their_row_and_say_why(tmp_path, line, trouble):
    raw = corpus(tmp_path, "a.mp4")
    (raw / "a.ctm").write_text(line)
    (segment,) = read_segments(raw)
    assert (segment.failure.reason, segment.media) == ("bad_word_times", "") and trouble in segment.failure.message


def test_a_tier_of_utterances_is_none_of_words(tmp_path):
    raw = corpus(tmp_path, "a.mp4")
    (raw / "a.TextGrid").write_text(TEXTGRID.replace('"bin"', '"bin it"'))
    assert "'bin it' at 1 s is more than one word" in read_segments(raw)[0].failure.message


def test_word_times_of_all_videos_that_cannot_be_end_the_run(tmp_path):
    raw = mosi(tmp_path, "Full/03bSnISJMiM.mp4")
    write_csd(raw / "X_TimestampedWords.csd", "words", **{"03bSnISJMiM": ([[2, 1]], np.array([["it"]], "S2"))})
    with pytest.raises(LabelError, match="'it' lasts from 2.0 to 1.0 s") as caught:
        read_segments(raw)
    assert caught.value.reason == "bad_word_times"


def test_words_of_a_full_video_are_cut_to_each_segment(tmp_path, caplog):
    """Their times count from the segment's start; where they are not its text, it is aligned instead."""
    raw = mosi(tmp_path, "Full/03bSnISJMiM.mp4", "Segmented/03bSnISJMiM_2.mp4")
    times = [[0.1, 0.5], [1.5, 2.0], [2.0, 2.5], [2.5, 3.2], [3.25, 4.0], [4.0, 4.5], [4.5, 6.5]]
    words = [[word] for word in ("so", "it", "was", "great", "sp", "i", "hate")]
    sequence = {"03bSnISJMiM": (times, np.array(words, "S10"))}
    write_csd(raw / "CMU_MOSI_TimestampedWords.csd", "words", **sequence)
    first, second = read_segments(raw)
    assert first.given_words == (Word("it", 0.0, 0.5), Word("was", 0.5, 1.0), Word("great", 1.0, pytest.approx(1.7)))
    assert second.given_words == () and second.failure is None
    assert "1 segments of 1 recordings are aligned" in caplog.text


def test_two_files_of_labels_are_one_too_many(tmp_path):
    raw = mosi(tmp_path, "Full/03bSnISJMiM.mp4")
    (raw / "OpinionLevelSentiment.csv").write_text(OPINIONS)
    with pytest.raises(LabelError) as caught:
        read_segments(raw)
    assert caught.value.reason == "ambiguous_file"


def test_what_no_layout_fits_is_told_how_folders_look(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(LabelError, match="video,start,end,text,label"):
        find_layout(tmp_path)


@pytest.mark.real_data
def test_the_labels_of_mosi_are_the_same_in_each_of_their_three_files(shared_data, tmp_path):
    """label.csv, the official .csd and an OpinionLevelSentiment.csv made of the former, over all 2,199 segments."""
    with (shared_data / "mosi/label.csv").open(encoding="utf-8") as file:
        published = {(row["video_id"], row["clip_id"]): row for row in csv.DictReader(file)}
    opinions = [
        f"{r['start_sec']},{r['end_sec']},{video},{clip},{r['label']}" for (video, clip), r in published.items()
    ]
    for name in ("csd", "csv"):
        raw = tmp_path / name
        folder = raw / "Raw/Transcript/Segmented"
        folder.mkdir(parents=True)
        for (video, clip), row in published.items():
            with (folder / f"{video}.annotprocessed").open("a") as transcript:
                transcript.write(f"{clip}_DELIM_{row['text']}\n")
        if name == "csd":
            (raw / "CMU_MOSI_Opinion_Labels.csd").symlink_to(shared_data / "mosi/CMU_MOSI_Opinion_Labels.csd")
        else:
            (raw / "OpinionLevelSentiment.csv").write_text("\n".join(opinions))
        segments, source = read_raw(raw, errata=False)
        assert len(segments) == len(published) == 2199
        assert source.splits == "official folds of cmu-mosi"
        for segment in segments:
            row = published[segment.id.video, segment.id.clip]
            assert (segment.text, segment.split) == (row["text"], row["mode"])
            assert segment.label == pytest.approx(float(row["label"]), abs=1e-6)
            assert segment.start == pytest.approx(float(row["start_sec"]), abs=1e-4)
            assert segment.end == pytest.approx(float(row["end_sec"]), abs=1e-4)
    assert json.dumps(source.errata)
