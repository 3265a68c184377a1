"""Alignment: when each word of a transcript is spoken."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from prefect import task
from prefect.cache_policies import NO_CACHE

from storage.feature_store import FeatureStore
from storage.schema import Word, fingerprint
from tasks.extract import Step, commit_missing, usable
from tasks.features import media
from tasks.features.ctc import CtcAligner
from tasks.features.sphinx import SphinxAligner
from tasks.features.words import Aligner, boundary_errors
from tasks.recordings import Recording, measure_recording
from tasks.workers import Workers

POCKETSPHINX = "pocketsphinx"


def aligner_named(name: str) -> Aligner:
    """``pocketsphinx``, or the folder or hub name of a ``Wav2Vec2ForCTC`` model."""
    return SphinxAligner() if name == POCKETSPHINX else CtcAligner(name)


def aligner_of(recipe: Mapping[str, Any]) -> Aligner:
    """The aligner that has this recipe, as far as its files and libraries are the same."""
    return aligner_named(recipe.get("ctc", POCKETSPHINX))


@task(cache_policy=NO_CACHE)
def align(
    store: FeatureStore, workers: Workers, raw: str, aligner: Aligner, trust_given: bool, retry_failures: bool
) -> Step:
    """Commit the words of every segment that has none: those given with the data if trusted, else forced ones.

    ``raw`` is the raw folder as the workers see it: a path or an http(s) address.
    """
    recipe = {"aligner": aligner.recipe(), "trust_given": trust_given}
    step = Step("words", fingerprint(recipe))
    if retry_failures:
        store.forget_failures("words", step.fingerprint)
    done = store.done("words", step.fingerprint)
    segments = usable(store)
    given = {step.key(s): s.given_words for s in segments if trust_given and s.given_words}
    if new := {key: words for key, words in given.items() if key not in done}:
        store.append_words(recipe, new)
    commit_missing(
        name="align words",
        done=done,
        arguments={
            step.key(s): (Recording.of_sound(s, raw), s.start, s.end, s.text.split())
            for s in segments
            if step.key(s) not in given
        },
        measure=partial(measure_recording, partial(force_align, aligner)),
        commit=lambda results: store.append_words(recipe, results),
        workers=workers,
    )
    return step


def force_align(aligner: Aligner, path: Path, start: float, end: float, tokens: list[str]) -> tuple[Word, ...]:
    """The words of one segment from its own sound."""
    return aligner.align(media.waveform(path, start, end), tokens)


def forced_against_given(store: FeatureStore, words: Step) -> np.ndarray:
    """How far forced word boundaries lie from given ones, in seconds, over the segments that have both."""
    given = {words.key(segment): segment.given_words for segment in usable(store) if segment.given_words}
    done = store.done("words", words.fingerprint)
    found = store.words(words.fingerprint, [key for key in given if key in done and done[key] is None])
    errors = [
        boundary_errors(aligned, given[key])
        for key, aligned in found.items()
        if all(word.source != "given" for word in aligned)
    ]
    return np.concatenate(errors) if errors else np.empty(0)
