"""A program: does the work of a small run on a disk that has room for ever more of it, until there is enough.

    unshare --map-root-user --mount python -m tests.faults.small_disk FOLDER (size|nr_inodes) STEP

mounts a file system in memory with a limit of bytes or of files, does the work until it fails, gives it room and does
the work again; and so on with a higher limit. Prints, as JSON, the reasons and sentences of the failures, and the
digests that the stores had in the end: all the same, if nothing was lost. The mounts are seen by this program alone.
"""

import json
import subprocess
import sys
from pathlib import Path

from storage.feature_store import FeatureStore
from storage.schema import StoreError
from tests.faults.kill_at_every_line import work


def mount(folder: Path, *options: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)], check=True)


def unmount(folder: Path) -> None:
    subprocess.run(["umount", str(folder)], check=True)


def finished(url: str) -> str:
    work(url)
    return FeatureStore.open(url, create=False).digest("main")


def main(folder: Path, limited: str, step: int) -> dict:
    undisturbed = finished(str(folder / "undisturbed"))
    disk, failures, digests, limit = folder / "disk", [], set(), step
    disk.mkdir()
    while True:
        mount(disk, f"{limited}={limit}")
        url = str(disk / "store")
        try:
            work(url)
            return {"failures": failures, "undisturbed": undisturbed, "digests": sorted(digests)}
        except StoreError as error:
            failures.append([error.reason, str(error)])
            mount(disk, "remount", f"{limited}=0")  # no limit
            digests.add(finished(url))
        finally:
            unmount(disk)
        limit += step


if __name__ == "__main__":
    place, name, number = sys.argv[1:]
    print(json.dumps(main(Path(place), name, int(number))))
