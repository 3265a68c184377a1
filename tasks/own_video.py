"""A video of one's own as segments: given ones, or those that its pauses make."""

from __future__ import annotations

import csv
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
from prefect import task
from prefect.cache_policies import NO_CACHE

from storage.schema import Failure, Word
from storage.segments import Segment, SegmentId
from tasks.features import media
from tasks.features.sphinx import SphinxAligner
from tasks.features.words import AlignmentError
from tasks.progress import Progress
from tasks.segmentation import Limits, bounds, by_pauses, even_spans, voiced
from tasks.transcribe import Transcriber
from tasks.transcripts import Cue, TranscriptError, read_transcript

_PIECE = 600.0  # seconds of sound that are read at a time
_AROUND_CUE = 0.3  # seconds: subtitles come late and leave early


@dataclass(frozen=True)
class Recording:
    """A video's file, its sha256, its length in seconds and its sound: float32 [samples] at 16 kHz."""

    path: Path
    sha256: str
    seconds: float
    waveform: np.ndarray


def open_recording(path: Path) -> Recording:
    """Raises MediaError: no such file, no video, no sound, silence."""
    declared = media.probe(path)
    if not declared.width:
        raise media.MediaError("no_video", f"{path} has no video that can be decoded.")
    waveform = sound(path)
    if media.is_silent(waveform):
        raise media.MediaError("silent", f"The sound of {path} is silence: nobody speaks in it.")
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return Recording(path, sha256, len(waveform) / media.SAMPLE_RATE, waveform)


def sound(path: Path) -> np.ndarray:
    """All of a recording's sound, float32 [samples] at 16 kHz, however long it is. Raises MediaError."""
    seconds = media.probe(path).duration
    starts = np.arange(0.0, max(seconds - 0.1, 0.1), _PIECE).tolist()
    pieces = [media.waveform(path, start, min(start + _PIECE, seconds) if seconds else math.inf) for start in starts]
    return np.concatenate(pieces)


@task(cache_policy=NO_CACHE)
def cut(
    video: Path, transcript: Path | None, table: Path | None, with_text: bool, limits: Limits, span: float
) -> list[Segment]:
    """The segments of a video, each with its text.

    ``table`` is a CSV file of segments (``start,end`` in seconds, and ``text`` if it likes); without one, pauses part
    them. Words with times come as they are; those of a plain transcript or of subtitles are looked for in the sound.
    Without a transcript it is Whisper's. Without text there are spans of ``span`` seconds in the place of words. Raises
    MediaError, TranscriptError, TranscriptionError and AlignmentError.
    """
    recording = open_recording(video)
    rows = _rows(table, recording.seconds) if table else None
    if rows and all(text for _, _, text in rows) and with_text:
        return [_segment(recording, place, *row) for place, row in enumerate(rows, start=1)]
    if not with_text:
        stretches = [row[:2] for row in rows] if rows else voiced(recording.waveform, media.SAMPLE_RATE, limits.pause)
        words, timed = even_spans(stretches, span), True
    else:
        words, timed = _timed_words(recording, transcript)
    if rows:
        runs = [[word for word in words if start <= (word.start + word.end) / 2 < end] for start, end, _ in rows]
        stretches = [row[:2] for row in rows]
    else:
        slices = by_pauses(words, limits)
        runs, stretches = [words[run] for run in slices], bounds(words, slices, recording.seconds)
    return [
        _segment(recording, place, start, end, " ".join(word.text for word in run if word.text), run if timed else ())
        if run
        else _wordless(recording, place, start, end)
        for place, ((start, end), run) in enumerate(zip(stretches, runs, strict=True), start=1)
    ]


def _wordless(recording: Recording, place: int, start: float, end: float) -> Segment:
    why = Failure("no_words", f"The transcript has no word between {start:g} and {end:g} s.")
    return replace(_segment(recording, place, start, end, ""), failure=why)


def _segment(
    recording: Recording, place: int, start: float, end: float, text: str, words: Sequence[Word] = ()
) -> Segment:
    given = tuple(replace(word, start=max(0.0, word.start - start), end=min(word.end, end) - start) for word in words)
    name = SegmentId(recording.path.stem, f"{place:03d}")
    return Segment(name, place, recording.path.name, recording.sha256, start, end, text, given_words=given)


def _timed_words(recording: Recording, transcript: Path | None) -> tuple[Sequence[Word], bool]:
    """The words of the recording, and whether their times are to be trusted."""
    if transcript is None:
        transcriber = Transcriber()
        transcriber.recipe()  # says so where the extra is not installed
        with Progress("transcribe", total=1, unit="recording") as progress:
            words = transcriber.transcribe(recording.waveform)
            progress.advance()
        return words, False
    found = read_transcript(transcript)
    if isinstance(found, tuple):
        return found, True
    with Progress("find the words", total=len(found), unit="part") as progress:
        located = []
        for cue in found:
            located.append(_located(recording, cue, alone=len(found) == 1))
            progress.advance()
    return sorted(chain.from_iterable(located), key=lambda word: word.start), False


def _located(recording: Recording, cue: Cue, alone: bool) -> list[Word]:
    """The words of a cue, in seconds of the recording; evenly spread where they are not found, if not ``alone``."""
    start, end = max(0.0, cue.start - _AROUND_CUE), min(cue.end + _AROUND_CUE, recording.seconds)
    sound = recording.waveform[round(start * media.SAMPLE_RATE) : round(end * media.SAMPLE_RATE)]
    try:
        words = SphinxAligner().locate(sound, cue.tokens)
    except AlignmentError:
        if alone:
            raise
        edges = np.linspace(0, end - start, len(cue.tokens) + 1).tolist()
        words = [Word(t, a, b, 0.0, "interpolated") for t, a, b in zip(cue.tokens, edges, edges[1:], strict=False)]
    return [replace(word, start=word.start + start, end=word.end + start) for word in words]


def _rows(table: Path, seconds: float) -> list[tuple[float, float, str]]:
    """(start, end, text) of every segment of a CSV file."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            found = list(csv.DictReader(file))
    except OSError as error:
        raise TranscriptError("missing", f"The segments {table} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise TranscriptError("not_utf8", f"{table} is not UTF-8 text: save it as UTF-8.") from error
    if not found:
        raise TranscriptError("empty_transcript", f"{table} has no row: its columns are start, end and text.")
    return [_row(row, line, table, seconds) for line, row in enumerate(found, start=2)]


def _row(row: dict[str, str], line: int, table: Path, seconds: float) -> tuple[float, float, str]:
    try:
        start, end = float(row["start"]), float(row["end"])
    except (KeyError, ValueError, TypeError) as error:
        raise TranscriptError("malformed", f"{table}, row {line}: start and end, in seconds, are needed.") from error
    if not (0 <= start < end < math.inf and start < seconds):
        raise TranscriptError(
            "malformed", f"{table}, row {line}: no segment of {seconds:.2f} s lasts from {start:g} to {end:g} s."
        )
    return start, min(end, seconds), (row.get("text") or "").strip()
