"""Errata: known errors are applied or refused by a switch, and told in either case."""

from __future__ import annotations

import csv

import pytest

from storage.segments import Segment, SegmentId
from tasks.errata import ACTIONS, Erratum, apply_errata, errata
from tasks.folds import official_folds
from tasks.ingest import read_raw
from tests.tasks.raw_folders import corpus

HEADER = "video_id,clip_id,text,label,mode\n"
ROWS = (
    "d6hH302o4v8,27,I HATED IT,-2.6,test\nd6hH302o4v8,34,I HATED IT,-3,test\n2WGyTLYerpo,44,SHES BEAUTIFUL,0.2,train\n"
)


@pytest.mark.parametrize(("applied", "excluded"), [(True, ["", "erratum", "erratum"]), (False, ["", "", ""])])
def test_errors_of_these_segments_are_left_out_or_refused_and_listed(tmp_path, applied, excluded):
    segments, source = read_raw(corpus(tmp_path, rows=ROWS, header=HEADER), errata=applied)
    assert [segment.excluded for segment in segments] == excluded
    action = "exclude" if applied else "refused"
    assert [(e["video"], e["clip"], e["action"]) for e in source.errata] == [
        ("2WGyTLYerpo", "44", action),
        ("d6hH302o4v8", "34", action),
    ]
    assert all(each["what"] and each["source"] for each in source.errata)


def test_data_of_ones_own_have_no_known_errors(tmp_path):
    _, source = read_raw(corpus(tmp_path, rows="v,44,a,1,train\n", header=HEADER))
    assert source.errata == ()


def test_an_erratum_relabels_excludes_a_whole_video_or_only_notes():
    segments = [Segment(SegmentId(video, clip), 2, label=1.0) for video, clip in ("a1", "a2", "b1", "c1")]
    known = [
        Erratum("d", "a", "2", "wrong sign", "relabel", "-1", "x"),
        Erratum("d", "b", "", "wrong video", "exclude", "", "x"),
        Erratum("d", "c", "1", "odd", "note", "", "x"),
    ]
    corrected = apply_errata(segments, known)
    assert [segment.label for segment in corrected] == [1, -1, 1, 1]
    assert [segment.excluded for segment in corrected] == ["", "", "erratum", ""]


def test_the_file_of_errata_is_whole():
    assert len(set(errata())) == len(errata())
    for each in errata():
        folds = official_folds()[each.data_set]
        assert each.action in ACTIONS and each.what and each.source
        assert not each.video or each.video in folds
        assert (each.action == "relabel") == bool(each.label)
        assert each.video or each.action == "note"


@pytest.mark.real_data
@pytest.mark.parametrize(("name", "excluded"), [("mosi", 8), ("mosei", 15)])
def test_errata_are_about_segments_that_there_are(shared_data, tmp_path, name, excluded):
    (tmp_path / "label.csv").symlink_to(shared_data / name / "label.csv")
    segments, source = read_raw(tmp_path)
    ids = {(segment.id.video, segment.id.clip) for segment in segments}
    clips = [(e["video"], e["clip"]) for e in source.errata if e["clip"]]
    assert set(clips) <= ids
    assert len(source.errata) == sum(each.data_set == f"cmu-{name}" for each in errata())
    assert sum(segment.excluded == "erratum" for segment in segments) == excluded


@pytest.mark.real_data
def test_errata_of_mosi_say_what_its_label_file_shows(shared_data):
    """Every interval that lies in an earlier one, or is too short for its words, is known."""
    with (shared_data / "mosi/label.csv").open(encoding="utf-8") as file:
        rows = [(r, float(r["start_sec"]), float(r["end_sec"])) for r in csv.DictReader(file)]
    known = {(each.video, each.clip) for each in errata()}
    for row, start, end in rows:
        words_a_second = len(row["text"].split()) / max(end - start, 1e-9)
        inside = [
            other["clip_id"]
            for other, first, last in rows
            if other is not row and other["video_id"] == row["video_id"] and first <= start and end <= last
        ]
        pair = {(row["video_id"], clip) for clip in (row["clip_id"], *inside)}
        assert not inside or pair & known, row
        assert words_a_second < 10 or (row["video_id"], row["clip_id"]) in known, row
