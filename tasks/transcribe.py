"""Transcription: what is said in the segments that came without a transcript."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from prefect import task
from prefect.cache_policies import NO_CACHE

from storage.feature_store import FeatureStore
from storage.schema import Failure, Word, fingerprint
from storage.segments import Segment
from tasks import assets
from tasks.extract import commit_missing
from tasks.features import media
from tasks.recordings import Recording, measure_recording
from tasks.workers import Workers

if TYPE_CHECKING:
    from faster_whisper import WhisperModel  # of an extra, so it is imported where it is used


class TranscriptionError(media.SegmentError):
    """What is said cannot be found out. Reasons: ``no_transcriber``, ``silent``, ``no_speech``."""


@dataclass(frozen=True)
class Transcriber:
    """Whisper (Radford et al., 2022) in the implementation faster-whisper, on one core.

    ``beam`` is the width of its search, ``language`` an ISO 639-1 code.
    """

    model: str = "whisper-tiny.en"
    language: str = "en"
    beam: int = 5

    def recipe(self) -> dict:
        """Raises TranscriptionError where the extra ``transcribe`` is not installed."""
        try:
            versions = {package: version(package) for package in ("faster-whisper", "ctranslate2", "av")}
        except PackageNotFoundError as error:
            raise TranscriptionError(
                "no_transcriber",
                "There are segments without a text, and to transcribe them faster-whisper is needed: "
                "pip install 'dmd[transcribe]', or give their texts.",
            ) from error
        return {**asdict(self), "code": 1, "sha256": assets.ASSETS[self.model].sha256, **versions}

    def transcribe(self, waveform: np.ndarray) -> tuple[Word, ...]:
        """The words said in ``waveform`` (float32 [samples], 16 kHz mono), with times in seconds from its start.

        The times are those of the model's attention, less exact than an aligner's. Raises TranscriptionError.
        """
        if media.is_silent(waveform):
            raise TranscriptionError("silent", "The sound of the segment is silence, so it has no transcript.")
        segments, _ = _loaded(self.model).transcribe(
            waveform,
            language=self.language,
            beam_size=self.beam,
            temperature=0.0,  # else what is doubtful is sampled, and differs from run to run
            condition_on_previous_text=False,
            word_timestamps=True,
        )
        words = tuple(
            Word(word.word.strip(), float(word.start), float(word.end), float(word.probability), "transcribed")
            for segment in segments
            for word in segment.words
        )
        if not any(map(str.isalnum, "".join(word.text for word in words))):
            raise TranscriptionError("no_speech", "No speech is heard in the segment, so it has no transcript.")
        return words


@cache
def _loaded(model: str) -> WhisperModel:
    from faster_whisper import WhisperModel

    return WhisperModel(str(assets.fetch(model)), device="cpu", compute_type="int8", cpu_threads=1)


@task(cache_policy=NO_CACHE)
def transcribe(store: FeatureStore, workers: Workers, raw: str, retry_failures: bool) -> None:
    """Commit what is said in every segment that came without a text, and put it into the segment table.

    ``raw`` is the raw folder as the workers see it: a path or an http(s) address. The store keeps transcripts by the
    sound that they are of: nothing is transcribed twice.
    """
    segments = store.segments()
    if not any(is_untold(segment) for segment in segments):
        return
    transcriber = Transcriber()
    recipe = transcriber.recipe()
    if retry_failures:
        store.forget_failures("words", fingerprint(recipe))
    commit_missing(
        name="transcribe",
        done=store.done("words", fingerprint(recipe)),
        arguments={
            segment.sound_key: (Recording.of_sound(segment, raw), segment.start, segment.end)
            for segment in segments
            if is_untold(segment)
        },
        measure=partial(measure_recording, partial(transcribe_segment, transcriber)),
        commit=lambda results: store.append_words(recipe, results),
        workers=workers,
    )
    store.write_segments(with_transcripts(store, segments), store.source())


def transcribe_segment(transcriber: Transcriber, path: Path, start: float, end: float) -> tuple[Word, ...]:
    """The words of one segment from its own sound."""
    return transcriber.transcribe(media.waveform(path, start, end))


def with_transcripts(store: FeatureStore, segments: Sequence[Segment]) -> list[Segment]:
    """The segments, those without a text with the transcript that the store has, or with the reason for none."""
    untold = [segment for segment in segments if is_untold(segment)]
    if not untold:
        return list(segments)
    name = fingerprint(Transcriber().recipe())
    done = store.done("words", name)
    keys = list(dict.fromkeys(s.sound_key for s in untold if s.sound_key in done and done[s.sound_key] is None))
    heard = store.words(name, keys) if keys else {}
    return [
        _told(segment, heard.get(segment.sound_key, ()), done.get(segment.sound_key)) if is_untold(segment) else segment
        for segment in segments
    ]


def is_untold(segment: Segment) -> bool:
    """Whether a segment came without a text, also where it could not be transcribed."""
    return bool(segment.media_sha256) and not (segment.text or segment.excluded)


def _told(segment: Segment, words: Sequence[Word], failure: Failure | None) -> Segment:
    if failure is not None:
        return replace(segment, failure=Failure(failure.reason, f"row {segment.row}: {failure.message}"))
    return replace(segment, text=" ".join(word.text for word in words), failure=None)
