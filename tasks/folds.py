"""Which split a video is in where the data do not say: official folds, or a hash of its id."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

SPLITS = ("train", "valid", "test")
FOLDS = Path(__file__).parent / "facts" / "folds.txt"
"""One line a data set and fold: both names, then the ids of its videos."""
BY_HASH = "hash of the video id"


@cache
def official_folds() -> dict[str, dict[str, str]]:
    """The split of every video, by the name of its data set: ``cmu-mosi`` and ``cmu-mosei``."""
    folds: dict[str, dict[str, str]] = {}
    for line in FOLDS.read_text(encoding="utf-8").splitlines():
        data_set, fold, *videos = line.split(" ")
        folds.setdefault(data_set, {}).update(dict.fromkeys(videos, fold))
    return folds


def recognised(videos: Iterable[str]) -> str | None:
    """The published data set that more than half of these videos are of, if any."""
    ids = set(videos)
    return next((name for name, folds in official_folds().items() if 2 * len(ids & folds.keys()) > len(ids)), None)


def split_of(video: str) -> str:
    """The split of a video by its id alone: train, valid or test, 70 : 10 : 20; adding videos moves none."""
    tenth = int.from_bytes(hashlib.sha256(video.encode()).digest()[:8], "big") % 10
    return "train" if tenth < 7 else "valid" if tenth < 8 else "test"


def make_splits(videos: Iterable[str], folds: str | None = None) -> tuple[dict[str, str], str]:
    """The split of every video, and the rule in words: the official folds of a data set, else the hash of the id.

    ``folds`` names the data set; without it, it is recognised by the ids where they are of all three folds (models
    need all, and who has one fold wants to split that). A video that is in no official fold has the split "".
    """
    ids = set(videos)
    if name := folds or recognised(ids):
        splits = {video: official_folds()[name].get(video, "") for video in ids}
        if folds or set(SPLITS) <= set(splits.values()):
            return splits, f"official folds of {name}"
    return {video: split_of(video) for video in ids}, BY_HASH


def empty_splits(videos: Iterable[str], splits: Mapping[str, str], rule: str) -> str:
    """One sentence where a split has none of the videos, which are those with labels; nothing where all have some."""
    ids = set(videos)
    empty = [split for split in SPLITS if split not in {splits[video] for video in ids}]
    if not ids or not empty:
        return ""
    return (
        f"By the {rule}, none of the {len(ids)} videos with labels is in {' and none in '.join(empty)}, and models "
        "need all three splits: add videos, or name the split of each row in a column."
    )
