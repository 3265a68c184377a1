"""Alignment: when each word of a transcript is spoken."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from storage.feature_store import FeatureStore
from storage.schema import Word, fingerprint
from storage.segments import Segment
from tasks.extract import Step, commit_missing
from tasks.features import media, words
from tasks.progress import Progress
from tasks.workers import Workers


def align(
    store: FeatureStore,
    workers: Workers,
    raw: Path,
    aligner: words.ForcedAligner,
    segments: Iterable[Segment],
    trust_given: bool,
    progress: Progress,
) -> Step:
    """Commit the words of every segment that has none yet: those given with the data if trusted, else forced ones."""
    recipe = {"aligner": aligner.recipe(), "trust_given": trust_given}
    step = Step("words", fingerprint(recipe), lambda segment: segment.speech_key)
    done = store.done("words", step.fingerprint)
    given = {step.key(s): s.given_words for s in segments if trust_given and s.given_words and step.key(s) not in done}
    if given:
        store.append_words(recipe, given)
    commit_missing(
        done=store.done("words", step.fingerprint),
        arguments={step.key(s): (aligner, raw / s.media, s.start, s.end, s.text.split()) for s in segments},
        measure=force_align,
        commit=lambda results: store.append_words(recipe, results),
        workers=workers,
        progress=progress,
    )
    return step


def force_align(
    aligner: words.ForcedAligner, path: Path, start: float, end: float, tokens: list[str]
) -> tuple[Word, ...]:
    """The words of one segment from its own sound."""
    return aligner.align(media.waveform(path, start, end), tokens)


def boundary_errors(store: FeatureStore, words_fingerprint: str, segments: Iterable[Segment]) -> list[float]:
    """How far forced boundaries lie from given ones, in seconds, over the segments that have both."""
    reference = {segment.speech_key: segment.given_words for segment in segments if segment.given_words}
    done = store.done("words", words_fingerprint)
    aligned = store.words(words_fingerprint, [key for key in reference if key in done and done[key] is None])
    return [
        error
        for key, found in aligned.items()
        if all(word.source != "given" for word in found)
        for error in words.boundary_errors(found, reference[key])
    ]
