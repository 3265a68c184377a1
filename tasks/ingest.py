"""Ingest: the rows of a label source, each with the recording that belongs to it."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import stat
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from prefect import task
from prefect.cache_policies import NO_CACHE

from storage.feature_store import FeatureStore
from storage.interchange import formats
from storage.schema import Failure, StoreError, fingerprint
from storage.segments import Segment
from tasks.errata import ERRATA, apply_errata, correct_features, known_errata, told
from tasks.files import digest, write_text
from tasks.folds import empty_splits, make_splits, recognised
from tasks.labels import LABEL_RANGE, judge
from tasks.layouts import MEDIA_SUFFIXES, Recordings, base_of, composed, find_layout, list_recordings
from tasks.progress import Progress
from tasks.transcribe import is_untold, with_transcripts
from tasks.word_times import TimedWords

log = logging.getLogger(__name__)

SETTLED_NS = 2_000_000_000
"""A file changed so shortly ago may change again under the same time stamp: its hash is not remembered."""
FIELD_ENCODER = "bert-base-uncased"
"""Whose word pieces the field's files hold as ``text_bert``."""
OUTSIDE = "in_no_official_fold"
"""Why a segment of a published data set is left out of its official folds."""


@dataclass(frozen=True)
class Source:
    """What a segment table was made of, as the store keeps it beside the table and the report tells it.

    ``layout`` is that of the raw folder, ``labels`` its file of labels, ``splits`` the rule by which videos were
    split. ``untold`` segments came without a text and are transcribed. ``errata`` are the known errors of these very
    segments and of their data set, with the ``action`` that was taken: ``refused`` where they were not to be applied.
    """

    layout: str
    labels: str
    splits: str
    untold: int
    errata: tuple[dict[str, str], ...] = ()


@task(cache_policy=NO_CACHE)
def ingest(store: FeatureStore, raw: Path, inventory: Path, folds: str | None, errata: bool) -> None:
    """Make the rows of the label source the store's segment table, with the transcripts that the store has."""
    segments, source = read_raw(raw, inventory, folds, errata)
    store.write_segments(with_transcripts(store, segments), asdict(source))


@task(name="import", cache_policy=NO_CACHE)
def import_features(
    store: FeatureStore, path: Path, text: str, folds: str | None, errata: bool, text_encoder: str | None
) -> str:
    """Commit a file or folder of features as a data set, split by video if it has no splits; return its fingerprint.

    It may be of any format of ``storage.interchange.formats``; ``text`` says what its text features are: glove or bert.
    ``folds`` names official folds to split by. ``errata``: whether known errors of published data sets are applied.
    ``text_encoder`` is the one whose word pieces the file may hold, by default FIELD_ENCODER. Raises StoreError.
    """
    if not path.exists():
        raise StoreError("missing", f"there is no {path}: name a file or folder of features")
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    content = fingerprint({file.relative_to(path).as_posix(): digest([file]) for file in files})
    recipe = {
        "content": content,
        "text": text,
        "folds": folds,
        "errata": digest([ERRATA]) if errata else None,
        "text_encoder": text_encoder or FIELD_ENCODER,
        "code": 4,
    }
    if store.has_aligned(fingerprint(recipe)):
        return fingerprint(recipe)
    dataset, known = correct_features(formats.read(path, text), errata)
    log.info("%s: %d segments, %d known errors", path, len(dataset.ids), len(known))
    if folds or not any(dataset.splits):
        splits, rule = make_splits(dataset.videos, folds)
        log.info("%s: split by the %s", path, rule)
        labelled = [video for video, label in zip(dataset.videos, dataset.labels, strict=True) if np.isfinite(label)]
        if trouble := empty_splits(labelled, splits, rule):
            log.warning("%s: %s", path, trouble)
        dataset = replace(dataset, splits=tuple(splits[video] for video in dataset.videos))
    return store.write_aligned(recipe, dataset, {"errata": known})


def read_raw(
    raw: Path,
    inventory: Path | None = None,
    folds: str | None = None,
    errata: bool = True,
    label_range: tuple[float, float] = LABEL_RANGE,
) -> tuple[list[Segment], Source]:
    """Every row of a raw folder's labels as a segment with its recording, that file's hash and its given words.

    The folder has one of the layouts of ``tasks.layouts``. A segment is a recording of its own if there is one, else
    the stretch from its start to its end of its full video; a ``.wav`` of the recording's name has its sound. Word
    times beside a recording (``.align``, ``.TextGrid``, ``.ctm``) or in a ``TimestampedWords`` sequence are its given
    words. Files are found by listing the folder and comparing names: no id is ever made into a path. Links are
    followed, because people link data sets, but a recording must be a regular file in the end.

    Splits are those that the labels name, else by ``tasks.folds.make_splits``; ``folds`` names official folds to take
    in any case. ``errata``: whether known errors of published data sets are applied. ``inventory`` is the file that
    remembers hashes by path, size and time of change, so that a rerun reads no media.

    A row without a usable recording, or whose given words are not its text, carries a ``failure``; recordings without a
    row are logged. Raises LabelError where the labels cannot be used.
    """
    layout = find_layout(raw)
    base = base_of(raw)
    table = layout.table(raw, base)
    segments = judge(table, label_range, split_column=folds is None)
    rule = "column of the labels"
    if folds or not table.has_splits:
        segments, rule = _with_splits(segments, folds or layout.data_set, table.path)
    known = known_errata(layout.data_set or recognised(segment.id.video for segment in segments), segments)
    if errata:
        segments = apply_errata(segments, known)
    recordings = list_recordings(layout, base)
    _log_unlabelled(recordings, segments)
    words = TimedWords(raw, base, table.has_text)
    segments = [_with_recording(segment, recordings, raw, table.whole_videos, words) for segment in segments]
    words.log_misfits()
    files = {name for segment in segments for name in (segment.media, segment.sound) if name}
    hashes = _hashes(raw, files, inventory)
    segments = [_with_hashes(segment, hashes) for segment in segments]
    untold = sum(is_untold(segment) for segment in segments)
    log.info("%s: layout %s, %d rows in %s, splits by %s", raw, layout.name, len(segments), table.path.name, rule)
    labels = table.path.relative_to(raw.parent).as_posix()
    return segments, Source(layout.name, labels, rule, untold, told(known, errata))


def _with_splits(segments: Sequence[Segment], folds: str | None, path: Path) -> tuple[list[Segment], str]:
    """The segments with splits by a rule, and the rule in words; what is in no official fold is excluded."""
    splits, rule = make_splits((segment.id.video for segment in segments), folds)
    labelled = [s.id.video for s in segments if not (s.failure or s.excluded or math.isnan(s.label))]
    if trouble := empty_splits(labelled, splits, rule):
        log.warning("%s: %s", path, trouble)
    split = [replace(segment, split=splits[segment.id.video]) for segment in segments]
    return [
        segment if segment.split or segment.failure else replace(segment, excluded=segment.excluded or OUTSIDE)
        for segment in split
    ], rule


def _log_unlabelled(recordings: Recordings, segments: Iterable[Segment]) -> None:
    labelled = set()
    for segment in segments:
        video, clip = composed(segment.id.video), composed(segment.id.clip)
        labelled |= {(video, clip), (video,), (_without_ending(video),)}
    unlabelled = [path.as_posix() for name, paths in recordings.media.items() if name not in labelled for path in paths]
    if unlabelled:
        log.warning("%d recordings have no row among the labels, such as %r", len(unlabelled), unlabelled[:3])


def _with_recording(
    segment: Segment, recordings: Recordings, raw: Path, whole_videos: bool, words: TimedWords
) -> Segment:
    """The segment with its media path, interval and given words, or with the reason why there are none."""
    if segment.failure or segment.excluded:
        return segment

    def failed(reason: str, message: str) -> Segment:
        return replace(segment, failure=Failure(reason, f"row {segment.row}: {message}"))

    video, clip = composed(segment.id.video), composed(segment.id.clip)
    clips = recordings.media.get((video, clip), ())
    names = [(video, clip)] if clips else [(video,), (_without_ending(video),)]
    found = next((recordings.media[name] for name in names if name in recordings.media), ())
    sounds = next((recordings.sounds[name] for name in names if name in recordings.sounds), ())
    if not found:
        return failed("missing_media", f"no recording {video}/{clip}.mp4 or {video}.mp4 (or another format) in {raw}")
    for files in (found, sounds):
        if len(files) > 1:
            return failed("ambiguous_media", f"{' and '.join(path.name for path in files)} both fit; keep one")
    media = found[0].relative_to(raw).as_posix()
    start, end = segment.start, segment.end
    if not clips and not (0 <= start < end and (whole_videos or end < math.inf)):
        return failed("bad_interval", f"give start and end in seconds, the stretch of {media} that the row is about")
    sound = sounds[0].relative_to(raw).as_posix() if sounds else ""
    recorded = replace(segment, media=media, sound=sound)
    if clips:
        recorded = replace(recorded, start=0.0, end=math.inf)
    given = words.given_to(recorded, found[0], (start, end))
    return replace(given, media="", sound="") if given.failure else given  # what failed is neither read nor transcribed


def _without_ending(video: str) -> str:
    """``holiday.mp4`` is the video holiday, where no other is called that."""
    name, dot, ending = video.rpartition(".")
    return name if (dot + ending).casefold() in MEDIA_SUFFIXES else video


def _with_hashes(segment: Segment, hashes: Mapping[str, str | Failure]) -> Segment:
    found = [hashes.get(name, "") for name in (segment.media, segment.sound)]
    for why in found:
        if isinstance(why, Failure):
            failure = Failure(why.reason, f"row {segment.row}: {why.message}")
            return replace(segment, failure=segment.failure or failure)
    return replace(segment, media_sha256=found[0], sound_sha256=found[1])


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
