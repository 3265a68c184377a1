"""When each word of a transcript is spoken: what every aligner gives, and word times that come with a recording."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Protocol

import numpy as np

from storage.schema import Word
from tasks.features import media
from tasks.features.spoken import spoken_words

GRID_UNITS = 25_000
"""Units a second in the ``.align`` files of the GRID corpus: 1000 of them are one frame of its video."""


class AlignmentError(media.SegmentError):
    """The words of a segment cannot be found in its sound.

    Reasons: ``no_alignable_word``, ``silent``, ``alignment_failed``.
    """


class Aligner(Protocol):
    """What finds the words of a transcript in a waveform."""

    def recipe(self) -> dict:
        """All that the times depend on."""
        ...

    def align(self, waveform: np.ndarray, tokens: Sequence[str]) -> tuple[Word, ...]:
        """One word a token, in order, with times in seconds of ``waveform`` (float32 [samples], 16 kHz mono).

        The result depends on the arguments alone. Raises ``AlignmentError``; without its model, ``AssetError``.
        """
        ...


@dataclass(frozen=True)
class Found:
    """Where a spoken word was found: seconds of the waveform, and how well it fits there, log confidence <= 0."""

    start: float
    end: float
    log_confidence: float


def align_tokens(
    waveform: np.ndarray, tokens: Sequence[str], find: Callable[[list[str]], Sequence[Found | None]]
) -> tuple[Word, ...]:
    """One word a token, from what ``find`` says of each spoken word, in order; None is a word that is not there.

    A token of several spoken words lasts from the first to the last that was found; its log confidence is their mean,
    weighted by duration. Tokens of which none was found, or that are not spoken (``--``), share the time between their
    neighbours, with source ``interpolated`` and confidence 0. Raises ``AlignmentError``.
    """
    if media.is_silent(waveform):
        raise AlignmentError("silent", "The sound of the segment is silence, so its words cannot be aligned.")
    spoken = [(index, word) for index, token in enumerate(tokens) for word in spoken_words(token)]
    if not spoken:
        raise AlignmentError("no_alignable_word", f"The text {' '.join(tokens)!r} has no word that could be said.")
    found = find([word for _, word in spoken])
    words: list[Word | None] = [None] * len(tokens)
    for index, group in groupby(zip(spoken, found, strict=True), key=lambda pair: pair[0][0]):
        if parts := [part for _, part in group if part is not None]:
            words[index] = _word(tokens[index], parts)
    return _interpolated(words, tokens, len(waveform) / media.SAMPLE_RATE)


def not_found(words: Sequence[str], waveform: np.ndarray) -> AlignmentError:
    seconds, text = len(waveform) / media.SAMPLE_RATE, " ".join(words)
    text = text if len(text) <= 200 else f"{text[:200]}..."
    return AlignmentError("alignment_failed", f"{text!r} cannot be found in {seconds:.2f} s of sound.")


def _word(token: str, parts: Sequence[Found]) -> Word:
    durations = np.array([part.end - part.start for part in parts])
    log_confidence = np.average([part.log_confidence for part in parts], weights=durations)
    return Word(token, parts[0].start, parts[-1].end, math.exp(min(0.0, log_confidence)), "aligned")


def _interpolated(words: Sequence[Word | None], tokens: Sequence[str], duration: float) -> tuple[Word, ...]:
    """Fills the missing words: each run of them divides evenly the time between its neighbours, if there is any."""
    filled: list[Word] = []
    runs = [(missing, list(group)) for missing, group in groupby(range(len(words)), key=lambda i: words[i] is None)]
    for missing, run in runs:
        if not missing:
            filled += [words[i] for i in run]
            continue
        begin = filled[-1].end if filled else 0.0
        end = words[run[-1] + 1].start if run[-1] + 1 < len(words) else max(begin, duration)
        bounds = np.linspace(begin, end, len(run) + 1).tolist()
        filled += [
            Word(tokens[i], start, stop, confidence=0.0, source="interpolated")
            for i, start, stop in zip(run, bounds, bounds[1:], strict=False)
        ]
    return tuple(filled)


def read_align(path: Path) -> tuple[Word, ...]:
    """The words of a GRID ``.align`` file, lines of ``start end word`` in units of 1/25,000 s; silence is left out.

    Raises ``ValueError`` naming the line that is none of this.
    """
    words = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        match line.split():
            case [start, end, text] if start.isdecimal() and end.isdecimal() and int(start) < int(end):
                if text not in ("sil", "sp"):
                    words.append(Word(text, int(start) / GRID_UNITS, int(end) / GRID_UNITS))
            case []:
                continue
            case _:
                raise ValueError(f"{path}, line {number}: {line!r} is not 'start end word' with start < end.")
    return tuple(words)


def boundary_errors(aligned: Sequence[Word], reference: Sequence[Word]) -> np.ndarray:
    """How far each start and end (in turn) of ``aligned`` is from that of ``reference``: float64 [2 W], in seconds.

    Rounded to microseconds, so that 0.54 is 0.05 from 0.49.
    """
    if len(aligned) != len(reference):
        raise ValueError(f"{len(aligned)} aligned words cannot be compared with {len(reference)} reference words.")
    found, true = (np.array([(word.start, word.end) for word in words]) for words in (aligned, reference))
    return np.abs(found - true).reshape(-1).round(6)
