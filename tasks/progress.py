"""Progress that people see: a bar in the terminal and one in Prefect's pages."""

from __future__ import annotations

import time
from typing import Self

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.context import TaskRunContext
from tqdm import tqdm

ARTIFACT_SECONDS = 2.0
"""How often the bar in Prefect's pages moves."""


class Progress:
    """One step's bar, as a context manager; of ``total`` units, ``done`` were there before.

    Work that ends early, but without an error, is complete.
    """

    def __init__(self, name: str, total: int, done: int = 0, unit: str = "segment"):
        self._bar = tqdm(total=total, initial=done, desc=name, unit=unit, dynamic_ncols=True)
        in_task = TaskRunContext.get() is not None
        self._artifact = create_progress_artifact(self._percent(), description=name) if in_task else None
        self._updated = time.monotonic()

    def advance(self, note: str = "") -> None:
        """One unit more; ``note``, if any, stands behind the bar."""
        if note:
            self._bar.set_postfix_str(note, refresh=False)
        self._bar.update()
        if time.monotonic() - self._updated > ARTIFACT_SECONDS:
            self._show()

    def say(self, note: str) -> None:
        """``note`` stands behind the bar; from any thread."""
        self._bar.set_postfix_str(note)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: type[BaseException] | None, *_) -> None:
        if error is None:
            self._bar.total = self._bar.n
            self._show()
        self._bar.close()

    def _show(self) -> None:
        if self._artifact:
            update_progress_artifact(self._artifact, progress=self._percent())
        self._updated = time.monotonic()

    def _percent(self) -> float:
        return 100.0 * self._bar.n / max(1, self._bar.total)
