"""Transcripts that people have of their own recordings: plain text, subtitles, and words with times."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from storage.schema import Word
from tasks.word_times import READERS


class TranscriptError(Exception):
    """A transcript, or a table of segments, that cannot be used; the message names file and line.

    Reasons: ``missing``, ``not_utf8``, ``empty_transcript``, ``malformed``.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Cue:
    """Words that are said in order within a stretch of the recording, in seconds; to its end where that is infinite."""

    tokens: tuple[str, ...]
    start: float = 0.0
    end: float = float("inf")


SUBTITLES = (".srt", ".vtt")
_TIME = re.compile(r"(?:(\d+):)?(\d{1,2}):(\d{1,2})[,.](\d{1,3})")
_MARK_UP = re.compile(r"<[^>]*>|\{[^}]*\}")


def read_transcript(path: Path) -> tuple[Word, ...] | list[Cue]:
    """Words with times where the file has them, else cues: those of subtitles, or one for a plain text.

    Raises TranscriptError.
    """
    text = _text(path)
    if path.suffix in READERS:
        try:
            found = READERS[path.suffix](path)
        except ValueError as error:
            raise TranscriptError("malformed", str(error)) from error
    elif path.suffix.lower() in SUBTITLES:
        found = _cues(text, path)
    else:
        found = [Cue(tuple(text.split()))] if text.split() else []
    if not found:
        raise TranscriptError("empty_transcript", f"{path} has no word in it.")
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise TranscriptError("missing", f"The transcript {path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise TranscriptError("not_utf8", f"{path} is not UTF-8 text: save it as UTF-8.") from error


def _cues(text: str, path: Path) -> list[Cue]:
    """The cues of SubRip or WebVTT: blocks between blank lines, whose text comes after the line with ``-->``."""
    found, start, end, number, tokens = [], 0.0, 0.0, 0, None
    for number, line in enumerate([*text.splitlines(), ""], start=1):
        if "-->" in line:
            start, end = _interval(line, path, number)
            tokens = []
        elif not line.strip():
            if tokens:
                found.append(Cue(tuple(tokens), start, end))
            tokens = None
        elif tokens is not None:
            tokens += _MARK_UP.sub("", line).split()
    return sorted(found, key=lambda cue: cue.start)


def _interval(line: str, path: Path, number: int) -> tuple[float, float]:
    times = [_TIME.match(part.strip()) for part in line.split("-->", 1)]
    if None not in times:
        start, end = (_seconds(*time.groups(default="0")) for time in times)
        if start < end:
            return start, end
    raise TranscriptError("malformed", f"{path}, line {number}: {line!r} is not 'start --> end' with start < end.")


def _seconds(hours: str, minutes: str, seconds: str, fraction: str) -> float:
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds) + float(f"0.{fraction}")
