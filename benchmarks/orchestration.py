"""What orchestration costs where the instruments cost nothing, and what it survives.

    python -m benchmarks.orchestration [mosi mosei deployment kills] [--home .dmd/benchmarks/orchestration]

``mosi``: the whole flow over 93 videos of 2,199 segments, and again; ``mosei``: over 3,228 videos of 22,856. Both with
the instruments of ``tests.faults.made_up_run``. ``deployment``: `prefect deployment run` of runs that have nothing to
do, while a worker waits for them: of the segments of ``mosi``, and of `dmd/full` on the sample corpus.
``kills``: SIGKILL, at random times, of all that can be killed.
"""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path

from benchmarks.deployed import deployment
from benchmarks.followed_run import MIB, followed
from benchmarks.kills import kills
from storage.feature_store import FeatureStore
from tests.faults.made_up_run import corpus, parameters


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = {"mosi": mosi, "mosei": mosei, "deployment": deployment, "kills": kills}
    parser.add_argument("parts", nargs="*", metavar="part", default=list(parts), help=", ".join(parts))
    parser.add_argument("--home", type=Path, default=Path(".dmd/benchmarks/orchestration"))
    options = parser.parse_args()
    for name in options.parts:
        print(f"\n== {name} (load of the machine before: {os.getloadavg()[0]:.1f})", flush=True)
        parts[name](options.home.absolute())
    print(f"\nload of the machine after: {os.getloadavg()[0]:.1f}")


def mosi(home: Path) -> None:
    overhead(home, videos=93, segments=2_199, aim=60)


def mosei(home: Path) -> None:
    overhead(home, videos=3_228, segments=22_856, aim=360)


def overhead(home: Path, videos: int, segments: int, aim: float) -> None:
    """The flow on a new store, and again; prints seconds of each task, and memory at the ends of each."""
    raw, folder = corpus(home / f"raw-{videos}", videos, segments), home / f"run-{videos}"
    shutil.rmtree(folder, ignore_errors=True)
    first, again = (followed(raw, folder) for _ in range(2))
    for what, run in (("to a published data set", first), ("again", again)):
        print(f"{videos} videos, {segments} segments, {what}: {run.seconds:.1f} s, {run.cpu_seconds:.1f} s of CPU")
    print(f"(aim: {aim:g} s)")
    print("| task | seconds | again | memory of all processes, first quarter | last quarter |\n|---|---|---|---|---|")
    for name, (began, ended) in first.tasks.items():
        start, stop = again.tasks[name]
        quarters = first.memory_at_the_ends(began, ended)
        shown = " | ".join(f"{size / MIB:,.0f} MiB" for size in quarters) if quarters else " | "
        print(f"| {name} | {ended - began:.1f} | {stop - start:.1f} | {shown} |")
    store = FeatureStore.open(parameters(raw, folder).store_url, create=False)
    count = len(store.aligned(store.published().fingerprint).ids)
    print(f"published: {count} segments; all processes: at most {max(size for _, size in first.memory) / MIB:,.0f} MiB")


if __name__ == "__main__":
    main()
