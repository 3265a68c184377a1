"""A program: extracts made-up segments and packs them, is killed at random moments, and goes on each time.

    python -m tests.faults.kill_at_random FOLDER SCHEDULER KILLS [SEED]

prints, as JSON, the kills, the segments in a store, how many were ever lost, how many stores were finished, and their
digests: all that of the undisturbed run. A store is used until its work is finished, then comes the next one. The
scheduler and its workers stay: what dies is the process that coordinates and commits. Processes are forked before
Icechunk or Dask have done anything, which spares each of them the imports.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import tasks.extract
from storage.feature_store import FeatureStore
from storage.schema import Frames, StoreError, Word
from storage.segments import Segment, SegmentId
from tasks.align import POCKETSPHINX, align, aligner_named
from tasks.extract import Step, extract
from tasks.features.media import SegmentError
from tasks.pack import pack
from tasks.workers import Workers
from tests.faults.kill_at_every_line import forked

VIDEOS, CLIPS = 3, 8
FEATURES = ("glove", "vision", "audio")
COMMIT_SECONDS = 0.2
"""As often as that, so that there are many commits to be killed in."""


@dataclass(frozen=True)
class MadeUp:
    """Values that depend on the segment alone; one clip of each video has none."""

    feature: str
    columns: tuple[str, ...] = ("a", "b")

    def recipe(self) -> dict:
        return {"made up": self.feature}

    def measure(self, *arguments) -> Frames:
        if self.feature == "vision" and arguments[1] == 3.0:
            raise SegmentError("no_face", "nobody is there")
        count = len(arguments[0]) if self.feature == "glove" else 5
        values = np.full((count, 2), len(repr(arguments[1:])), np.float32) + np.arange(count, dtype=np.float32)[:, None]
        return Frames(values, np.arange(count, dtype=np.float64), np.ones(count, bool))


def segments() -> list[Segment]:
    """Clips of a second, with words of their own."""
    return [
        Segment(
            SegmentId(f"v{video}", str(clip)),
            row=2 + video * CLIPS + clip,
            media=f"v{video}.mp4",
            media_sha256=f"{video:064}",
            start=float(clip),
            end=clip + 1.0,
            text=f"take {video} {clip}",
            label=clip / 4,
            split=("train", "valid", "test")[video % 3],
            given_words=tuple(
                Word(word, at / 4, at / 4 + 0.2) for at, word in enumerate(("take", str(video), str(clip)))
            ),
        )
        for video in range(VIDEOS)
        for clip in range(CLIPS)
    ]


def work(folder: Path, scheduler: str) -> None:
    """What a run does, and its rerun: nothing that was done is done again."""
    tasks.extract.COMMIT_SECONDS = COMMIT_SECONDS
    store = FeatureStore.open(str(folder / "store"))
    with store.coordinating(), Workers(scheduler) as workers:
        store.write_segments(segments())
        steps = [align.fn(store, workers, str(folder), aligner_named(POCKETSPHINX), True, False)]
        for feature in FEATURES:
            steps.append(extract.fn(store, workers, str(folder), feature, MadeUp(feature), False))
        store.publish(pack.fn(store, steps))


def done(folder: Path) -> dict[str, list[str]]:
    """The keys that the store holds, by feature; none where there is no store yet."""
    try:
        store = FeatureStore.open(str(folder / "store"), create=False)
    except StoreError as error:
        if error.reason != "absent":
            raise
        return {feature: [] for feature in FEATURES}
    return {name: sorted(store.done(name, Step.of(name, MadeUp(name)).fingerprint)) for name in FEATURES}


def digest(folder: Path) -> str:
    return FeatureStore.open(str(folder / "store"), create=False).digest("main")


def killed_after(seconds: float, folder: Path, scheduler: str) -> bool:
    """Start the work and kill it when so many seconds have passed; whether it was still at it."""
    child = os.fork()
    if child == 0:
        try:
            work(folder, scheduler)
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            assert status == 0, "the work ended with an error"
            return False
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL), "the work ended with an error"
    return status != 0


def undisturbed(folder: Path, scheduler: str) -> tuple[float, dict, str]:
    """How many seconds the work takes, the keys that it leaves, and the digest."""
    for name in ("warming up", "undisturbed"):
        place = folder / name
        place.mkdir()
        began = time.monotonic()
        assert not killed_after(600, place, scheduler)
        seconds = time.monotonic() - began
    return seconds, forked(lambda: done(place))[1], forked(lambda: digest(place))[1]


def main(folder: Path, scheduler: str, kills: int, seed: int = 0) -> dict:
    """Kill so often; what came of it."""
    folder.mkdir(exist_ok=True)
    seconds, everything, whole = undisturbed(folder, scheduler)
    dice, killed, lost, digests = random.Random(seed), 0, 0, []
    while killed < kills or not digests:
        place = folder / str(len(digests))
        place.mkdir()
        known = {feature: [] for feature in FEATURES}
        while killed < kills and killed_after(dice.uniform(0, seconds), place, scheduler):
            killed += 1
            found = forked(lambda place=place: done(place))[1]
            lost += sum(len({*keys} - {*found[feature]}) for feature, keys in known.items())
            known = found
        assert not killed_after(600, place, scheduler)
        found = forked(lambda place=place: done(place))[1]
        lost += sum(len({*keys} - {*found[feature]}) for feature, keys in everything.items())
        digests.append(forked(lambda place=place: digest(place))[1])
    return {
        "kills": killed,
        "segments": VIDEOS * CLIPS,
        "lost": lost,
        "stores": len(digests),
        "undisturbed": whole,
        "digests": sorted({*digests}),
    }


if __name__ == "__main__":
    from tests.faults.kill_at_random import main  # workers find what they call by the name of its module

    place, address, *numbers = sys.argv[1:]
    print(json.dumps(main(Path(place), address, *map(int, numbers))))
