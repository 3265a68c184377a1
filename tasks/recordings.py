"""Recordings as the Dask workers see them: in a folder that is there too, or at an address."""

from __future__ import annotations

import hashlib
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

import requests

from storage.segments import Segment
from tasks.assets import AssetError
from tasks.features.media import SegmentError

CONNECT_SECONDS, READ_SECONDS = 5, 60
CHUNK_BYTES = 1 << 20


class RecordingError(SegmentError):
    """One recording is not what was ingested. Reasons: ``not_served``, ``changed``."""


class UnreachableError(AssetError):
    """A worker cannot reach the raw data at all, which is no segment's fault."""

    reason = "raw_data_unreachable"


@dataclass(frozen=True)
class Recording:
    """One file of the raw data: ``root`` is the raw folder as workers see it, a path or an http(s) address."""

    root: str
    name: str
    sha256: str

    @classmethod
    def of(cls, segment: Segment, root: str) -> Recording:
        return cls(root, segment.media, segment.media_sha256)

    @classmethod
    def of_sound(cls, segment: Segment, root: str) -> Recording:
        """The one that the segment's sound is in."""
        return cls(root, segment.sound, segment.sound_sha256) if segment.sound else cls.of(segment, root)

    @contextmanager
    def on_disk(self) -> Iterator[Path]:
        """The file; one at an address is fetched for the time of the context, and must have the ingested bytes.

        Raises ``RecordingError`` and ``UnreachableError``.
        """
        if not self.root.startswith(("http://", "https://")):
            if not Path(self.root).is_dir():
                raise UnreachableError(
                    f"The worker on {socket.gethostname()} has no folder {self.root}: share it with that host, or say "
                    "where workers find the raw data (raw_on_workers, a path or an http address)."
                )
            yield Path(self.root, self.name)
            return
        with tempfile.TemporaryDirectory(prefix="dmd-recording-") as folder:
            path = Path(folder, "recording").with_suffix(PurePosixPath(self.name).suffix)
            self._fetch(path)
            yield path

    def _fetch(self, path: Path) -> None:
        address = f"{self.root.rstrip('/')}/{quote(self.name)}"
        digest = hashlib.sha256()
        try:
            with requests.get(address, stream=True, timeout=(CONNECT_SECONDS, READ_SECONDS)) as response:
                if response.status_code == requests.codes.not_found:
                    raise RecordingError("not_served", f"There is nothing at {address}.")
                response.raise_for_status()
                with path.open("wb") as file:
                    for chunk in response.iter_content(CHUNK_BYTES):
                        digest.update(chunk)
                        file.write(chunk)
        except requests.RequestException as error:
            raise UnreachableError(f"The raw data cannot be read from {address}: {error}") from error
        if digest.hexdigest() != self.sha256:
            raise RecordingError("changed", f"What is at {address} is not the file that was ingested: ingest it again.")


def measure_recording(measure: Callable[..., Any], recording: Recording, *arguments: Any) -> Any:
    """What ``measure`` makes of the recording's file and the other arguments."""
    with recording.on_disk() as path:
        return measure(path, *arguments)
