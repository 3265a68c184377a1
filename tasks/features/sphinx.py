"""Forced alignment with pocketsphinx."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version

import numpy as np
import pocketsphinx

from storage.schema import Word
from tasks.assets import ASSETS
from tasks.features.pronunciation import G2P_MODEL, pronunciations
from tasks.features.words import Found, align_tokens, not_found

_FRAMES = 100  # of the aligner, a second
_NATS = 1024 * math.log(1.0001)  # one unit of the aligner's scores: its logarithms have base 1.0001 and lose 10 bits
_CONFIDENCE_NATS = 4.0
_LONGEST_SKIP = 3  # words in a row that may be absent
_SKIP_PROBABILITY = 0.1  # a word is only left out where the sound says so
_LEAST_SHARE = 0.5  # of the words must be there, or it is another text


@dataclass(frozen=True)
class SphinxAligner:
    """Pocketsphinx with its US English acoustic model; words that its dictionary lacks are pronounced by G2P.

    ``seed`` is that of the faint noise added to the sound, without which very clean speech is not aligned. ``beam``:
    a path that is so much less likely than the best one is given up. Pocketsphinx's own 1e-48 loses whole segments to
    noise; this one costs a quarter more time and lets the confidence tell.

    Where the words cannot be aligned all together, those that the sound has no room for are left out.
    """

    seed: int = 0
    beam: float = 1e-150

    def recipe(self) -> dict:
        return {
            **asdict(self),
            "code": 2,
            "pocketsphinx": version("pocketsphinx"),
            "av": version("av"),
            G2P_MODEL: ASSETS[G2P_MODEL].sha256,
        }

    def align(self, waveform: np.ndarray, tokens: Sequence[str]) -> tuple[Word, ...]:
        """As ``Aligner`` and ``align_tokens`` say.

        The confidence of a word is exp(s / 4), where s <= 0 is the mean over its frames of how much less likely (in
        nats) the aligned phone is than the best one of the model.
        """
        return align_tokens(waveform, tokens, partial(self._find, waveform))

    def locate(self, waveform: np.ndarray, tokens: Sequence[str]) -> tuple[Word, ...]:
        """Where each word is, by the first pass alone: for sound that is too long to be aligned in one piece.

        Boundaries are as near as those of ``align``, without its confidences (all are 0); the memory it takes grows
        with the seconds, that of ``align`` with their square (1.1 GB at three minutes). Raises ``AlignmentError``.
        """
        return align_tokens(waveform, tokens, partial(self._locate, waveform))

    def _locate(self, waveform: np.ndarray, words: list[str]) -> list[Found]:
        decoder = self._decoder({word: word for word in words})
        decoder.set_align_text(" ".join(words))
        _decode(decoder, _pcm(waveform))
        parts = [part for part in decoder.seg() or () if part.word[0] not in "<["]
        if len(parts) != len(words):
            raise not_found(words, waveform)
        return [Found(part.start_frame / _FRAMES, (part.end_frame + 1) / _FRAMES, -math.inf) for part in parts]

    def _find(self, waveform: np.ndarray, words: list[str]) -> list[Found | None]:
        sound = _pcm(waveform)
        if found := self._all(sound, words):
            return found
        present = self._present(sound, words)
        if len(present) < _LEAST_SHARE * len(words) or not (some := self._all(sound, [words[i] for i in present])):
            raise not_found(words, waveform)
        by_place = dict(zip(present, some, strict=True))
        return [by_place.get(place) for place in range(len(words))]

    def _all(self, sound: bytes, words: list[str]) -> list[Found]:
        """Each of the words; nothing where they cannot be aligned all together."""
        decoder = self._decoder({word: word for word in words})
        try:
            decoder.set_align_text(" ".join(words))
            _decode(decoder, sound)  # finds the words
            decoder.set_alignment()
            _decode(decoder, sound)  # finds their phones
        except RuntimeError:  # how pocketsphinx says that no path was left
            return []
        entries = [entry for entry in decoder.get_alignment() or () if entry.name[0] not in "<["]  # no silence or noise
        return [_found(entry) for entry in entries] if len(entries) == len(words) else []

    def _present(self, sound: bytes, words: list[str]) -> list[int]:
        """Places of the words that the sound has, in the likeliest reading that may leave words out."""
        decoder = self._decoder({str(place): word for place, word in enumerate(words)})
        end = len(words) + 1
        arcs = [
            (place, later + 1, 1.0 if later == place else _SKIP_PROBABILITY, str(later))
            for place in range(len(words))
            for later in range(place, min(len(words), place + _LONGEST_SKIP + 1))
        ]
        arcs += [(place, end, 1.0) for place in range(max(1, len(words) - _LONGEST_SKIP), end)]
        decoder.add_fsg("some", decoder.create_fsg("some", 0, end, arcs))
        decoder.activate_search("some")
        try:
            _decode(decoder, sound)
        except RuntimeError:
            return []
        return [int(name.split("(")[0]) for name in decoder.hyp().hypstr.split()] if decoder.hyp() else []

    def _decoder(self, names: dict[str, str]) -> pocketsphinx.Decoder:
        """A fresh decoder that knows these words alone, by name.

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
        for name, word in sorted(names.items()):
            for reading, phones in enumerate(pronunciations(word), start=1):
                decoder.add_word(name if reading == 1 else f"{name}({reading})", phones, False)
        return decoder


def _pcm(waveform: np.ndarray) -> bytes:
    """The waveform as 16 bit samples."""
    return (np.clip(waveform, -1, 1) * 32767).astype(np.int16).tobytes()


def _decode(decoder: pocketsphinx.Decoder, sound: bytes) -> None:
    decoder.start_utt()
    decoder.process_raw(sound, full_utt=True)
    decoder.end_utt()


def _found(entry: pocketsphinx.AlignmentEntry) -> Found:
    nats = _NATS * entry.score / entry.duration
    return Found(entry.start / _FRAMES, (entry.start + entry.duration) / _FRAMES, nats / _CONFIDENCE_NATS)
