"""The gate: a good data set passes, and every way of spoiling one is caught by the check that is named for it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from storage.interchange.npz import read_npz
from storage.schema import AlignedDataset
from tasks.features.vision import BLENDSHAPES
from tasks.validate import Thresholds, judge

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


def spoilt(feature: str, rows, value) -> AlignedDataset:
    """The good data set with some rows of a feature overwritten."""
    dataset = good_dataset()
    values = dataset.features[feature].copy()
    values[rows] = value
    return replace(dataset, features={**dataset.features, feature: values})


def test_good_dataset_passes(tmp_path):
    verdict = judge(good_dataset(), {}, tmp_path / "docs")
    assert verdict.passed
    assert not verdict.failed
    assert all(check.observed == 1 and not check.failing_ids for check in verdict.checks)
    names = {check.name for check in verdict.checks}
    assert {"coverage", "vision_finite", "vision_in_range", "audio_measured", "labelled_splits"} <= names
    assert "glove_in_range" not in names  # nothing is known of the range of its columns


def unlike(index: int, **fields) -> AlignedDataset:
    """The good data set with one entry of some fields replaced."""
    dataset = good_dataset()
    changed = {}
    for name, value in fields.items():
        entries = list(getattr(dataset, name))
        entries[index] = value
        changed[name] = tuple(entries) if isinstance(getattr(dataset, name), tuple) else np.array(entries, np.float32)
    return replace(dataset, **changed)


def swapped() -> AlignedDataset:
    dataset = good_dataset()
    features = {**dataset.features, "vision": dataset.features["audio"], "audio": dataset.features["vision"]}
    return replace(dataset, features=features)


def unmeasured(feature: str, segments: int) -> AlignedDataset:
    dataset = good_dataset()
    mask = dataset.masks[feature].copy()
    mask[: dataset.offsets[segments]] = False
    return replace(dataset, masks={**dataset.masks, feature: mask})


def shifted(word: int, seconds: float) -> AlignedDataset:
    dataset = good_dataset()
    starts, ends = dataset.starts.copy(), dataset.ends.copy()
    starts[word] += seconds
    ends[word] += seconds
    return replace(dataset, starts=starts, ends=ends)


def emptied() -> AlignedDataset:
    """The second segment gives its words to the first."""
    dataset = good_dataset()
    offsets = dataset.offsets.copy()
    offsets[1] = offsets[2]
    unknown = np.full(len(dataset.words), np.nan)
    return replace(dataset, offsets=offsets, starts=unknown, ends=unknown)


@pytest.mark.parametrize(
    ("dataset", "caught_by", "failing"),
    [
        (spoilt("vision", 3, np.nan), "vision_finite", ("video0$_$0",)),
        (spoilt("audio", (3, 7), -np.inf), "audio_finite", ("video0$_$0",)),
        (
            spoilt("audio", slice(None), 0.25),
            "audio_varies",
            tuple(f"audio/audio_{i}" for i in range(len(BLENDSHAPES))),
        ),
        (swapped(), "vision_in_range", tuple(good_dataset().ids)),
        (spoilt("vision", (0, 5), 1.01), "vision_in_range", ("video0$_$0",)),
        (emptied(), "words_per_segment", ("video0$_$1",)),
        (unlike(4, labels=3.5), "label_in_range", ("video0$_$4",)),
        (unlike(4, ids="video0$_$3"), "unique_ids", ("video0$_$3",)),
        (unlike(4, splits="test"), "one_split_a_video", ("video0",)),
        (unmeasured("vision", 2), "vision_measured", ("video0$_$0", "video0$_$1")),
        (unmeasured("glove", 2), "glove_measured", ("video0$_$0", "video0$_$1")),
        (shifted(1, 0.2), "word_times", ("video0$_$0",)),
        (shifted(0, -0.1), "word_times", ("video0$_$0",)),
        (unlike(1, words=""), "words_not_empty", ("video0$_$0",)),
    ],
)
def test_fault_is_caught_by_its_check(tmp_path, dataset, caught_by, failing):
    verdict = judge(dataset, {}, tmp_path)
    assert not verdict.passed
    (check,) = (check for check in verdict.failed if check.severity == "critical")
    assert check.name == caught_by
    assert check.failing_ids == failing
    assert failing[0] in check.sentence


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
    dataset = spoilt("vision", (slice(None), 0), 0)
    vision = dataset.features["vision"].copy()
    vision[: dataset.offsets[1]] = vision[0]
    dataset = replace(dataset, features={**dataset.features, "vision": vision})
    verdict = judge(dataset, {}, tmp_path, Thresholds(most_words=7))
    assert verdict.passed
    failing = {check.name: check.failing_ids for check in verdict.failed}
    assert failing.keys() == {"vision_columns_vary", "vision_moves", "segment_length"}
    assert failing["vision_columns_vary"] == ("vision/_neutral",)
    assert failing["vision_moves"] == ("video0$_$0",)


def test_data_docs_are_a_site_that_names_checks_and_escapes_ids(tmp_path):
    dataset = unlike(4, labels=3.5, ids="<script>x</script>$_$4")
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
