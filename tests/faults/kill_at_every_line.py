"""A program: does the work of a small run on a store, dies at each line of the store's code in turn, and goes on.

``python kill_at_every_line.py FOLDER`` prints, as JSON, how many lines there were, how many of the processes were
killed, and the digests that the stores had when the work was finished: all the same, if nothing was lost or doubled.
Processes are forked before Icechunk has done anything, which spares each of them the imports.
"""

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from storage import feature_store, repository
from storage.feature_store import FeatureStore
from storage.schema import fingerprint
from tests.storage.store_records import COLUMNS, RECIPE, some_dataset, some_results, some_segments

CODE = {feature_store.__file__, repository.__file__}


def work(url: str) -> None:
    """What a run does, and its rerun: nothing that was done is done again."""
    store = FeatureStore.open(url)
    with store.coordinating():
        store.write_segments(some_segments(3))
        for stop in (4, 8):
            done = store.done("vision", fingerprint(RECIPE))
            store.append("vision", RECIPE, COLUMNS, {k: v for k, v in some_results(0, stop).items() if k not in done})
        store.publish(store.write_aligned(RECIPE, some_dataset()))


def lines_of(url: str, seen: Callable[[tuple[str, int]], None]) -> None:
    """Do the work, and call ``seen`` with each line of the store's code before it runs for the first time."""
    known: set[tuple[str, int]] = set()

    def trace(frame, event, _):
        if frame.f_code.co_filename not in CODE:
            return None
        line = (frame.f_code.co_filename, frame.f_lineno)
        if event == "line" and line not in known:
            known.add(line)
            seen(line)
        return trace

    sys.settrace(trace)
    work(url)
    sys.settrace(None)


def forked(body: Callable[[], object]) -> tuple[int, object]:
    """The wait status of a process that runs ``body``, and what that gave."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, json.dumps(body()).encode())
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading) as file:
        said = file.read()
    return os.waitpid(child, 0)[1], json.loads(said) if said else None


def all_lines(url: str) -> list[tuple[str, int]]:
    lines: list[tuple[str, int]] = []
    lines_of(url, lines.append)
    return lines


def killed_at(url: str, place: tuple[str, int]) -> None:
    lines_of(url, lambda line: os.kill(os.getpid(), signal.SIGKILL) if list(line) == list(place) else None)


def finished(url: str) -> str:
    """The digest of what is published, after the work was taken up again."""
    work(url)
    return FeatureStore.open(url, create=False).digest("main")


def main() -> None:
    folder = Path(sys.argv[1])
    _, lines = forked(lambda: all_lines(str(folder / "undisturbed")))
    _, undisturbed = forked(lambda: finished(str(folder / "undisturbed")))
    kills, digests = 0, []
    for number, line in enumerate(lines):
        url = str(folder / str(number))
        status, _ = forked(lambda url=url, line=line: killed_at(url, line))
        kills += os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        digests.append(forked(lambda url=url: finished(url))[1])
    print(json.dumps({"lines": len(lines), "kills": kills, "undisturbed": undisturbed, "digests": sorted({*digests})}))


if __name__ == "__main__":
    main()
