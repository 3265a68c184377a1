"""Where a store lies: its Icechunk storage, and the lock that keeps a second coordinator away."""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import filelock
import icechunk
import platformdirs

from storage.schema import StoreError

ICECHUNK_FOLDERS = {"chunks", "manifests", "refs", "snapshots", "transactions", "config.yaml"}


class Location:
    """A folder, or ``s3://bucket/prefix`` (keys from the environment; ``AWS_ENDPOINT_URL`` for other than Amazon's)."""

    def __init__(self, url: str) -> None:
        self.url = url
        if "://" in url and not url.startswith("s3://"):
            raise StoreError("bad_url", f"a store's address is a path or s3://bucket/prefix, not {url!r}")
        self._folder = None if "://" in url else Path(url).expanduser().resolve()

    def open(self, create: bool) -> icechunk.Repository:
        """The repository; StoreError where it is absent and not to be made, or where something else lies there."""
        if self._folder is not None and self._folder.exists():
            strangers = {path.name for path in self._folder.iterdir()} - ICECHUNK_FOLDERS
            if strangers:
                raise StoreError(
                    "not_a_store", f"{self.url} holds other files ({min(strangers)}); name an empty folder"
                )
        storage = self._storage()
        try:
            if icechunk.Repository.exists(storage):
                return icechunk.Repository.open(storage)
            if not create:
                raise StoreError("absent", f"there is no feature store at {self.url}")
            with self.lock():
                return icechunk.Repository.open_or_create(storage)
        except (icechunk.IcechunkError, OSError) as cause:
            raise StoreError("unreadable", f"{self.url} cannot be opened: {first_line(cause)}") from cause

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the lock of this store for this process; the operating system frees it when the process dies."""
        path = self._lock_path()
        path.parent.mkdir(parents=True, exist_ok=True)
        holder = path.with_name(path.name + ".holder")
        # one lock a process: whoever coordinates may open the same store again in another thread or task
        lock = filelock.FileLock(path, timeout=0, thread_local=False, is_singleton=True)
        try:
            lock.acquire()
        except filelock.Timeout:
            raise StoreError(
                "locked", f"{self.url} is being written by {_read_holder(holder)}; wait or end it"
            ) from None
        try:
            holder.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
            yield
        finally:
            lock.release()

    def _storage(self) -> icechunk.Storage:
        if self._folder is not None:
            # "not safe for concurrent commits" is printed on standard output at each opening; the lock sees to that
            if "ICECHUNK_LOG" not in os.environ:
                icechunk.set_logs_filter("warn,icechunk::storage::object_store=error")
            return icechunk.local_filesystem_storage(str(self._folder))
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


def first_line(error: BaseException) -> str:
    """What went wrong, without the context that Icechunk prints under it."""
    lines = [line.strip(" x|") for line in str(error).splitlines()]
    return next((line for line in lines if line), type(error).__name__)


def _read_holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_text())
        return f"process {holder['pid']} on {holder['host']}"
    except (OSError, ValueError):
        return "another process, which has not yet said its name"
