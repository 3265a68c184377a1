"""The layouts that a raw folder may have: where its labels, transcripts and recordings lie.

Each turns the folder into rows as a label file has them, and names the folders of its recordings; all that comes after
is the same for all of them (``tasks.labels.judge``, ``tasks.ingest``).
"""

from __future__ import annotations

import csv
import io
import logging
import math
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from storage.interchange.csd import read_csd
from tasks.labels import EXAMPLE, OWN_EXAMPLE, LabelError, LabelTable, Row, read_table, read_text

log = logging.getLogger(__name__)

LABEL_FILE = "label.csv"
MEDIA_SUFFIXES = frozenset(".avi .flv .m4v .mkv .mov .mp4 .mpeg .mpg .ts .webm .wmv".split())
SOUND_SUFFIX = ".wav"
CLOSE = 0.05
"""Seconds by which the start of a segment may differ between files that were rounded differently."""

Files = Mapping[tuple[str, ...], Sequence[Path]]
"""Files by (video, clip), or by (video,) for a full video."""


@dataclass(frozen=True)
class Recordings:
    """The media files of a raw folder, and the files that have the sound alone."""

    media: Files
    sounds: Files


@dataclass(frozen=True)
class Layout:
    """A kind of raw folder.

    ``fits`` says whether a folder (that of ``Raw``, where there is one) is of this kind. ``table`` reads the rows,
    given the folder that was named and that of ``Raw``. ``clips`` and ``videos`` are folders of recordings within
    ``Raw``: of clips named ``<video>_<clip>``, and of full videos; without them, recordings are ``<video>/<clip>`` and
    full videos ``<video>``. ``sound_clips`` and ``sound_videos`` are folders of their sounds, which otherwise lie
    beside the recordings. ``data_set`` is the published one that is distributed so.
    """

    name: str
    fits: Callable[[Path, Path], bool]
    table: Callable[[Path, Path], LabelTable]
    clips: tuple[str, ...] = ()
    videos: tuple[str, ...] = ()
    sound_clips: tuple[str, ...] = ()
    sound_videos: tuple[str, ...] = ()
    data_set: str | None = None


def find_layout(raw: Path) -> Layout:
    """The first layout that fits a raw folder. Raises LabelError, which says how folders look that can be read."""
    base = base_of(raw)
    if not raw.is_dir():
        trouble = f"no folder {raw}"
    elif layout := next((layout for layout in LAYOUTS if layout.fits(raw, base)), None):
        return layout
    else:
        trouble = f"{raw} has no {LABEL_FILE}, which says what is in its recordings"
    raise LabelError(
        "missing",
        f"{trouble}. Needed is a folder with Raw/03bSnISJMiM/11.mp4 and so on, and {LABEL_FILE}:\n{EXAMPLE}\n"
        f"or with holiday.mp4 and so on, and, for anything but whole videos without labels, {LABEL_FILE}:\n"
        f"{OWN_EXAMPLE}\nor the distribution of CMU-MOSI or CMU-MOSEI as it is.",
    )


def base_of(raw: Path) -> Path:
    """The folder in which recordings lie: that of ``Raw``, or the folder itself."""
    return raw / "Raw" if (raw / "Raw").is_dir() else raw


def list_recordings(layout: Layout, base: Path) -> Recordings:
    """The recordings of a folder, found by listing it; no id is ever made into a path."""
    sounds = frozenset([SOUND_SUFFIX])
    return Recordings(
        _listed(base, layout.clips, layout.videos, MEDIA_SUFFIXES),
        _listed(base, layout.clips + layout.sound_clips, layout.videos + layout.sound_videos, sounds),
    )


def _listed(base: Path, clips: Sequence[str], videos: Sequence[str], suffixes: Collection[str]) -> Files:
    """The files with these endings in folders of clips and of full videos, or, without such, in the folder itself."""
    found: dict[tuple[str, ...], list[Path]] = defaultdict(list)
    for folder in clips:
        for path in _media(base / folder, suffixes):
            video, _, clip = path.stem.rpartition("_")
            found[composed(video), composed(clip)].append(path)
    for folder in videos:
        for path in _media(base / folder, suffixes):
            found[(composed(path.stem),)].append(path)
    if not (clips or videos):
        for path in _media(base, suffixes):
            found[(composed(path.stem),)].append(path)
        for entry in sorted(base.iterdir()):
            if entry.suffix.lower() not in MEDIA_SUFFIXES:
                for path in _media(entry, suffixes):
                    found[composed(entry.name), composed(path.stem)].append(path)
    return found


def composed(name: str) -> str:
    """A name in the one Unicode form in which names are compared; file systems differ in the form they list."""
    return unicodedata.normalize("NFC", name)


def _media(folder: Path, suffixes: Collection[str] = MEDIA_SUFFIXES) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in suffixes)


def _whole_videos(raw: Path, base: Path) -> LabelTable:
    """A row for every full video, without labels."""
    names = {"video_id": "file name"}
    rows = [Row(row, {"video_id": path.stem, "clip_id": "0"}, names) for row, path in enumerate(_media(base), start=1)]
    log.warning("%s has no %s: each of its %d videos is one segment without a label", raw, LABEL_FILE, len(rows))
    return LabelTable(base, rows, whole_videos=True)


@dataclass(frozen=True)
class Told:
    """What a transcript says of one segment; ``start`` and ``end`` as written, in seconds of the full video."""

    clip: str
    text: str
    start: str = ""
    end: str = ""


class Transcripts:
    """What is told of each segment, found by its video and clip, or by its video and start."""

    def __init__(self) -> None:
        self._by_video: dict[str, dict[str, Told]] = defaultdict(dict)

    def add(self, video: str, told: Told) -> None:
        self._by_video[video][told.clip] = told

    def find(self, video: str, clip: str, start: float) -> Told | None:
        """The segment of this clip, else the one that starts at ``start`` or at most ``CLOSE`` seconds from it."""
        told = self._by_video.get(video, {})
        if clip in told:
            return told[clip]
        near = min(told.values(), key=lambda each: abs(_seconds(each.start) - start), default=None)
        return near if near and abs(_seconds(near.start) - start) <= CLOSE else None

    def __iter__(self) -> Iterator[tuple[str, Told]]:
        return ((video, told) for video, clips in self._by_video.items() for told in clips.values())


def _mosi(raw: Path, base: Path) -> LabelTable:
    """CMU-MOSI: transcripts of lines ``1_DELIM_TEXT``; labels from OpinionLevelSentiment.csv or a ``.csd``."""
    transcripts = Transcripts()
    for path, number, line in _lines(base / MOSI_TRANSCRIPTS, "*.annotprocessed"):
        clip, mark, text = line.partition("_DELIM_")
        if not mark:
            raise LabelError("malformed", f"{path}, line {number}: {line[:60]!r} is not '1_DELIM_TEXT'.")
        transcripts.add(path.stem, Told(clip.strip(), text.strip()))
    if path := only_file(raw, base, "OpinionLevelSentiment.csv"):
        columns = ("start_sec", "end_sec", "video_id", "clip_id", "label")
        rows = csv.reader(io.StringIO(read_text(path), newline=""))
        written = [Row(number, dict(zip(columns, map(str.strip, cells), strict=False)), {}, len(cells) - len(columns))
                   for number, cells in enumerate(rows, start=1) if cells]  # fmt: skip
        return _joined(path, written, transcripts)
    if path := only_file(raw, base, "*Label*.csd"):
        return _joined(path, _sequence_rows(path, lambda video, place, start: str(place + 1)), transcripts)
    return _unlabelled(base / MOSI_TRANSCRIPTS, transcripts)


def _mosei(raw: Path, base: Path) -> LabelTable:
    """CMU-MOSEI: transcripts of lines ``video___clip___start___end___text``; labels from a CSV file or a ``.csd``.

    The CSV file has the columns ``video_id, clip_id, label``; a clip is the transcript's number or, as MMSA writes
    them, a start with ``_`` for the decimal point. Its text, where it has one, goes before the transcript's.
    """
    transcripts = Transcripts()
    folder = _mosei_transcripts(base)
    for path, number, line in _lines(folder, "*.txt"):
        fields = line.split("___", 4)
        if len(fields) != 5:
            raise LabelError(
                "malformed", f"{path}, line {number}: {line[:60]!r} is not 'video___clip___start___end___text'."
            )
        video, clip, start, end, text = map(str.strip, fields)
        transcripts.add(video, Told(clip, text, start, end))
    if path := only_file(raw, base, LABEL_FILE):
        return _joined(path, read_table(path, required=("video_id", "clip_id", "label")).rows, transcripts)
    if path := only_file(raw, base, "*Label*.csd"):

        def clip(video: str, place: int, start: float) -> str:
            told = transcripts.find(video, "", start)
            return told.clip if told else f"{start:g}"

        return _joined(path, _sequence_rows(path, clip), transcripts)
    return _unlabelled(folder, transcripts)


def only_file(raw: Path, base: Path, pattern: str) -> Path | None:
    """The one file of this name in the folder, in ``Raw`` or in a folder ``Labels``. Raises LabelError for two."""
    folders = dict.fromkeys((raw, base, raw / "Labels", base / "Labels"))
    found = [path for folder in folders for path in sorted(folder.glob(pattern))]
    if len(found) > 1:
        raise LabelError("ambiguous_file", f"{' and '.join(map(str, found))} both fit; keep one.")
    return found[0] if found else None


def _lines(folder: Path, pattern: str) -> Iterator[tuple[Path, int, str]]:
    """Every line that is not blank of the text files in a folder, with its file and number."""
    for path in sorted(folder.glob(pattern)):
        for number, line in enumerate(read_text(path).splitlines(), start=1):
            if line.strip():
                yield path, number, line


def _sequence_rows(path: Path, clip: Callable[[str, int, float], str]) -> list[Row]:
    """The labels of a computational sequence: the first column of its features, which is the sentiment.

    ``clip`` names a segment by its video, its place among the video's intervals and its start.
    """
    sequence = read_csd(path)
    rows = []
    for video, intervals in sequence.intervals.items():
        for place, ((start, end), features) in enumerate(zip(intervals, sequence.features[video], strict=True)):
            cells = {
                "video_id": video,
                "clip_id": clip(video, place, start),
                "start_sec": str(start),
                "end_sec": str(end),
                "label": str(features[0]),
            }
            rows.append(Row(len(rows) + 1, cells, {}))
    return rows


def _joined(path: Path, rows: Sequence[Row], transcripts: Transcripts) -> LabelTable:
    """Rows of labels with what the transcripts tell of them; transcripts without a label are left out and logged."""
    joined, used = [], set()
    for row in rows:
        start = row["start_sec"] or (row["clip_id"].replace("_", ".") if "_" in row["clip_id"] else "")
        told = transcripts.find(row["video_id"], row["clip_id"], _seconds(start)) or Told("", "")
        used.add((row["video_id"], told.clip))
        found = {"text": told.text, "start_sec": told.start, "end_sec": told.end}
        cells = found | {column: value for column, value in row.cells.items() if value.strip()}
        joined.append(replace(row, cells=cells, names={"text": "transcript"} | row.names))
    unlabelled = sum((video, told.clip) not in used for video, told in transcripts)
    if unlabelled:
        log.warning("%d transcribed segments have no label in %s and are left out", unlabelled, path)
    return LabelTable(path, joined)


def _unlabelled(folder: Path, transcripts: Transcripts) -> LabelTable:
    """A row for every transcribed segment."""
    log.warning("no labels beside %s: its segments are taken without", folder)
    rows = [
        Row(
            number,
            {
                "video_id": video,
                "clip_id": told.clip,
                "text": told.text,
                "start_sec": told.start,
                "end_sec": told.end,
            },
            {"text": "transcript"},
        )
        for number, (video, told) in enumerate(transcripts, start=1)
    ]
    return LabelTable(folder, rows)


def _seconds(written: str) -> float:
    """A number of seconds; NaN, which is close to nothing, where there is none."""
    try:
        return float(written)
    except ValueError:
        return math.nan


MOSI_TRANSCRIPTS = "Transcript/Segmented"
MOSEI_TRANSCRIPTS = ("Transcript/Segmented/Combined", "Transcript/Segmented")


def _mosei_transcripts(base: Path) -> Path | None:
    """The folder of transcripts of CMU-MOSEI; its first line tells that it is one."""
    for folder in MOSEI_TRANSCRIPTS:
        first = next(_lines(base / folder, "*.txt"), None)
        if first and first[2].count("___") >= 4:
            return base / folder
    return None


LAYOUTS = (
    Layout(
        "CMU-MOSI",
        lambda raw, base: any((base / MOSI_TRANSCRIPTS).glob("*.annotprocessed")),
        _mosi,
        clips=("Video/Segmented",),
        videos=("Video/Full",),
        sound_clips=("Audio/WAV_16000/Segmented",),
        sound_videos=("Audio/WAV_16000/Full",),
        data_set="cmu-mosi",
    ),
    Layout(
        "CMU-MOSEI",
        lambda raw, base: _mosei_transcripts(base) is not None,
        _mosei,
        clips=("Videos/Segmented/Combined", "Videos/Segmented"),
        videos=("Videos/Full/Combined", "Videos/Full"),
        sound_videos=("Audio/Full/WAV_16000",),
        data_set="cmu-mosei",
    ),
    Layout("label.csv", lambda raw, base: (raw / LABEL_FILE).is_file(), lambda raw, base: read_table(raw / LABEL_FILE)),
    Layout("videos without labels", lambda raw, base: bool(_media(base)), _whole_videos),
)
