"""The rows of a label source: which segments there are, what is said in them and how they were labelled.

A row has the columns of MMSA's ``label.csv``, whatever its source calls them; ``read_table`` reads a CSV file, and
``tasks.layouts`` the sources of other layouts. ``judge`` makes segments of them all by the same rules.
"""

from __future__ import annotations

import csv
import io
import math
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from storage.schema import Failure
from storage.segments import Segment, SegmentId
from tasks.folds import SPLITS

REQUIRED = ("video_id", "clip_id", "text")
OPTIONAL = ("label", "annotation", "mode", "start_sec", "end_sec")
OWN_NAMES = {"video": "video_id", "clip": "clip_id", "start": "start_sec", "end": "end_sec", "split": "mode"}
"""Short names of columns, for data of one's own: in such a file all but ``video`` are optional."""
LABEL_RANGE = (-3.0, 3.0)
"""Sentiment from highly negative to highly positive, as CMU-MOSI and CMU-MOSEI are labelled (Zadeh et al., 2016)."""

EXAMPLE = "video_id,clip_id,text,label,annotation,mode\n03bSnISJMiM,11,A LOT OF SAD PARTS,-0.5,Negative,train"
OWN_EXAMPLE = "video,start,end,text,label\nholiday,12.5,15.0,it was great,2"
MAX_ID_BYTES = 255
"""The longest name that file systems take."""


class LabelError(ValueError):
    """The label file cannot be used as a whole. ``reason`` is a short code, the message a sentence for people."""

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Row:
    """One row as written: the line it begins on, its cells by column, and what its source calls these columns."""

    line: int
    cells: Mapping[str, str]
    names: Mapping[str, str]
    surplus: int = 0

    def __getitem__(self, column: str) -> str:
        return self.cells.get(column, "")

    @property
    def id(self) -> SegmentId:
        return SegmentId(self["video_id"], self["clip_id"])


@dataclass(frozen=True)
class LabelTable:
    """The rows of a label source. ``whole_videos``: a row without an end lasts to the end of its recording."""

    path: Path
    rows: Sequence[Row]
    whole_videos: bool = False

    @property
    def has_text(self) -> bool:
        """Whether there are transcripts; where there are none, what is said is to be found out."""
        return any("text" in row.names for row in self.rows)

    @property
    def has_splits(self) -> bool:
        return any(row["mode"].strip() for row in self.rows)


class _RowError(ValueError):
    def __init__(self, row: Row, column: str, reason: str, message: str):
        super().__init__(f"row {row.line}, column {row.names.get(column, column)}: {message}")
        self.reason = reason


def read_table(path: Path, required: Sequence[str] = REQUIRED) -> LabelTable:
    """The rows of a CSV file of labels.

    Columns are those of MMSA, ``video_id, clip_id, text`` (or what else is ``required``) and, where there are any,
    ``label, annotation, mode`` and ``start_sec, end_sec`` (seconds within a full video); or, for data of one's own,
    ``video`` and, where there are any, ``clip, start, end, text, label, split``. Others are ignored. A row of one's own
    without a clip is named by its start as written, or "0". Raises LabelError where the file as a whole cannot be read.
    """
    return _table(read_text(path), path, required)


def judge(
    table: LabelTable, label_range: tuple[float, float] = LABEL_RANGE, split_column: bool = True
) -> list[Segment]:
    """Every row as a segment, in order, without media.

    A row that cannot be used carries a ``failure`` whose message names the row (its line, the header being 1) and the
    column; a repeated row is ``excluded``. Labels lie in ``label_range``, both ends included. A segment has no split
    where the table names none, or where its column is not to be read (``split_column``).

    Raises LabelError where one video is put into two splits.
    """
    has_splits = split_column and table.has_splits
    segments = [_segment(row, label_range, has_splits, table.has_text) for row in table.rows]
    if has_splits:
        _refuse_leaks(table, segments)
    return _judge_repeats(table.rows, segments)


def read_text(path: Path) -> str:
    """A text file in UTF-8, with or without a byte order mark. Raises LabelError."""
    if not path.is_file():
        raise LabelError("missing", f"There is no label file {path}. It is a CSV file like this:\n{EXAMPLE}")
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise LabelError("not_utf8", f"{path}, line {line}: not UTF-8 text; save the file as UTF-8.") from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise LabelError("nul", f"{path}, line {line}: holds a NUL character; it is damaged or not a CSV file.")
    return text


def _table(text: str, path: Path, required: Sequence[str]) -> LabelTable:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[Row] = []
    line = 1
    try:
        written = [name.strip() for name in next(reader, [])]
        own = "video" in written and "video_id" not in written
        header = [OWN_NAMES.get(name, name) for name in written] if own else written
        _check_header(header, written, () if own else required, path)
        names = dict(zip(header, written, strict=True))
        line = reader.line_num + 1
        for values in reader:
            if values:  # an empty line is no row
                cells = dict(zip(header, values, strict=False))
                if own and not cells.get("clip_id"):
                    cells["clip_id"] = cells.get("start_sec", "").strip() or "0"
                rows.append(Row(line, cells, names, len(values) - len(header)))
            line = reader.line_num + 1
    except csv.Error as error:
        raise LabelError(
            "malformed", f"{path}, row {line}: {error}; is there a quotation mark that is not closed?"
        ) from error
    if not rows:
        raise LabelError("no_rows", f"{path} has a header but no rows.")
    return LabelTable(path, rows, whole_videos=own)


def _check_header(header: list[str], written: list[str], required: Sequence[str], path: Path) -> None:
    if len(header) <= 1 and (mark := next((mark for mark in ";\t|" if mark in "".join(header)), None)):
        raise LabelError("wrong_delimiter", f"{path}: columns are separated by {mark!r}; separate them by commas.")
    for column in required:
        if column not in header:
            raise LabelError(
                "missing_column",
                f"{path}: there is no column {column!r} in the first line. Like this:\n{EXAMPLE}\n"
                f"Or, with nothing needed but the video, like this:\n{OWN_EXAMPLE}",
            )
    for column, name in zip(header, written, strict=True):
        if column in (*REQUIRED, *OPTIONAL) and header.count(column) > 1:
            raise LabelError("repeated_column", f"{path}: the column {name!r} is there twice; keep one.")


def _segment(row: Row, label_range: tuple[float, float], has_splits: bool, has_text: bool) -> Segment:
    segment = Segment(id=row.id, row=row.line, text=row["text"])
    try:
        if row.surplus:
            raise _RowError(
                row,
                "text",
                "malformed_row",
                f"{abs(row.surplus)} cells too {'many' if row.surplus > 0 else 'few'}; "
                "a text with commas stands in quotation marks",
            )
        _check_id(row, "video_id")
        _check_id(row, "clip_id")
        if has_text and not row["text"].split():
            raise _RowError(row, "text", "empty_text", "no word in it")
        start = _number(row, "start_sec") if row["start_sec"].strip() else 0.0
        end = _number(row, "end_sec") if row["end_sec"].strip() else math.inf
        return replace(
            segment,
            start=start,
            end=end,
            label=_label(row, label_range),
            split=_split(row) if has_splits else "",
        )
    except _RowError as error:
        return replace(segment, failure=Failure(error.reason, str(error)))


def _check_id(row: Row, column: str) -> None:
    value = row[column]
    if not value:
        trouble = "is empty"
    elif value != value.strip():
        trouble = f"{value!r} has a space before or after it"
    elif value in (".", "..") or "/" in value or "\\" in value:
        trouble = f"{value!r} is a path; an id is a plain name"
    elif any(unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") for character in value):
        trouble = f"{value!r} holds an invisible character"
    elif len(value.encode()) > MAX_ID_BYTES:
        trouble = f"{value[:40]!r}... is longer than {MAX_ID_BYTES} bytes"
    elif "$_$" in value:
        trouble = f"{value!r} holds '$_$', which stands between a video's and a clip's id"
    else:
        return
    raise _RowError(row, column, "bad_id", trouble)


def _number(row: Row, column: str) -> float:
    """The finite number in a cell."""
    cell = row[column].strip()
    try:
        value = math.nan if "_" in cell else float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise _RowError(row, column, f"bad_{column}", f"{cell[:40]!r} is not a finite number")
    return value


def _label(row: Row, label_range: tuple[float, float]) -> float:
    if not row["label"].strip():
        return math.nan
    label = _number(row, "label")
    low, high = label_range
    if not low <= label <= high:
        raise _RowError(row, "label", "label_out_of_range", f"{label:g} lies outside of [{low:g}, {high:g}]")
    sign = {"negative": -1, "neutral": 0, "positive": 1}.get(row["annotation"].strip().casefold())
    if sign is not None and sign != (label > 0) - (label < 0):
        raise _RowError(row, "annotation", "contradicts_label", f"{row['annotation']!r} does not fit label {label:g}")
    return label


def _split(row: Row) -> str:
    split = row["mode"].strip()
    if split not in SPLITS:
        raise _RowError(row, "mode", "bad_mode", f"{split[:40]!r} is none of {', '.join(SPLITS)}")
    return split


def _refuse_leaks(table: LabelTable, segments: Sequence[Segment]) -> None:
    """A video in two splits would let a model be tested on people whom it was trained on."""
    first: dict[str, tuple[str, int]] = {}
    leaks = []
    for row, segment in zip(table.rows, segments, strict=True):
        split = row["mode"].strip()
        if split not in SPLITS or not _has_id(segment):
            continue
        seen, line = first.setdefault(segment.id.video, (split, row.line))
        if seen != split:
            leaks.append(f"{segment.id.video} ({seen} in row {line}, {split} in row {row.line})")
    if leaks:
        more = f" and {len(leaks) - 3} more rows" if len(leaks) > 3 else ""
        raise LabelError(
            "video_in_two_splits", f"{table.path}: one video must be in one split: {'; '.join(leaks[:3])}{more}."
        )


def _judge_repeats(rows: Sequence[Row], segments: Sequence[Segment]) -> list[Segment]:
    """Exclude rows said twice; fail rows that contradict each other, or whose ids file systems may take for one."""
    judged = list(segments)
    alike: dict[str, list[int]] = defaultdict(list)
    for index, segment in enumerate(segments):
        if _has_id(segment):
            alike[unicodedata.normalize("NFC", str(segment.id).casefold())].append(index)
    for indices in alike.values():
        if len(indices) == 1:
            continue
        lines = ", ".join(str(segments[index].row) for index in indices)
        if len({segments[index].id for index in indices}) > 1:
            trouble = Failure("ambiguous_id", f"rows {lines}, column clip_id: ids alike but for case or Unicode form")
        elif len({_content(rows[index]) for index in indices}) > 1:
            trouble = Failure("contradicting_rows", f"rows {lines}, column clip_id: one id with differing content")
        else:
            for index in indices[1:]:
                judged[index] = replace(judged[index], excluded="duplicate_row")
            continue
        for index in indices:
            judged[index] = replace(judged[index], failure=judged[index].failure or trouble)
    return judged


def _has_id(segment: Segment) -> bool:
    return segment.failure is None or segment.failure.reason not in ("bad_id", "malformed_row")


def _content(row: Row) -> tuple[str, ...]:
    return tuple(row[column].strip() for column in (*REQUIRED, *OPTIONAL))
