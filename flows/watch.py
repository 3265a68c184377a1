"""What `dmd watch` does: files that arrive in a raw folder become events, which start `retrain/nightly`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from prefect.events import emit_event
from prefect.settings import PREFECT_API_URL

from flows.local_server import ServerError
from tasks.arrivals import files_in, settled_changes
from tasks.labels import LabelError

EVENT = "dmd.data.arrived"
POLL_SECONDS = 5.0


def watch(folder: Path, settle_seconds: float) -> Iterator[str]:
    """For ever: emit an event each time that files have changed and settled, and yield a line for people.

    What lies in the folder at the start is not announced. Raises LabelError where there is no folder, ServerError where
    no Prefect server is named that could hear of it.
    """
    folder = folder.absolute()
    if not folder.is_dir():
        raise LabelError("missing", f"no folder {folder}")
    if not PREFECT_API_URL.value():
        raise ServerError("no Prefect server would hear of it: start one with `dmd up`, in this folder")
    known = files_in(folder)
    yield f"watching {folder}: {len(known)} files"
    for count in settled_changes(folder, known, settle_seconds, min(POLL_SECONDS, settle_seconds / 2)):
        resource = {"prefect.resource.id": f"dmd.data.{folder.name}", "prefect.resource.name": str(folder)}
        emit_event(EVENT, resource, payload={"files": count})
        yield f"{EVENT}: {count} files in {folder}"
