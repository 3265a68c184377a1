"""Arrivals: what lies in the raw folder that the champion has not seen."""

from __future__ import annotations

import contextlib
import logging
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from storage.feature_store import FeatureStore
from storage.segments import Segment, table_digest
from tasks.champion import Champion, decisions
from tasks.ingest import read_raw
from tasks.transcribe import with_transcripts

log = logging.getLogger(__name__)

DEPTH = 4
"""How many folders deep recordings may lie. Links are followed, so that there must be an end."""

Files = Mapping[Path, tuple[int, int]]
"""Size in bytes and time of change in ns, by path."""


@dataclass(frozen=True)
class Arrivals:
    """Ids of the usable segments that are new, changed or gone since the data that the champion was trained on.

    ``judged``: the folder and the published data set are those of the last decision, so there is nothing to do.
    """

    new: tuple[str, ...]
    changed: tuple[str, ...]
    gone: tuple[str, ...]
    judged: bool

    @property
    def sentence(self) -> str:
        counts = f"{len(self.new)} new, {len(self.changed)} changed and {len(self.gone)} gone segments"
        return f"nothing new to judge ({counts} since the champion was trained)" if self.judged else counts


@task(cache_policy=NO_CACHE)
def look(
    store: FeatureStore, raw: Path, inventory: Path, folds: str | None, errata: bool, models: Path, champion: Champion
) -> Arrivals:
    """Compare the raw folder, as ``ingest`` reads it, with the store; only media that changed are read."""
    segments = with_transcripts(store, read_raw(raw, inventory, folds, errata)[0])
    now, before = _contents(segments), _contents(store.segments(at=champion.published.snapshot))
    last = decisions(models)[-1]
    arrivals = Arrivals(
        new=tuple(name for name in now if name not in before),
        changed=tuple(name for name in now if name in before and now[name] != before[name]),
        gone=tuple(name for name in before if name not in now),
        judged=table_digest(segments) == last.segments
        and store.published().fingerprint == last.ensemble.published.fingerprint,
    )
    log.info("%s", arrivals.sentence)
    return arrivals


def _contents(segments: list[Segment]) -> dict[str, tuple[str, ...]]:
    """All that training depends on, of every segment that can be used, by id."""
    usable = (segment for segment in segments if segment.failure is None and not segment.excluded)
    return {str(s.id): (s.speech_key, str(s.label), s.split) for s in usable}


def files_in(folder: Path) -> Files:
    """Size and time of change of every regular file that is not hidden, by path."""
    found = {}
    for depth in range(1, DEPTH + 1):
        for path in folder.glob("/".join("*" * depth)):
            with contextlib.suppress(OSError):  # it may have gone since it was listed, or be a broken link
                status = path.stat()
                if stat.S_ISREG(status.st_mode) and not path.name.startswith("."):
                    found[path] = (status.st_size, status.st_mtime_ns)
    return found


def settled_changes(folder: Path, known: Files, settle_seconds: float, poll_seconds: float) -> Iterator[int]:
    """For ever: how many files differ from those ``known``, each time nothing has changed for ``settle_seconds``."""
    latest, since = known, time.monotonic()
    while True:
        time.sleep(poll_seconds)
        if (files := files_in(folder)) != latest:
            latest, since = files, time.monotonic()
        elif latest != known and time.monotonic() - since >= settle_seconds:
            yield len({path for path, _ in known.items() ^ latest.items()})
            known = latest
