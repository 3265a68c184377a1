"""Ingest: the rows of a label file, each with the recording that belongs to it."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import stat
import time
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from storage.feature_store import FeatureStore
from storage.interchange import formats
from storage.schema import Failure, StoreError, fingerprint
from storage.segments import Segment
from tasks.features import words
from tasks.files import digest, write_text
from tasks.labels import EXAMPLE, LABEL_RANGE, LabelError, read_labels
from tasks.progress import Progress

log = logging.getLogger(__name__)

LABEL_FILE = "label.csv"
MEDIA_SUFFIXES = frozenset(".avi .flv .m4v .mkv .mov .mp4 .mpeg .mpg .ts .webm .wmv".split())
SETTLED_NS = 2_000_000_000
"""A file changed so shortly ago may change again under the same time stamp: its hash is not remembered."""

Recordings = Mapping[tuple[str, ...], Sequence[Path]]
"""Media files by (video, clip), or by (video,) for a full video."""


@task(cache_policy=NO_CACHE)
def ingest(store: FeatureStore, raw: Path, inventory: Path) -> None:
    """Make the rows of the label file the store's segment table."""
    store.write_segments(read_segments(raw, inventory))


@task(name="import", cache_policy=NO_CACHE)
def import_features(store: FeatureStore, path: Path, text: str) -> str:
    """Commit a file or folder of features as a data set, split by video if it has no splits; return its fingerprint.

    It may be of any format of ``storage.interchange.formats``; ``text`` says what its text features are: glove or bert.
    Raises StoreError.
    """
    if not path.exists():
        raise StoreError("missing", f"there is no {path}: name a file or folder of features")
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    content = fingerprint({file.relative_to(path).as_posix(): digest([file]) for file in files})
    recipe = {"content": content, "text": text, "code": 2}
    if store.has_aligned(fingerprint(recipe)):
        return fingerprint(recipe)
    dataset = formats.read(path, text)
    if not any(dataset.splits):
        dataset = replace(dataset, splits=split_by_video(dataset.videos))
    return store.write_aligned(recipe, dataset)


def split_by_video(videos: Sequence[str]) -> tuple[str, ...]:
    """A split for every segment: its videos, in the order of their ids' hashes, 70 : 10 : 20, at least one in each."""
    order = sorted(set(videos), key=lambda video: hashlib.sha256(video.encode()).digest())
    valid, test = max(1, round(0.1 * len(order))), max(1, round(0.2 * len(order)))
    split = dict.fromkeys(order, "train") | dict.fromkeys(order[:valid], "valid")
    split |= dict.fromkeys(order[valid : valid + test], "test")
    return tuple(split[video] for video in videos)


def read_segments(
    raw: Path, inventory: Path | None = None, label_range: tuple[float, float] = LABEL_RANGE
) -> list[Segment]:
    """Every row of ``raw/label.csv`` as a segment with its recording, that file's hash and its given words.

    Recordings are ``raw/Raw/<video_id>/<clip_id>.<ext>`` (or without the ``Raw``); a clip without a file of its own is
    the stretch from ``start_sec`` to ``end_sec`` of ``<video_id>.<ext>``. ``<clip_id>.align`` beside a clip gives its
    word times. Files are found by listing the folder and comparing names: no id is ever made into a path. Links are
    followed, because people link data sets, but a recording must be a regular file in the end.

    ``inventory`` is the file that remembers hashes by path, size and time of change, so that a rerun reads no media.

    A row without a usable recording, or whose given words are not its text, carries a ``failure``; recordings without a
    row are logged. Raises LabelError where the label file cannot be used.
    """
    if not (raw / LABEL_FILE).is_file():
        trouble = (
            f"{raw} has no {LABEL_FILE}, which says what is in its recordings" if raw.is_dir() else f"no folder {raw}"
        )
        raise LabelError(
            "missing",
            f"{trouble}. Needed is a folder with Raw/03bSnISJMiM/11.mp4 and so on, and {LABEL_FILE}:\n{EXAMPLE}",
        )
    segments = read_labels(raw / LABEL_FILE, label_range)
    recordings = _list_recordings(raw / "Raw" if (raw / "Raw").is_dir() else raw)
    _log_unlabelled(recordings, segments)
    segments = [_with_recording(segment, recordings, raw) for segment in segments]
    hashes = _hashes(raw, {segment.media for segment in segments if segment.media}, inventory)
    return [_with_hash(segment, hashes) for segment in segments]


def _list_recordings(folder: Path) -> Recordings:
    found: dict[tuple[str, ...], list[Path]] = defaultdict(list)
    for entry in sorted(folder.iterdir()):
        if entry.is_dir():
            for clip in sorted(entry.iterdir()):
                if clip.suffix.lower() in MEDIA_SUFFIXES:
                    found[_composed(entry.name), _composed(clip.stem)].append(clip)
        elif entry.suffix.lower() in MEDIA_SUFFIXES:
            found[(_composed(entry.stem),)].append(entry)
    return found


def _composed(name: str) -> str:
    """A name in the one Unicode form in which names are compared; file systems differ in the form they list."""
    return unicodedata.normalize("NFC", name)


def _log_unlabelled(recordings: Recordings, segments: Iterable[Segment]) -> None:
    labelled = set()
    for segment in segments:
        video, clip = _composed(segment.id.video), _composed(segment.id.clip)
        labelled |= {(video, clip), (video,)}
    unlabelled = [path.as_posix() for name, paths in recordings.items() if name not in labelled for path in paths]
    if unlabelled:
        log.warning("%d recordings have no row in %s, such as %r", len(unlabelled), LABEL_FILE, unlabelled[:3])


def _with_recording(segment: Segment, recordings: Recordings, raw: Path) -> Segment:
    """The segment with its media path, interval and given words, or with the reason why there are none."""
    if segment.failure or segment.excluded:
        return segment

    def failed(reason: str, message: str) -> Segment:
        return replace(segment, failure=Failure(reason, f"row {segment.row}, column clip_id: {message}"))

    video, clip = _composed(segment.id.video), _composed(segment.id.clip)
    clips, videos = recordings.get((video, clip), ()), recordings.get((video,), ())
    found = clips or videos
    if not found:
        return failed("missing_media", f"no recording {video}/{clip}.mp4 (or another video format) under {raw}")
    if len(found) > 1:
        return failed("ambiguous_media", f"{' and '.join(path.name for path in found)} both fit; keep one")
    media = found[0].relative_to(raw).as_posix()
    if not clips:
        if not 0 <= segment.start < segment.end < math.inf:
            return failed("bad_interval", f"give start_sec and end_sec, the stretch of {media} that the row is about")
        return replace(segment, media=media)
    segment = replace(segment, media=media, start=0.0, end=math.inf)
    return _with_given_words(segment, found[0].with_suffix(".align"))


def _with_given_words(segment: Segment, path: Path) -> Segment:
    if not path.is_file():
        return segment
    try:
        given = words.read_align(path)
    except (ValueError, OSError) as error:
        return replace(segment, failure=Failure("bad_word_times", f"row {segment.row}: {error}"))
    tokens = segment.text.split()
    if [_letters(word.text) for word in given] != [_letters(token) for token in tokens]:
        spoken = " ".join(word.text for word in given)
        return replace(
            segment,
            failure=Failure(
                "words_differ",
                f"row {segment.row}, column text: {segment.text[:80]!r} is not {spoken[:80]!r} in {path.name}",
            ),
        )
    return replace(segment, given_words=given)


def _letters(token: str) -> str:
    return "".join(filter(str.isalnum, token.casefold()))


def _with_hash(segment: Segment, hashes: Mapping[str, str | Failure]) -> Segment:
    found = hashes.get(segment.media, "")
    if isinstance(found, Failure):
        return replace(segment, failure=segment.failure or Failure(found.reason, f"row {segment.row}: {found.message}"))
    return replace(segment, media_sha256=found)


def _hashes(raw: Path, media: Iterable[str], inventory: Path | None) -> dict[str, str | Failure]:
    """sha256 of every media file, or why it has none; unchanged files that the inventory knows are not read."""
    remembered = _read_inventory(inventory) if inventory else {}
    hashes: dict[str, str | Failure] = {}
    entries: dict[str, list] = {}  # name: [size in bytes, time of change in ns, sha256]
    changed: list[str] = []
    for name in sorted(media):
        entry = remembered.get(name)
        if entry and entry[:2] == _size_and_change(raw / name):
            entries[name], hashes[name] = entry, entry[2]
        else:
            changed.append(name)
    try:
        if changed:
            with Progress("read media", total=len(entries) + len(changed), done=len(entries), unit="file") as progress:
                for name in changed:
                    hashes[name], size_and_change = _hash(raw / name, name)
                    if size_and_change and time.time_ns() - size_and_change[1] > SETTLED_NS:
                        entries[name] = [*size_and_change, hashes[name]]
                    progress.advance()
    finally:
        if inventory and entries != remembered:
            write_text(inventory, json.dumps(entries))
    return hashes


def _size_and_change(path: Path) -> list[int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns] if stat.S_ISREG(status.st_mode) else None


def _hash(path: Path, name: str) -> tuple[str | Failure, list[int] | None]:
    """A file's sha256 with its size and time of change before it was read."""
    size_and_change = _size_and_change(path)
    if size_and_change is None:
        return Failure("not_regular_file", f"{name} is no regular file (a folder, device or broken link?)"), None
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest(), size_and_change
    except OSError as error:
        return Failure("unreadable", f"{name}: {error.strerror}"), None


def _read_inventory(inventory: Path) -> dict[str, list]:
    if not inventory.exists():
        return {}
    try:
        return {name: _entry(*entry) for name, entry in json.loads(inventory.read_bytes()).items()}
    except (ValueError, TypeError, AttributeError) as error:
        log.warning("the inventory %s is damaged and is made anew: %s", inventory, error)
        return {}


def _entry(size: object, changed: object, sha256: object) -> list:
    if not (isinstance(size, int) and isinstance(changed, int) and isinstance(sha256, str) and len(sha256) == 64):
        raise ValueError(f"no size, time and sha256: {[size, changed, sha256]}")
    return [size, changed, sha256]
