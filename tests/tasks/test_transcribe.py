"""Transcription: what has no text gets what is heard in it, once, and says why where nothing is heard."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace

import numpy as np
import pytest

from storage.feature_store import FeatureStore
from storage.schema import Failure
from tasks import transcribe as transcription
from tasks.features import media
from tasks.ingest import ingest, read_raw
from tasks.transcribe import Transcriber, TranscriptionError, transcribe, with_transcripts
from tasks.workers import Workers

pytestmark = pytest.mark.filterwarnings("ignore:builtin type:DeprecationWarning")


@pytest.fixture(scope="module", autouse=True)
def transcribe_extra():
    pytest.importorskip("faster_whisper", reason="the extra 'transcribe' (faster-whisper) is not installed")


@pytest.fixture(scope="module")
def untold(corpus, tmp_path_factory):
    """Two videos of one's own, each a spoken clip of the sample corpus, without a label file; and what they say."""
    segments, _ = read_raw(corpus)
    raw = tmp_path_factory.mktemp("untold")
    for name, segment in zip("ab", segments[:2], strict=True):
        shutil.copy(corpus / segment.media, raw / f"{name}.mp4")
    (raw / "c.mp4").write_bytes(b"no recording")
    return raw, [segment.text for segment in segments[:2]]


def error_rate(said: str, heard: str) -> float:
    """Edits between the words of both, for each word that was said."""
    said, heard = (["".join(filter(str.isalnum, w.casefold())) for w in text.split()] for text in (said, heard))
    row = list(range(len(heard) + 1))
    for i, word in enumerate(said, start=1):
        last, row[0] = row[0], i
        for j, other in enumerate(heard, start=1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (word != other))
    return row[-1] / len(said)


def test_what_is_said_is_heard_once_and_kept(untold, scheduler, tmp_path, monkeypatch):
    raw, said = untold
    store = FeatureStore.open(str(tmp_path / "store"))
    inventory = tmp_path / "inventory.json"
    ingest.fn(store, raw, inventory, None, True)
    assert [segment.text for segment in store.segments()] == ["", "", ""]
    with Workers(scheduler) as workers:
        transcribe.fn(store, workers, str(raw), False)
    heard = store.segments()
    assert all(error_rate(text, segment.text) <= 0.4 for text, segment in zip(said, heard[:2], strict=True))
    assert heard[2].failure == Failure("unreadable", heard[2].failure.message) and heard[2].text == ""
    assert store.source()["untold"] == 3

    digest = store.digest()
    monkeypatch.setattr(Workers, "measure", lambda *_: pytest.fail("nothing is to be transcribed"))
    ingest.fn(store, raw, inventory, None, True)
    assert store.digest() == digest, "ingest puts the transcripts that are known into the table"
    with Workers(scheduler) as workers:
        transcribe.fn(store, workers, str(raw), False)
    os.rename(raw / "b.mp4", raw / "d.mp4")
    try:
        ingest.fn(store, raw, inventory, None, True)
        renamed = store.segments()
    finally:
        os.rename(raw / "d.mp4", raw / "b.mp4")
    assert [(s.id.video, s.text) for s in renamed] == [("a", heard[0].text), ("c", ""), ("d", heard[1].text)]


def test_failures_are_tried_again_when_asked(untold, scheduler, tmp_path):
    raw, _ = untold
    store = FeatureStore.open(str(tmp_path / "store"))
    segments, _ = read_raw(raw)
    store.write_segments(segments)
    recipe = Transcriber().recipe()
    store.append_words(recipe, {segment.media_key: Failure("crash", "twice") for segment in segments})
    assert [s.failure.reason for s in with_transcripts(store, segments)] == ["crash"] * 3
    with Workers(scheduler) as workers:
        transcribe.fn(store, workers, str(raw), False)
        assert [segment.failure.reason for segment in store.segments()] == ["crash"] * 3
        transcribe.fn(store, workers, str(raw), True)
    assert [segment.failure and segment.failure.reason for segment in store.segments()] == [None, None, "unreadable"]


def test_silence_and_noise_have_no_transcript():
    silence = np.zeros(2 * media.SAMPLE_RATE, np.float32)
    with pytest.raises(TranscriptionError) as caught:
        Transcriber().transcribe(silence)
    assert caught.value.reason == "silent"
    noise = np.random.default_rng(0).normal(0, 0.01, 2 * media.SAMPLE_RATE).astype(np.float32)
    with pytest.raises(TranscriptionError) as caught:
        Transcriber().transcribe(noise)
    assert caught.value.reason == "no_speech"


def test_the_same_sound_gives_the_same_words(untold):
    waveform = media.waveform(untold[0] / "a.mp4")
    first = Transcriber().transcribe(waveform)
    assert first == Transcriber().transcribe(waveform)
    assert all(0 <= word.start <= word.end <= len(waveform) / media.SAMPLE_RATE + 0.1 for word in first)
    assert {word.source for word in first} == {"transcribed"}


def test_texts_that_are_given_need_no_transcriber(untold, tmp_path, monkeypatch):
    def absent(package):
        raise transcription.PackageNotFoundError(package)

    monkeypatch.setattr(transcription, "version", absent)
    segments, _ = read_raw(untold[0])
    store = FeatureStore.open(str(tmp_path / "store"))
    told = [replace(segment, text="given") for segment in segments]
    assert with_transcripts(store, told) == told
    with pytest.raises(TranscriptionError, match=r"pip install 'dmd\[transcribe\]'") as caught:
        with_transcripts(store, segments)
    assert caught.value.reason == "no_transcriber"


@pytest.mark.real_data
def test_real_speakers_are_understood(shared_data):
    """Clips of GRID, whose sentences are odd; their first three words are no letters or digits."""
    grid = shared_data / "grid"
    rates = []
    for line in (grid / "transcripts.tsv").read_text().splitlines()[2:6]:
        name, said = line.split("\t")
        heard = Transcriber().transcribe(media.waveform(grid / name))
        rates.append(error_rate(" ".join(said.split()[:3]), " ".join([word.text for word in heard][:3])))
    assert np.mean(rates) < 0.25
