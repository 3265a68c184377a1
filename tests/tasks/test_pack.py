"""Packing: words and frames of extracted segments, out of a real store, in the order of the label file."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from storage.feature_store import FeatureStore
from storage.schema import Failure, Frames, Word, fingerprint
from storage.segments import Segment, SegmentId
from tasks import pack
from tasks.extract import Step, segment_states
from tasks.features.pooling import pool
from tasks.pack import aligned_dataset, extracted, recipe

COLUMNS = {"glove": ("x", "y"), "vision": ("smile", "frown", "jaw")}
RECIPES = {"words": {"aligner": 1}, "glove": {"vectors": 1}, "vision": {"camera": 1}}
WORDS, GLOVE, VISION = (Step(name, fingerprint(recipe)) for name, recipe in RECIPES.items())
FEATURES = (GLOVE, VISION)
STEPS = (WORDS, *FEATURES)


def segment(index: int, text: str, **fields) -> Segment:
    return Segment(
        id=SegmentId(f"v{index % 3}", str(index)),
        row=index + 2,
        media=f"{index}.mp4",
        media_sha256=f"{index:064}",
        text=text,
        label=index / 10,
        split="train",
        **fields,
    )


def words_of(of: Segment) -> tuple[Word, ...]:
    return tuple(Word(token, 0.3 * index, 0.3 * index + 0.3) for index, token in enumerate(of.text.split()))


def glove_of(of: Segment) -> Frames:
    tokens = of.text.split()
    known = np.array([token != "hm" for token in tokens])
    values = np.array([[len(token), index] for index, token in enumerate(tokens)], np.float32) * known[:, None]
    return Frames(values, np.arange(len(tokens), dtype=np.float64), known)


def vision_of(of: Segment) -> Frames:
    random = np.random.default_rng(int(of.id.clip))
    mask = random.random(50) < 0.8
    return Frames(random.random((50, 3)).astype(np.float32) * mask[:, None], np.arange(50) / 25, mask)


def fill(store: FeatureStore, segments, failing: dict[str, set[int]]) -> None:
    """Commit every segment's results, or a failure in the named step for the rows in ``failing``."""

    def results(step: Step, measure):
        rows = failing.get(step.name, set())
        return {step.key(s): Failure("broken", "it broke") if s.row in rows else measure(s) for s in segments}

    store.write_segments(segments)
    store.append_words(RECIPES["words"], results(WORDS, words_of))
    store.append("glove", RECIPES["glove"], COLUMNS["glove"], results(GLOVE, glove_of))
    store.append("vision", RECIPES["vision"], COLUMNS["vision"], results(VISION, vision_of))


@pytest.fixture
def segments() -> list[Segment]:
    texts = ["GOOD FILM", "hm well no", "GOOD FILM", "one", "a b c d", "bad"]
    return [segment(index, text) for index, text in enumerate(texts)]


@pytest.fixture
def store(tmp_path) -> FeatureStore:
    return FeatureStore.open(str(tmp_path / "store"))


def test_packs_words_text_rows_and_pooled_frames(store, segments, monkeypatch):
    monkeypatch.setattr(pack, "BLOCK", 4)  # so that there is more than one
    fill(store, segments, {})
    dataset = aligned_dataset(store, segments, WORDS, FEATURES, COLUMNS)
    assert dataset.ids == tuple(str(s.id) for s in segments)
    assert dataset.videos == ("v0", "v1", "v2", "v0", "v1", "v2")
    np.testing.assert_array_equal(dataset.labels, np.arange(6, dtype=np.float32) / np.float32(10))
    assert dataset.words == tuple(" ".join(s.text for s in segments).split())
    for index, of in enumerate(segments):
        rows = slice(*dataset.offsets[index : index + 2])
        spoken = words_of(of)
        assert dataset.words[rows] == tuple(word.text for word in spoken)
        np.testing.assert_array_equal(dataset.starts[rows], [word.start for word in spoken])
        np.testing.assert_array_equal(dataset.ends[rows], [word.end for word in spoken])
        np.testing.assert_array_equal(dataset.features["glove"][rows], glove_of(of).values)
        np.testing.assert_array_equal(dataset.masks["glove"][rows], glove_of(of).mask)
        values, mask = pool(vision_of(of), spoken)
        np.testing.assert_array_equal(dataset.features["vision"][rows], values)
        np.testing.assert_array_equal(dataset.masks["vision"][rows], mask)
    assert dataset.columns == COLUMNS


def test_unaligned_frames_are_as_they_were_measured(store, segments):
    fill(store, segments, {})
    dataset = aligned_dataset(store, segments, WORDS, FEATURES, COLUMNS, aligned=False)
    pooled = aligned_dataset(store, segments, WORDS, FEATURES, COLUMNS)
    assert dataset.frame_offsets.keys() == {"vision"} and dataset.words == pooled.words
    np.testing.assert_array_equal(dataset.features["glove"], pooled.features["glove"])
    for index, of in enumerate(segments):
        rows, frames = slice(*dataset.frame_offsets["vision"][index : index + 2]), vision_of(of)
        np.testing.assert_array_equal(dataset.features["vision"][rows], frames.values)
        np.testing.assert_array_equal(dataset.masks["vision"][rows], frames.mask)
        np.testing.assert_array_equal(dataset.frame_times["vision"][rows], frames.times)
    assert aligned_dataset(store, [], WORDS, FEATURES, COLUMNS, aligned=False).features["vision"].shape == (0, 3)


def test_word_pieces_keep_rows_of_their_own_beside_the_words(store, segments):
    """As many as the tokenizer made, at times that nobody knows."""
    step = Step("pieces", fingerprint({"tokenizer": 1}))

    def pieces_of(of: Segment) -> Frames:
        numbers = [0, *(index + 1 for index, token in enumerate(of.text.split()) for _ in token), 0]
        values = np.array([[7 * number, number] for number in numbers], np.float32)
        return Frames(values, np.arange(len(values), dtype=np.float64), np.ones(len(values), bool))

    fill(store, segments, {})
    columns = COLUMNS | {"pieces": ("piece", "word")}
    store.append("pieces", {"tokenizer": 1}, columns["pieces"], {step.key(s): pieces_of(s) for s in segments})
    dataset = aligned_dataset(store, segments, WORDS, [*FEATURES, step], columns)
    assert dataset.frame_offsets.keys() == {"pieces"} and np.isnan(dataset.frame_times["pieces"]).all()
    for index, of in enumerate(segments):
        rows = slice(*dataset.frame_offsets["pieces"][index : index + 2])
        np.testing.assert_array_equal(dataset.features["pieces"][rows], pieces_of(of).values)


def test_only_segments_whose_every_step_succeeded_are_extracted(store, segments):
    segments[5] = replace(segments[5], failure=Failure("missing_media", "no recording"))
    segments[4] = replace(segments[4], excluded="duplicate_row")
    fill(store, segments, {"words": {2}, "vision": {5}})
    segments += [segment(9, "never seen before")]
    assert [s.row for s in extracted(segments, segment_states(store, segments, STEPS))] == [3, 4]


def test_what_is_not_extracted_yet_is_not_packed_over(store, segments):
    fill(store, segments, {})
    store.write_segments([*segments, segment(9, "never seen before")])
    steps = (WORDS, *(replace(step, columns=COLUMNS[step.name]) for step in FEATURES))
    with pytest.raises(pack.PackError, match="not extracted yet: words of 1 segments"):
        pack.pack.fn(store, steps)
    store.write_segments(segments)
    assert store.has_aligned(pack.pack.fn(store, steps))


def test_nothing_extracted_is_an_empty_dataset(store, segments):
    fill(store, segments, {})
    dataset = aligned_dataset(store, [], WORDS, FEATURES, COLUMNS)
    assert dataset.ids == () and dataset.features["vision"].shape == (0, 3)


def test_stored_under_its_recipe_and_read_back(store, segments):
    fill(store, segments, {"vision": {3}})
    packed = extracted(segments, segment_states(store, segments, STEPS))
    dataset = aligned_dataset(store, packed, WORDS, FEATURES, COLUMNS)
    name = store.write_aligned(recipe(packed, WORDS, FEATURES), dataset)
    found = store.aligned(name, at="staging")
    assert (found.ids, found.words) == (dataset.ids, dataset.words)
    np.testing.assert_array_equal(found.features["vision"], dataset.features["vision"])


def test_recipe_changes_exactly_when_the_data_may(segments):
    def name(of=segments, words=WORDS, features=FEATURES):
        return fingerprint(recipe(of, words, features))

    assert name() == name(list(segments))
    # not: where in the label file and under which path a segment was found
    assert name() == name([replace(s, row=s.row + 1, media="elsewhere/" + s.media) for s in segments])
    first, rest = segments[0], segments[1:]
    changes = {
        "text": "BAD FILM",
        "label": 3.0,
        "split": "test",
        "media_sha256": "1" * 64,
        "id": SegmentId("v0", "zero"),
    }
    changes |= {"label ": float("nan"), "start": 0.5, "given_words": (Word("GOOD", 0, 1), Word("FILM", 1, 2))}
    names = {name([replace(first, **{field.strip(): value}), *rest]) for field, value in changes.items()}
    names |= {name(rest), name(segments[::-1]), name(words=Step("words", "0" * 16)), name(features=(GLOVE,))}
    names |= {name(features=(GLOVE, Step("vision", "0" * 16)))}
    names |= {fingerprint(recipe(segments, WORDS, FEATURES, aligned=False))}
    assert len(names | {name()}) == len(changes) + 7


def test_text_features_of_other_length_than_the_words_are_refused(store, segments):
    short = replace(segments[1], text="hm well")
    store.append_words(RECIPES["words"], {WORDS.key(segments[1]): words_of(short)})
    store.append("glove", RECIPES["glove"], COLUMNS["glove"], {GLOVE.key(segments[1]): glove_of(segments[1])})
    with pytest.raises(ValueError, match=r"v1\$_\$1 has 2 words but text features of 3"):
        aligned_dataset(store, segments[1:2], WORDS, (GLOVE,), COLUMNS)
