"""Alignment: word times that came with the data where they are trusted, forced ones for all others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from storage.feature_store import FeatureStore
from tasks.align import POCKETSPHINX, align, aligner_named, forced_against_given
from tasks.ingest import read_raw
from tasks.workers import Workers

ALIGNER = aligner_named(POCKETSPHINX)


@pytest.fixture(scope="module")
def segments(corpus):
    """Three spoken clips with given words, three without."""
    found, _ = read_raw(corpus)
    return found[:3] + [replace(segment, given_words=()) for segment in found[3:6]]


def words_of(store, step) -> list:
    found = store.words(step.fingerprint, [step.key(segment) for segment in store.segments()])
    return [found[step.key(segment)] for segment in store.segments()]


def test_given_words_are_taken_where_they_are_trusted_and_found_where_there_are_none(
    corpus, segments, scheduler, tmp_path
):
    store = FeatureStore.open(str(tmp_path / "store"))
    store.write_segments(segments)
    with Workers(scheduler) as workers:
        step = align.fn(store, workers, str(corpus), ALIGNER, True, False)
        digest = store.digest()
        assert align.fn(store, workers, str(corpus), ALIGNER, True, False) == step and store.digest() == digest
    words = words_of(store, step)
    assert words[:3] == [segment.given_words for segment in segments[:3]]
    for segment, found in zip(segments[3:], words[3:], strict=True):
        assert [word.text for word in found] == segment.text.split()
        assert {word.source for word in found} <= {"aligned", "interpolated"}
    assert forced_against_given(store, step).size == 0, "given words are not compared with themselves"


def test_words_that_are_not_trusted_are_what_forced_ones_are_held_against(corpus, segments, scheduler, tmp_path):
    store = FeatureStore.open(str(tmp_path / "store"))
    store.write_segments(segments)
    with Workers(scheduler) as workers:
        step = align.fn(store, workers, str(corpus), ALIGNER, False, False)
    assert all(word.source != "given" for words in words_of(store, step) for word in words)
    errors = forced_against_given(store, step)
    expected = [
        abs(getattr(found, side) - getattr(true, side))
        for words, segment in zip(words_of(store, step), segments[:3], strict=False)
        for found, true in zip(words, segment.given_words, strict=True)
        for side in ("start", "end")
    ]
    np.testing.assert_allclose(np.sort(errors), np.sort(expected), atol=1e-6)
