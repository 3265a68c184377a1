"""Progress that people see: a bar in the terminal and one in Prefect's pages."""

from __future__ import annotations

import time
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.context import TaskRunContext
from tqdm import tqdm

ARTIFACT_SECONDS = 2.0


class Progress:
    """One step's bar: ``start`` it with the total, ``advance`` it, ``close`` it."""

    def __init__(self, name: str, unit: str = "segment"):
        self.name, self.unit = name, unit
        self._bar: tqdm | None = None
        self._artifact: UUID | None = None
        self._updated = 0.0

    def start(self, total: int, done: int = 0) -> None:
        self._bar = tqdm(total=total, initial=done, desc=self.name, unit=self.unit, leave=True, dynamic_ncols=True)
        if done < total and TaskRunContext.get() is not None:
            self._artifact = create_progress_artifact(self._percent(), description=self.name)

    def advance(self, by: int = 1) -> None:
        self._bar.update(by)
        if self._artifact and (time.monotonic() - self._updated > ARTIFACT_SECONDS or self._bar.n == self._bar.total):
            update_progress_artifact(self._artifact, progress=self._percent())
            self._updated = time.monotonic()

    def close(self) -> None:
        self._bar.close()

    def _percent(self) -> float:
        return 100.0 * self._bar.n / max(1, self._bar.total)
