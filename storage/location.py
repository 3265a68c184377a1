"""Where a store lies: its Icechunk storage, and the lock that keeps a second coordinator away."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import filelock
import icechunk
import platformdirs

from storage.schema import StoreError


class Location:
    """A folder, or ``s3://bucket/prefix`` (keys from the environment; ``AWS_ENDPOINT_URL`` for other than Amazon's)."""

    def __init__(self, url: str) -> None:
        self.url = url
        if "://" in url and not url.startswith("s3://"):
            raise StoreError("bad_url", f"a store's address is a path or s3://bucket/prefix, not {url!r}")
        self._folder = None if "://" in url else Path(url).expanduser().resolve()

    def exists(self) -> bool:
        """Whether a repository lies here; StoreError where something else does."""
        if self._folder is not None and not (self._folder.is_dir() and any(self._folder.iterdir())):
            return False
        found = icechunk.Repository.exists(self._storage(self._folder))
        if not found and self._folder is not None:
            raise StoreError("not_a_store", f"{self.url} holds files, but no feature store; name a new folder")
        return found

    def make(self, lay_out: Callable[[icechunk.Repository], None]) -> None:
        """Make a repository and lay it out; on a local disk it appears whole or not at all."""
        with self.lock():
            if self.exists():
                return
            if self._folder is None:
                lay_out(icechunk.Repository.create(self._storage(None)))
                return
            unfinished = self._folder.with_name(f".{self._folder.name}.unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)  # of a process that was killed: this one holds the lock
            unfinished.mkdir()  # Icechunk panics where it cannot make it
            lay_out(icechunk.Repository.create(self._storage(unfinished)))
            unfinished.rename(self._folder)

    def open(self) -> icechunk.Repository:
        """The repository; StoreError where there is none."""
        if not self.exists():
            raise StoreError(
                "absent", f"there is no feature store at {self.url}; name one, or run the extraction first"
            )
        return icechunk.Repository.open(self._storage(self._folder))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the lock of this store for this process; the operating system frees it when the process dies."""
        path = self._lock_path()
        holder = path.with_name(path.name + ".holder")
        # one lock a process: whoever coordinates may open the same store again in another thread or task
        lock = filelock.FileLock(path, timeout=0, thread_local=False, is_singleton=True)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except filelock.Timeout:
            raise StoreError(
                "locked", f"{self.url} is being written by {_read_holder(holder)}; wait or end it"
            ) from None
        except OSError as cause:
            raise self._not_locked(cause) from cause
        try:
            try:
                holder.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
            except OSError as cause:
                raise self._not_locked(cause) from cause
            yield
        finally:
            lock.release()

    def _not_locked(self, cause: OSError) -> StoreError:
        return StoreError("unwritable", f"{self.url} cannot be locked for writing: {cause}; make room, or name another")

    def _storage(self, folder: Path | None) -> icechunk.Storage:
        if folder is not None:
            # "not safe for concurrent commits" is printed on standard output at each opening; the lock sees to that
            if "ICECHUNK_LOG" not in os.environ:
                icechunk.set_logs_filter("warn,icechunk::storage::object_store=error")
            return icechunk.local_filesystem_storage(str(folder))
        parts = urlsplit(self.url)
        endpoint = os.environ.get("AWS_ENDPOINT_URL")
        return icechunk.s3_storage(
            bucket=parts.netloc,
            prefix=parts.path.strip("/"),
            from_env=True,
            endpoint_url=endpoint,
            allow_http=endpoint is not None and endpoint.startswith("http://"),
            force_path_style=endpoint is not None,
        )

    def _lock_path(self) -> Path:
        if self._folder is not None:
            return self._folder.with_name(self._folder.name + ".lock")
        name = hashlib.sha256(self.url.encode()).hexdigest()[:32]
        return platformdirs.user_cache_path("dmd") / "locks" / f"{name}.lock"


def _read_holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_text())
        return f"process {holder['pid']} on {holder['host']}"
    except (OSError, ValueError):
        return "another process, which has not yet said its name"
