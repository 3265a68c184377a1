"""Word times that come with a recording, in the formats of the tools that make them."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from storage.interchange.csd import read_csd
from storage.schema import Failure, Word
from storage.segments import Segment
from tasks.features.words import read_align
from tasks.labels import LabelError
from tasks.layouts import only_file

log = logging.getLogger(__name__)

PAUSES = frozenset({"", "sil", "sp", "spn", "<eps>", "{sl}", "{sp}", "{ns}", "{lg}", "{cg}", "{br}"})
"""How aligners (P2FA, MFA, Kaldi, GRID's) mark a stretch without a word."""


def beside(recording: Path) -> tuple[Word, ...] | None:
    """The words of the file of word times beside a recording, in seconds of the recording; None where there is none.

    Raises ValueError, naming the file and the line, where it is none.
    """
    for suffix, read in READERS.items():
        if (path := recording.with_suffix(suffix)).is_file():
            return read(path)
    return None


def within(words: Sequence[Word], start: float, end: float) -> tuple[Word, ...]:
    """The words whose middle lies from ``start`` until ``end``, in seconds from ``start`` and cut to that stretch."""
    return tuple(
        replace(word, start=max(word.start, start) - start, end=min(word.end, end) - start)
        for word in words
        if start <= (word.start + word.end) / 2 < end
    )


def read_textgrid(path: Path) -> tuple[Word, ...]:
    """The words of a Praat TextGrid: its tier called words (or ending in that, as MFA writes it), or its only tier."""
    from praatio import textgrid
    from praatio.utilities.errors import PraatioException

    try:
        grid = textgrid.openTextgrid(str(path), includeEmptyIntervals=False)
    except (PraatioException, ValueError, IndexError, KeyError, UnicodeError) as error:
        raise ValueError(f"{path} is no TextGrid: {error}") from error
    tiers = [name for name in grid.tierNames if name.casefold().split(" - ")[-1] in ("word", "words")]
    names = tiers or grid.tierNames
    if len(names) != 1 or not isinstance(grid.getTier(names[0]), textgrid.IntervalTier):
        raise ValueError(f"{path}: one interval tier called 'words' is needed, found {', '.join(grid.tierNames)}.")
    return _spoken(grid.getTier(names[0]).entries, path)


def read_ctm(path: Path) -> tuple[Word, ...]:
    """The words of a CTM file of one recording: lines of ``file channel start duration word [confidence]``."""
    entries = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip() or line.startswith(";;"):
            continue
        try:
            _, _, start, duration, word, *_ = line.split()
            entries.append((float(start), float(start) + float(duration), word))
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {line!r} is not 'file channel start duration word'.") from error
    return _spoken(entries, path)


def read_timestamped_words(path: Path) -> dict[str, tuple[Word, ...]]:
    """The words of every video in a computational sequence of words (CMU's TimestampedWords)."""
    sequence = read_csd(path)
    return {
        video: _spoken(((*interval, str(word)) for interval, (word, *_) in zip(intervals, words, strict=True)), path)
        for video, intervals in sequence.intervals.items()
        for words in (sequence.features[video],)
    }


def _spoken(entries: Iterable[tuple[float, float, str]], path: Path) -> tuple[Word, ...]:
    """The words of entries of start, end and text, in the order of their starts."""
    words = []
    for start, end, text in entries:
        if not 0 <= start <= end < math.inf:
            raise ValueError(f"{path}: {text!r} lasts from {start} to {end} s.")
        if len(text.split()) > 1:
            raise ValueError(f"{path}: {text[:60]!r} at {start:g} s is more than one word.")
        if text.strip().casefold() not in PAUSES:
            words.append(Word(text.strip(), float(start), float(end)))
    return tuple(sorted(words, key=lambda word: word.start))


READERS: Mapping[str, Callable[[Path], tuple[Word, ...]]] = {
    ".align": read_align,
    ".TextGrid": read_textgrid,
    ".ctm": read_ctm,
}


class TimedWords:
    """The word times that came with a data set."""

    def __init__(self, raw: Path, base: Path, has_text: bool) -> None:
        self._has_text = has_text
        self._misfits: Counter[str] = Counter()
        self._beside: dict[Path, tuple[Word, ...] | None | Failure] = {}
        sequence = only_file(raw, base, "*TimestampedWords.csd")
        try:
            self._by_video = read_timestamped_words(sequence) if sequence else {}
        except ValueError as error:
            raise LabelError("bad_word_times", str(error)) from error

    def given_to(self, segment: Segment, recording: Path, interval: tuple[float, float]) -> Segment:
        """The segment with its words; ``interval`` is its stretch of the full video, in seconds.

        A file beside a clip must hold the words of its text. Words cut out of a full video by time may miss one at the
        ends: where they are not those of the text, they are not used and the segment is aligned.
        """
        given = self._read_beside(recording)
        if isinstance(given, Failure):
            return replace(segment, failure=replace(given, message=f"row {segment.row}: {given.message}"))
        of_clip = given is not None and segment.end == math.inf and segment.start == 0
        if given is None:
            given = self._by_video.get(segment.id.video)
        if given is None:
            return segment
        given = given if of_clip else within(given, *interval)
        if not self._has_text:
            if not given:
                trouble = Failure("empty_text", f"row {segment.row}: no word is timed in its stretch")
                return replace(segment, failure=trouble)
            return replace(segment, text=" ".join(word.text for word in given), given_words=given)
        if [_letters(word.text) for word in given] == [_letters(token) for token in segment.text.split()]:
            return replace(segment, given_words=given)
        if not of_clip:
            self._misfits[recording.name] += 1
            return segment
        spoken = " ".join(word.text for word in given)
        return replace(
            segment,
            failure=Failure(
                "words_differ",
                f"row {segment.row}, column text: {segment.text[:80]!r} is not {spoken[:80]!r} beside {recording.name}",
            ),
        )

    def log_misfits(self) -> None:
        """Say how many segments are aligned because the words of their stretch are not those of their text."""
        if self._misfits:
            log.warning(
                "%d segments of %d recordings are aligned: the words timed there are not those of their texts",
                self._misfits.total(),
                len(self._misfits),
            )

    def _read_beside(self, recording: Path) -> tuple[Word, ...] | None | Failure:
        if recording not in self._beside:
            try:
                self._beside[recording] = beside(recording)
            except (ValueError, OSError) as error:
                self._beside[recording] = Failure("bad_word_times", str(error))
        return self._beside[recording]


def _letters(token: str) -> str:
    return "".join(filter(str.isalnum, token.casefold()))
