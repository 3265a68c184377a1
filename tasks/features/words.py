"""When each word of a transcript is spoken: forced alignment, and word times that come with a recording."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import groupby
from pathlib import Path

import numpy as np
import pocketsphinx

from storage.schema import Word
from tasks.assets import ASSETS
from tasks.features import media
from tasks.features.pronunciation import G2P_MODEL, pronunciations
from tasks.features.spoken import spoken_words

GRID_UNITS = 25_000
"""Units a second in the ``.align`` files of the GRID corpus: 1000 of them are one frame of its video."""

_FRAMES = 100  # of the aligner, a second
_NATS = 1024 * math.log(1.0001)  # one unit of the aligner's scores: its logarithms have base 1.0001 and lose 10 bits
_CONFIDENCE_NATS = 4.0


class AlignmentError(media.SegmentError):
    """The words of a segment cannot be found in its sound.

    Reasons: ``no_alignable_word``, ``silent``, ``alignment_failed``.
    """


@dataclass(frozen=True)
class ForcedAligner:
    """Pocketsphinx with its US English acoustic model; words that its dictionary lacks are pronounced by G2P.

    ``seed`` is that of the faint noise added to the sound, without which very clean speech is not aligned. ``beam``:
    a path that is so much less likely than the best one is given up. Pocketsphinx's own 1e-48 loses whole segments to
    noise; this one costs a quarter more time and lets the confidence tell.
    """

    seed: int = 0
    beam: float = 1e-150

    def recipe(self) -> dict:
        return {
            **asdict(self),
            "code": 1,
            "pocketsphinx": version("pocketsphinx"),
            "av": version("av"),
            G2P_MODEL: ASSETS[G2P_MODEL].sha256,
        }

    def align(self, waveform: np.ndarray, tokens: Sequence[str]) -> tuple[Word, ...]:
        """One word a token, in order, with times in seconds of ``waveform`` (float32 [samples], 16 kHz mono).

        A token of several spoken words lasts from the first to the last of them. A token of none (``--``) shares the
        pause between its neighbours, with source ``interpolated`` and confidence 0. The confidence of the others is
        exp(s / 4), where s <= 0 is the mean over their frames of how much less likely (in nats) the aligned phone is
        than the best one of the model. The result depends on the arguments alone. Raises ``AlignmentError``.
        """
        if media.is_silent(waveform):
            raise AlignmentError("silent", "The sound of the segment is silence, so its words cannot be aligned.")
        spoken = _spoken(tokens)
        entries = self._entries(waveform, [word for _, word in spoken])
        words: list[Word | None] = [None] * len(tokens)
        for index, group in groupby(zip(spoken, entries, strict=True), key=lambda pair: pair[0][0]):
            words[index] = _word(tokens[index], [entry for _, entry in group])
        return _interpolated(words, tokens, len(waveform) / media.SAMPLE_RATE)

    def locate(self, waveform: np.ndarray, tokens: Sequence[str]) -> tuple[Word, ...]:
        """Where each word is, by the first pass alone: for sound that is too long to be aligned in one piece.

        Boundaries are as near as those of ``align``, without its confidences (all are 0); the memory it takes grows
        with the seconds, that of ``align`` with their square (1.1 GB at three minutes). Raises ``AlignmentError``.
        """
        spoken = _spoken(tokens)
        words = [word for _, word in spoken]
        decoder = self._decoder(set(words))
        decoder.set_align_text(" ".join(words))
        _decode(decoder, _pcm(waveform))
        found = [part for part in decoder.seg() or () if part.word[0] not in "<["]
        if len(found) != len(words):
            raise _not_found(words, waveform)
        located: list[Word | None] = [None] * len(tokens)
        for index, group in groupby(zip(spoken, found, strict=True), key=lambda pair: pair[0][0]):
            parts = [part for _, part in group]
            start, end = parts[0].start_frame / _FRAMES, (parts[-1].end_frame + 1) / _FRAMES
            located[index] = Word(tokens[index], start, end, 0.0, "aligned")
        return _interpolated(located, tokens, len(waveform) / media.SAMPLE_RATE)

    def _entries(self, waveform: np.ndarray, words: list[str]) -> list[pocketsphinx.AlignmentEntry]:
        """The alignment of each spoken word."""
        decoder, sound = self._decoder(set(words)), _pcm(waveform)
        try:
            decoder.set_align_text(" ".join(words))
            _decode(decoder, sound)  # finds the words
            decoder.set_alignment()
            _decode(decoder, sound)  # finds their phones
        except RuntimeError as error:
            raise _not_found(words, waveform) from error
        entries = [entry for entry in decoder.get_alignment() or () if entry.name[0] not in "<["]  # no silence or noise
        if len(entries) != len(words):
            raise _not_found(words, waveform)
        return entries

    def _decoder(self, words: set[str]) -> pocketsphinx.Decoder:
        """A fresh decoder that knows these words alone.

        What a decoder has heard changes what it hears next, so each segment has its own: 11 ms, where reading the
        whole dictionary would take 130. The second pass needs ``bestpath`` off.
        """
        decoder = pocketsphinx.Decoder(
            dict=None,
            lm=None,
            bestpath=False,
            dither=True,
            seed=self.seed,
            beam=self.beam,
            wbeam=self.beam,
            pbeam=self.beam,
            loglevel="FATAL",
        )
        for word in sorted(words):
            for reading, phones in enumerate(pronunciations(word), start=1):
                decoder.add_word(word if reading == 1 else f"{word}({reading})", phones, False)
        return decoder


def _spoken(tokens: Sequence[str]) -> list[tuple[int, str]]:
    """(place of its token, spoken word) of every spoken word."""
    spoken = [(index, word) for index, token in enumerate(tokens) for word in spoken_words(token)]
    if not spoken:
        raise AlignmentError("no_alignable_word", f"The text {' '.join(tokens)!r} has no word that could be said.")
    return spoken


def _not_found(words: Sequence[str], waveform: np.ndarray) -> AlignmentError:
    seconds, text = len(waveform) / media.SAMPLE_RATE, " ".join(words)
    text = text if len(text) <= 200 else f"{text[:200]}..."
    return AlignmentError("alignment_failed", f"{text!r} cannot be found in {seconds:.2f} s of sound.")


def _pcm(waveform: np.ndarray) -> bytes:
    """The waveform as 16 bit samples."""
    return (np.clip(waveform, -1, 1) * 32767).astype(np.int16).tobytes()


def _decode(decoder: pocketsphinx.Decoder, sound: bytes) -> None:
    decoder.start_utt()
    decoder.process_raw(sound, full_utt=True)
    decoder.end_utt()


def _word(token: str, entries: list[pocketsphinx.AlignmentEntry]) -> Word:
    """The token from the first to the last of its spoken words."""
    first, last = entries[0], entries[-1]
    nats = _NATS * sum(entry.score for entry in entries) / sum(entry.duration for entry in entries)
    confidence = math.exp(min(0.0, nats) / _CONFIDENCE_NATS)
    return Word(token, first.start / _FRAMES, (last.start + last.duration) / _FRAMES, confidence, "aligned")


def _interpolated(words: Sequence[Word | None], tokens: Sequence[str], duration: float) -> tuple[Word, ...]:
    """Fills the missing words: each run of them divides evenly the time between its neighbours."""
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
