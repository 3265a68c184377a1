"""The label file of a data set: which segments there are, what is said in them and how they were labelled."""

from __future__ import annotations

import csv
import hashlib
import io
import math
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from storage.schema import Failure
from storage.segments import Segment, SegmentId

REQUIRED = ("video_id", "clip_id", "text")
OPTIONAL = ("label", "annotation", "mode", "start_sec", "end_sec")
SPLITS = ("train", "valid", "test")
LABEL_RANGE = (-3.0, 3.0)
"""Sentiment from highly negative to highly positive, as CMU-MOSI and CMU-MOSEI are labelled (Zadeh et al., 2016)."""

EXAMPLE = "video_id,clip_id,text,label,annotation,mode\n03bSnISJMiM,11,A LOT OF SAD PARTS,-0.5,Negative,train"
MAX_ID_BYTES = 255
"""The longest name that file systems take."""


class LabelError(ValueError):
    """The label file cannot be used as a whole. ``reason`` is a short code, the message a sentence for people."""

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class _Row:
    """One row as written: the line it begins on and its cells by column."""

    line: int
    cells: dict[str, str]
    surplus: int = 0

    def __getitem__(self, column: str) -> str:
        return self.cells.get(column, "")

    @property
    def id(self) -> SegmentId:
        return SegmentId(self["video_id"], self["clip_id"])


class _RowError(ValueError):
    def __init__(self, row: _Row, column: str, reason: str, message: str):
        super().__init__(f"row {row.line}, column {column}: {message}")
        self.reason = reason


def read_labels(path: Path, label_range: tuple[float, float] = LABEL_RANGE) -> list[Segment]:
    """Every row of a label file as a segment, in the file's order, without media.

    Columns ``video_id, clip_id, text`` and, where there are any, ``label, annotation, mode`` and ``start_sec, end_sec``
    (seconds within a full video); others are ignored. A row that cannot be used carries a ``failure`` whose message
    names the row (its line, the header being 1) and the column; a repeated row is ``excluded``. Where no row has a
    ``mode``, splits are made by ``split_of``. Labels lie in ``label_range``, both ends included.

    Raises LabelError where the file as a whole cannot be read, or puts one video into two splits.
    """
    rows = _rows(_text(path), path)
    has_splits = any(row["mode"].strip() for row in rows)
    segments = [_segment(row, label_range, has_splits) for row in rows]
    _refuse_leaks(rows, segments, path)
    return _judge_repeats(rows, segments)


def split_of(video: str) -> str:
    """The split of a video where the data set names none: train, valid or test, 70 : 10 : 20 by hash of its id.

    A video's split depends on nothing but its id, so adding videos moves none.
    """
    tenth = int.from_bytes(hashlib.sha256(video.encode()).digest()[:8], "big") % 10
    return "train" if tenth < 7 else "valid" if tenth < 8 else "test"


def _text(path: Path) -> str:
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


def _rows(text: str, path: Path) -> list[_Row]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[_Row] = []
    line = 1
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_header(header, path)
        line = reader.line_num + 1
        for cells in reader:
            if cells:  # an empty line is no row
                rows.append(_Row(line, dict(zip(header, cells, strict=False)), len(cells) - len(header)))
            line = reader.line_num + 1
    except csv.Error as error:
        raise LabelError(
            "malformed", f"{path}, row {line}: {error}; is there a quotation mark that is not closed?"
        ) from error
    if not rows:
        raise LabelError("no_rows", f"{path} has a header but no rows.")
    return rows


def _check_header(header: list[str], path: Path) -> None:
    if len(header) <= 1 and (mark := next((mark for mark in ";\t|" if mark in "".join(header)), None)):
        raise LabelError("wrong_delimiter", f"{path}: columns are separated by {mark!r}; separate them by commas.")
    for column in REQUIRED:
        if column not in header:
            raise LabelError(
                "missing_column", f"{path}: there is no column {column!r} in the first line. Like this:\n{EXAMPLE}"
            )
    for column in (*REQUIRED, *OPTIONAL):
        if header.count(column) > 1:
            raise LabelError("repeated_column", f"{path}: the column {column!r} is there twice; keep one.")


def _segment(row: _Row, label_range: tuple[float, float], has_splits: bool) -> Segment:
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
        if not row["text"].split():
            raise _RowError(row, "text", "empty_text", "no word in it")
        start = _number(row, "start_sec") if row["start_sec"].strip() else 0.0
        end = _number(row, "end_sec") if row["end_sec"].strip() else math.inf
        return replace(
            segment,
            start=start,
            end=end,
            label=_label(row, label_range),
            split=_split(row) if has_splits else split_of(row["video_id"]),
        )
    except _RowError as error:
        return replace(segment, failure=Failure(error.reason, str(error)))


def _check_id(row: _Row, column: str) -> None:
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


def _number(row: _Row, column: str) -> float:
    """The finite number in a cell."""
    cell = row[column].strip()
    try:
        value = math.nan if "_" in cell else float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise _RowError(row, column, f"bad_{column}", f"{cell[:40]!r} is not a finite number")
    return value


def _label(row: _Row, label_range: tuple[float, float]) -> float:
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


def _split(row: _Row) -> str:
    split = row["mode"].strip()
    if split not in SPLITS:
        raise _RowError(row, "mode", "bad_mode", f"{split[:40]!r} is none of {', '.join(SPLITS)}")
    return split


def _refuse_leaks(rows: Sequence[_Row], segments: Sequence[Segment], path: Path) -> None:
    """A video in two splits would let a model be tested on people whom it was trained on."""
    first: dict[str, tuple[str, int]] = {}
    leaks = []
    for row, segment in zip(rows, segments, strict=True):
        split = row["mode"].strip()
        if split not in SPLITS or not _has_id(segment):
            continue
        seen, line = first.setdefault(segment.id.video, (split, row.line))
        if seen != split:
            leaks.append(f"{segment.id.video} ({seen} in row {line}, {split} in row {row.line})")
    if leaks:
        more = f" and {len(leaks) - 3} more rows" if len(leaks) > 3 else ""
        raise LabelError(
            "video_in_two_splits", f"{path}: one video must be in one split: {'; '.join(leaks[:3])}{more}."
        )


def _judge_repeats(rows: Sequence[_Row], segments: Sequence[Segment]) -> list[Segment]:
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


def _content(row: _Row) -> tuple[str, ...]:
    return tuple(row[column].strip() for column in (*REQUIRED, *OPTIONAL))
