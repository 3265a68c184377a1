"""The gate: a good data set passes, and every way of spoiling one is caught by the check that is named for it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from storage.interchange.npz import read_npz
from storage.schema import AlignedDataset
from tasks.expectations import Thresholds
from tasks.features.vision import BLENDSHAPES
from tasks.validate import Verdict, judge

SEGMENTS = 30
SPLITS = ("train", "train", "valid", "test", "train")


def good_dataset() -> AlignedDataset:
    """Six videos of five segments of 4 to 8 words, with plausible random features."""
    random = np.random.default_rng(0)
    lengths = random.integers(4, 9, SEGMENTS)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    words = int(offsets[-1])
    position = np.concatenate([np.arange(length) for length in lengths])
    videos = tuple(f"video{index // 5}" for index in range(SEGMENTS))
    features = {
        "glove": random.normal(size=(words, 50)),
        "vision": random.uniform(0, 1, (words, len(BLENDSHAPES))),
        "audio": random.normal(size=(words, len(BLENDSHAPES))) * 40,
    }
    return AlignedDataset(
        ids=tuple(f"{video}$_${index}" for index, video in enumerate(videos)),
        videos=videos,
        labels=random.uniform(-3, 3, SEGMENTS).astype(np.float32),
        splits=tuple(SPLITS[index // 5 % 5] for index in range(SEGMENTS)),
        offsets=offsets,
        words=tuple(f"word{index}" for index in range(words)),
        starts=position * 0.3,
        ends=position * 0.3 + 0.3,
        features={name: values.astype(np.float32) for name, values in features.items()},
        masks={name: np.ones(words, bool) for name in features},
        columns={
            "glove": tuple(f"glove_{index}" for index in range(50)),
            "vision": tuple(BLENDSHAPES),
            "audio": tuple(f"audio_{index}" for index in range(len(BLENDSHAPES))),
        },
    )


def spoil(dataset: AlignedDataset, **fields) -> AlignedDataset:
    """The data set with entries of some fields replaced: ``labels={4: 3.5}``."""
    changed = {}
    for name, entries in fields.items():
        values = getattr(dataset, name)
        spoilt = list(values) if isinstance(values, tuple) else values.copy()
        for index, value in entries.items():
            spoilt[index] = value
        changed[name] = tuple(spoilt) if isinstance(values, tuple) else spoilt
    return replace(dataset, **changed)


def spoil_feature(dataset: AlignedDataset, name: str, rows, value) -> AlignedDataset:
    values = dataset.features[name].copy()
    values[rows] = value
    return replace(dataset, features={**dataset.features, name: values})


def critical(verdict: Verdict) -> dict[str, tuple[str, ...]]:
    return {check.name: check.failing_ids for check in verdict.failed if check.severity == "critical"}


def test_good_dataset_passes(tmp_path):
    verdict = judge(good_dataset(), {}, tmp_path / "docs")
    assert verdict.passed
    assert not verdict.failed
    assert all(check.observed == 1 and not check.failing_ids for check in verdict.checks)
    names = {check.name for check in verdict.checks}
    assert {"coverage", "vision_finite", "vision_in_range", "audio_measured", "labelled_splits"} <= names
    assert "glove_in_range" not in names  # nothing is known of the range of its columns


def test_words_that_were_not_found_may_last_no_time(tmp_path):
    """A dash between two words without a pause: its neighbours' boundary is where it starts and ends."""
    dataset = good_dataset()
    word = int(dataset.offsets[3]) + 1
    squeezed = spoil(dataset, ends={word: dataset.starts[word]}, starts={word + 1: dataset.starts[word]})
    assert judge(squeezed, {}, tmp_path).passed


def test_each_single_fault_is_caught_by_its_check(tmp_path):
    """Nine faults in nine segments of one data set: each check names its own and no other."""
    dataset = good_dataset()
    word = dataset.offsets  # the first word of each segment
    dataset = spoil_feature(dataset, "vision", (word[0], 3), np.nan)
    dataset = spoil_feature(dataset, "vision", (word[1], 5), 1.01)
    dataset = spoil_feature(dataset, "audio", (word[2], 7), -np.inf)
    dataset = spoil(
        dataset,
        labels={4: 3.5},
        ids={9: dataset.ids[8]},
        splits={14: "test"},
        words={word[20]: " "},
        starts={word[22]: -0.1, word[25] + 1: 0.2},  # before the segment, and before the word before it
    )
    ids = dataset.ids
    verdict = judge(dataset, {}, tmp_path)
    assert not verdict.passed
    assert critical(verdict) == {
        "vision_finite": (ids[0],),
        "vision_in_range": (ids[1],),
        "audio_finite": (ids[2],),
        "label_in_range": (ids[4],),
        "unique_ids": (ids[8],),
        "one_split_a_video": ("video2",),
        "words_not_empty": (ids[20],),
        "word_times": (ids[22], ids[25]),
    }
    assert all(check.failing_ids[0] in check.sentence for check in verdict.failed)


def test_faults_of_whole_features_are_caught_by_their_checks(tmp_path):
    """A constant feature, segments without a face, unknown words, and a segment whose words went to its neighbour."""
    dataset = spoil_feature(good_dataset(), "audio", slice(None), 0.25)
    masks = {name: mask.copy() for name, mask in dataset.masks.items()}
    masks["vision"][: dataset.offsets[2]] = False
    masks["glove"][dataset.offsets[10] : dataset.offsets[12]] = False
    unknown = np.full(len(dataset.words), np.nan)
    dataset = replace(spoil(dataset, offsets={6: dataset.offsets[7]}), masks=masks, starts=unknown, ends=unknown)
    assert critical(judge(dataset, {}, tmp_path)) == {
        "audio_varies": tuple(f"audio/{column}" for column in dataset.columns["audio"]),
        "vision_measured": dataset.ids[:2],
        "glove_measured": dataset.ids[10:12],
        "words_per_segment": (dataset.ids[6],),
    }


def test_swapped_modalities_are_caught_by_the_ranges(tmp_path):
    dataset = good_dataset()
    swapped = {**dataset.features, "vision": dataset.features["audio"], "audio": dataset.features["vision"]}
    assert critical(judge(replace(dataset, features=swapped), {}, tmp_path)) == {"vision_in_range": dataset.ids}


def test_a_data_set_whose_parts_do_not_fit_cannot_be_made():
    dataset = good_dataset()
    with pytest.raises(ValueError, match="features\\['vision'\\]"):
        replace(dataset, features={**dataset.features, "vision": dataset.features["vision"][:-1]})
    with pytest.raises(ValueError, match="offsets"):
        spoil(dataset, offsets={SEGMENTS: len(dataset.words) - 1})


def test_low_coverage_fails_and_says_why(tmp_path):
    verdict = judge(good_dataset(), {"no_face": 2, "truncated": 1}, tmp_path)
    (check,) = verdict.failed
    assert (check.name, check.observed, check.threshold) == ("coverage", 30 / 33, 0.95)
    assert check.sentence.endswith("so in 30 of 33 segments; lost were 2 by no_face, 1 by truncated.")
    assert judge(good_dataset(), {"no_face": 1}, tmp_path).passed
    assert judge(good_dataset(), {"no_face": 3}, tmp_path, Thresholds(coverage=0.9)).passed


def test_nothing_extracted_fails(tmp_path):
    dataset = good_dataset()
    empty = replace(
        dataset,
        ids=(),
        videos=(),
        labels=np.zeros(0, np.float32),
        splits=(),
        offsets=np.zeros(1, np.int64),
        words=(),
        starts=np.zeros(0),
        ends=np.zeros(0),
        features={name: values[:0] for name, values in dataset.features.items()},
        masks={name: mask[:0] for name, mask in dataset.masks.items()},
    )
    verdict = judge(empty, {"missing_media": 30}, tmp_path)
    assert not verdict.passed
    assert "30 by missing_media" in next(check.sentence for check in verdict.failed if check.name == "coverage")


def test_a_split_without_labels_fails_only_where_there_are_labels(tmp_path):
    dataset = good_dataset()
    no_valid = replace(dataset, splits=tuple("test" if split == "valid" else split for split in dataset.splits))
    (check,) = judge(no_valid, {}, tmp_path).failed
    assert (check.name, check.failing_ids) == ("labelled_splits", ("valid",))
    assert judge(replace(no_valid, labels=np.full(SEGMENTS, np.nan, np.float32)), {}, tmp_path).passed


def test_warnings_are_named_and_do_not_fail(tmp_path):
    """A constant column, a face that stands still in one segment, and a long segment."""
    dataset = spoil_feature(good_dataset(), "vision", (slice(None), 0), 0)
    vision = dataset.features["vision"].copy()
    vision[: dataset.offsets[1]] = vision[0]
    dataset = replace(dataset, features={**dataset.features, "vision": vision})
    verdict = judge(dataset, {}, tmp_path, Thresholds(most_words=7))
    assert verdict.passed
    failing = {check.name: check.failing_ids for check in verdict.failed}
    assert failing.keys() == {"vision_columns_vary", "vision_moves", "segment_length"}
    assert failing["vision_columns_vary"] == ("vision/_neutral",)
    assert failing["vision_moves"] == ("video0$_$0",)


def unaligned_dataset() -> AlignedDataset:
    """The good data set with 20 to 29 frames of vision in each segment."""
    dataset, random = good_dataset(), np.random.default_rng(1)
    counts = random.integers(20, 30, SEGMENTS)
    frames = int(counts.sum())
    vision = random.uniform(0, 1, (frames, len(BLENDSHAPES))).astype(np.float32)
    return replace(
        dataset,
        features={**dataset.features, "vision": vision},
        masks={**dataset.masks, "vision": np.ones(frames, bool)},
        frame_offsets={"vision": np.cumsum([0, *counts])},
        frame_times={"vision": np.concatenate([np.arange(count) / 25 for count in counts])},
    )


def test_unaligned_features_are_judged_by_their_frames(tmp_path):
    good = judge(unaligned_dataset(), {}, tmp_path)
    assert good.passed and not good.failed
    said = {check.name: check.sentence for check in good.checks}
    assert "at least 50% of the frames" in said["vision_measured"] and "of the words" in said["audio_measured"]
    assert "vision_times" in said and "audio_times" not in said


def test_each_fault_of_an_unaligned_feature_is_caught_by_its_check(tmp_path):
    """Faults in frames of several segments, and three segments without a frame or a face."""
    dataset = unaligned_dataset()
    offsets = dataset.frame_offsets["vision"].copy()
    dataset = spoil_feature(dataset, "vision", (offsets[1], 3), np.nan)
    dataset = spoil_feature(dataset, "vision", (offsets[5] - 1, 5), 1.01)
    times, mask = dataset.frame_times["vision"].copy(), dataset.masks["vision"].copy()
    times[offsets[6] + 3] = times[offsets[6] + 2]
    times[offsets[7]] = -1
    mask[offsets[10] : offsets[12]] = False
    offsets[14] = offsets[13]  # which gives the frames of 13 to 14
    ids = dataset.ids
    dataset = replace(
        dataset,
        frame_offsets={"vision": offsets},
        frame_times={"vision": times},
        masks={**dataset.masks, "vision": mask},
    )
    found = critical(judge(dataset, {}, tmp_path))
    assert found.pop("vision_times") == (ids[6], ids[7], ids[14])
    assert found == {
        "vision_finite": (ids[1],),
        "vision_in_range": (ids[4],),
        "vision_measured": (ids[10], ids[11], ids[13]),
    }


def test_longer_sequences_than_models_read_are_a_warning(tmp_path):
    verdict = judge(unaligned_dataset(), {}, tmp_path, Thresholds(most_frames=28))
    (check,) = verdict.failed
    assert verdict.passed and check.name == "vision_length" and check.failing_ids


def test_data_docs_are_a_site_that_names_checks_and_escapes_ids(tmp_path):
    dataset = spoil(good_dataset(), labels={4: 3.5}, ids={4: "<script>x</script>$_$4"})
    verdict = judge(dataset, {}, tmp_path / "deep" / "docs")
    assert verdict.docs == tmp_path / "deep" / "docs" / "index.html"
    assert verdict.docs.is_file()
    (check,) = verdict.failed
    assert check.failing_ids == ("<script>x</script>$_$4",)
    pages = "".join(path.read_text() for path in verdict.docs.parent.glob("validations/**/*.html"))
    assert "Every label lies in [-3, 3]" in pages
    assert "&lt;script&gt;x" in pages
    assert "<script>x" not in pages


def test_validation_is_silent(tmp_path, capfd):
    judge(good_dataset(), {}, tmp_path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.real_data
def test_published_features_of_mosi_pass(shared_data, tmp_path):
    """The valid split of MOSI as the field uses it; its one constant audio column is a warning."""
    dataset = read_npz(shared_data / "mosi" / "dev_aligned_50.npz")
    by_video = dict(zip(dict.fromkeys(dataset.videos), ("train", "valid", "test") * 4, strict=False))
    dataset = replace(dataset, splits=tuple(by_video[video] for video in dataset.videos))
    verdict = judge(dataset, {}, tmp_path)
    assert verdict.passed
    assert [check.failing_ids for check in verdict.failed] == [("audio/audio_36",)]
