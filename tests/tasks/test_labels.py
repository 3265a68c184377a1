"""The label file: every row is kept, and trouble is named by row and column."""

from __future__ import annotations

import csv
import io
import math
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.labels import LabelError, judge, read_table

HEADER = "video_id,clip_id,text,label,annotation,mode\n"


def read(folder: Path, content: str | bytes, **options):
    path = folder / "label.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return judge(read_table(path), **options)


def refusal(folder: Path, content: str | bytes) -> LabelError:
    with pytest.raises(LabelError) as caught:
        read(folder, content)
    return caught.value


def failures(segments) -> dict[int, str]:
    return {segment.row: segment.failure.reason for segment in segments if segment.failure}


def test_reads_rows_in_order(tmp_path):
    first, second = read(tmp_path, HEADER + 'a,1,"GOOD, VERY GOOD",2.4,Positive,train\nb,1,NO,-1,Negative,test\n')
    assert (str(first.id), first.row, first.text, first.label, first.split) == (
        "a$_$1",
        2,
        "GOOD, VERY GOOD",
        2.4,
        "train",
    )
    assert (str(second.id), second.row, second.split, second.failure, second.excluded) == ("b$_$1", 3, "test", None, "")


def test_ids_stay_text(tmp_path):
    segments = read(
        tmp_path, "video_id,clip_id,text\n001,1,a\n1,01,b\n-3g5yACwYnA,82_7645,c\n254298,1e3,d\nNA,null,e\n"
    )
    assert [str(segment.id) for segment in segments] == [
        "001$_$1",
        "1$_$01",
        "-3g5yACwYnA$_$82_7645",
        "254298$_$1e3",
        "NA$_$null",
    ]
    assert not failures(segments)


def test_labels_and_splits_may_be_absent(tmp_path):
    """Without labels they are NaN; splits are not made up here."""
    segments = read(tmp_path, "video_id,clip_id,text\nv,1,a\nv,2,b\nw,1,c\n")
    assert all(math.isnan(segment.label) for segment in segments)
    assert [segment.split for segment in segments] == ["", "", ""]
    assert not failures(segments)


def test_one_empty_label_is_an_unlabelled_segment(tmp_path):
    labelled, unlabelled = read(tmp_path, HEADER + "a,1,x,1,,train\na,2,x,,,train\n")
    assert labelled.label == 1
    assert math.isnan(unlabelled.label) and unlabelled.failure is None


def test_bom_crlf_quotes_extra_columns_and_blank_lines(tmp_path):
    content = 'video_id,clip_id,text,speaker\r\nv,1,"he said ""no""\r\nand left",anna\r\n\r\nv,2,yes,ben\r\n'
    first, second = read(tmp_path, b"\xef\xbb\xbf" + content.encode())
    assert first.text.split() == ["he", "said", '"no"', "and", "left"]
    assert (first.row, second.row) == (2, 5)


@pytest.mark.parametrize(
    ("content", "reason", "named"),
    [
        ("video_id;clip_id;text\nv;1;a\n", "wrong_delimiter", "';'"),
        ("video_id\tclip_id\ttext\nv\t1\ta\n", "wrong_delimiter", "'\\t'"),
        ("video_id,text\nv,a\n", "missing_column", "'clip_id'"),
        ("", "missing_column", "'video_id'"),
        (HEADER, "no_rows", "no rows"),
        ("video_id,clip_id,text,text\nv,1,a,b\n", "repeated_column", "'text'"),
        (HEADER.encode() + "v,1,caf\xe9,1,,train\n".encode("latin-1"), "not_utf8", "line 2"),
        (HEADER + "v,1,a\0b,1,,train\n", "nul", "line 2"),
        (HEADER + 'v,1,fine,1,,train\nv,2,"never closed,1,,train\nv,3,lost,1,,train\n', "malformed", "row 3"),
        (HEADER + f"v,1,{'a ' * 500_000},1,,train\n", "malformed", "row 2"),
        (HEADER + "v,1,a,1,,train\nv,2,b,1,,test\n", "video_in_two_splits", "v (train in row 2, test in row 3)"),
    ],
)
def test_unusable_file_is_refused_by_reason(tmp_path, content, reason, named):
    error = refusal(tmp_path, content)
    assert error.reason == reason
    assert named in str(error)


def test_missing_file_is_told_how_it_looks(tmp_path):
    with pytest.raises(LabelError, match="video_id,clip_id,text") as caught:
        read_table(tmp_path / "label.csv")
    assert caught.value.reason == "missing"


@pytest.mark.parametrize(
    ("cells", "reason", "column"),
    [
        ("v,1,a,abc,,train", "bad_label", "label"),
        ("v,1,a,nan,,train", "bad_label", "label"),
        ("v,1,a,-inf,,train", "bad_label", "label"),
        ("v,1,a,0_1,,train", "bad_label", "label"),
        ("v,1,a,3.01,,train", "label_out_of_range", "label"),
        ("v,1,a,-2,Positive,train", "contradicts_label", "annotation"),
        ("v,1,a,1,,dev", "bad_mode", "mode"),
        ("v,1,a,1,,", "bad_mode", "mode"),
        ("v,1, ,1,,train", "empty_text", "text"),
        ("v,1,well,no,1,,train", "malformed_row", "text"),
        ("v,1,a,1", "malformed_row", "text"),
        (",1,a,1,,train", "bad_id", "video_id"),
        ("../x,1,a,1,,train", "bad_id", "video_id"),
        ("v,/abs,a,1,,train", "bad_id", "clip_id"),
        ("v,a\\b,a,1,,train", "bad_id", "clip_id"),
        ("v,..,a,1,,train", "bad_id", "clip_id"),
        ("v,.,a,1,,train", "bad_id", "clip_id"),
        ('v,"1\n2",a,1,,train', "bad_id", "clip_id"),
        ("v,1\u202e,a,1,,train", "bad_id", "clip_id"),
        ("v, 1,a,1,,train", "bad_id", "clip_id"),
        (f"v,{'é' * 128},a,1,,train", "bad_id", "clip_id"),
        (f"{'x' * 300},1,a,1,,train", "bad_id", "video_id"),
        ("v$_$1,1,a,1,,train", "bad_id", "video_id"),
    ],
)
def test_bad_row_fails_alone_and_names_row_and_column(tmp_path, cells, reason, column):
    segments = read(tmp_path, HEADER + "w,1,fine,1,,train\n" + cells + "\nw,2,fine,1,,train\n")
    assert failures(segments) == {3: reason}
    assert segments[1].failure.message.startswith(f"row 3, column {column}: ")


def test_label_range_may_be_another(tmp_path):
    segments = read(tmp_path, HEADER + "v,1,a,4,,train\nv,2,a,5.5,,train\n", label_range=(1.0, 5.0))
    assert failures(segments) == {3: "label_out_of_range"}


def test_repeated_row_is_excluded_and_the_first_stays(tmp_path):
    segments = read(tmp_path, HEADER + "v,1,a,1,,train\nv,2,b,1,,train\nv,1,a,1,,train\nv,1,a,1,,train\n")
    assert [segment.excluded for segment in segments] == ["", "", "duplicate_row", "duplicate_row"]
    assert not failures(segments)


def test_one_id_with_two_labels_fails_every_such_row(tmp_path):
    segments = read(tmp_path, HEADER + "v,1,a,1,,train\nv,2,b,1,,train\nv,1,a,2,,train\nv,1,a,1,,train\n")
    assert failures(segments) == dict.fromkeys((2, 4, 5), "contradicting_rows")
    assert "rows 2, 4, 5" in segments[0].failure.message


@pytest.mark.parametrize("other", ["CAFÉ", unicodedata.normalize("NFD", "café")])
def test_ids_alike_but_for_case_or_unicode_form_fail(tmp_path, other):
    segments = read(tmp_path, f"video_id,clip_id,text\ncafé,1,a\n{other},1,b\ncafé,2,c\n")
    assert failures(segments) == {2: "ambiguous_id", 3: "ambiguous_id"}


CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)
ROWS = st.lists(
    st.tuples(
        st.sampled_from(["v", "w", "V", "..", ""]) | CELLS,
        st.sampled_from(["1", "2", "a", "A"]) | CELLS,
        st.sampled_from(["hello", "", "no no"]) | CELLS,
        st.sampled_from(["1", "-2", "", "9", "x", "nan"]) | CELLS,
        st.sampled_from(["", "Positive", "Negative"]),
        st.sampled_from(["train", "", "dev"]),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@given(rows=ROWS)
def test_no_row_is_ever_lost(tmp_path_factory, rows):
    """Whatever the cells hold, each row comes back once, in order, usable or with one reason why not."""
    file = io.StringIO()
    csv.writer(file, quoting=csv.QUOTE_ALL).writerows([HEADER.strip().split(","), *rows])
    segments = read(tmp_path_factory.getbasetemp(), file.getvalue())
    assert [(s.id.video, s.id.clip, s.text) for s in segments] == [row[:3] for row in rows]
    assert [s.row for s in segments] == sorted({s.row for s in segments})
    usable = [s for s in segments if not s.failure and not s.excluded]
    assert len({str(s.id).casefold() for s in usable}) == len(usable)
    assert all(s.text.split() and not abs(s.label) > 3 for s in usable)


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("dataset", "splits"),
    [
        ("mosi", {"train": 1284, "valid": 229, "test": 686}),
        ("mosei", {"train": 16274, "valid": 1861, "test": 4653}),
    ],
)
def test_published_label_files_have_no_bad_row(shared_data, dataset, splits):
    segments = judge(read_table(shared_data / dataset / "label.csv"))
    assert Counter(segment.split for segment in segments) == splits
    assert not failures(segments)
    assert not any(segment.excluded for segment in segments)
