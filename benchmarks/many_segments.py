"""Very many segments: memory, a run that has nothing to do, commits, packing, and what a million would need."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil

from benchmarks.warm_pipeline import Run, cpu_seconds, tools, warm_run
from storage.feature_store import FeatureStore
from storage.schema import Frames, Word, fingerprint
from storage.segments import Segment
from tasks.align import POCKETSPHINX, aligner_named
from tasks.extract import COMMIT_SECONDS, Step
from tasks.features import media
from tasks.ingest import ingest, read_raw
from tasks.pack import pack
from tasks.workers import Workers

FAR = 1_000_000
UTTERANCE = 7.0
"""Seconds of a segment of CMU-MOSEI, about; one of CMU-MOSI has four."""


def many(raw: Path, home: Path, count: int, seconds: float, names: Collection[str]) -> None:
    """Measure ``count`` segments of so many seconds by the steps of these names; print memory, CPU time and sizes."""
    segments = cut_up(raw, home / "raw-many", count, seconds)
    with warm_run(home / "many", home / "raw-many", segments, cores=2) as run:
        began = cpu_seconds()
        for name, step in run.steps():
            if name not in names:
                continue
            with memory_followed(f"{name}, {count} segments"):
                step()
        used = (cpu_seconds() - began) / (count * seconds)
        print(f"{used:.3f} CPU seconds for a second of video, in segments of {seconds} s")
    show_sizes(run, home / "many" / "store", count * seconds)


def unchanged(raw: Path, home: Path, count: int) -> None:
    """Every step of a run, ingest and packing included, over ``count`` segments whose results are made up."""
    shutil.rmtree(home / "unchanged", ignore_errors=True)
    cut_up(raw, home / "raw-many", count, 0.5)
    store, instruments = FeatureStore.open(str(home / "unchanged")), tools()
    with Workers() as workers:
        run = Run(store, workers, home / "raw-many", instruments)

        def steps() -> list[Step]:
            ingest.fn(store, home / "raw-many", home / "raw-many" / "inventory.json", None, True)
            return [step() for _, step in run.steps()]

        ingest.fn(store, home / "raw-many", home / "raw-many" / "inventory.json", None, True)
        segments = store.segments()
        words = {"aligner": aligner_named(POCKETSPHINX).recipe(), "trust_given": False}
        store.append_words(words, {segment.speech_key: made_up_words(segment) for segment in segments})
        for feature, tool in instruments.items():
            key = Step.of(feature, tool).key
            results = {key(segment): made_up_frames(segment, len(tool.columns)) for segment in segments}
            store.append(feature, tool.recipe(), tool.columns, results)
        with timed(f"unchanged: ingest and all steps over {count} segments"):
            done = steps()
        with timed(f"packing {count} segments of 3 words", memory=True):
            pack.fn(store, done)
        with timed(f"unchanged with packing, {count} segments (aim: 5 s)"):
            pack.fn(store, steps())


def made_up_words(segment: Segment) -> tuple[Word, ...]:
    return tuple(Word(token, 0.1 * place, 0.1 * place + 0.1) for place, token in enumerate(segment.text.split()))


def made_up_frames(segment: Segment, width: int) -> Frames:
    """A row a token, which is what text has, and a third of a second of pictures."""
    count = len(segment.text.split())
    return Frames(np.ones((count, width), np.float32), np.arange(count) / 10, np.ones(count, bool))


def commits(home: Path) -> None:
    """What a commit takes as a feature grows: each one reads and seals the index of all keys."""
    shutil.rmtree(home / "commits", ignore_errors=True)
    store = FeatureStore.open(str(home / "commits"))
    recipe, frame = {"benchmark": "commits"}, Frames(np.ones((1, 1), np.float32), np.zeros(1), np.ones(1, bool))
    known = 0
    for keys in (1_000, 10_000, 100_000):
        store.append("vision", recipe, ["x"], {f"{number:032x}": frame for number in range(known, keys)})
        known = keys + 100
        with timed(f"a commit of 100 segments after {keys}"):
            store.append("vision", recipe, ["x"], {f"{number:032x}": frame for number in range(keys, known)})
    with timed(f"the state of {known} segments", memory=True):
        store.done("vision", fingerprint(recipe))
    print(f"(a run commits every {COMMIT_SECONDS:g} s; a million segments of {UTTERANCE:g} s are "
          f"{FAR * UTTERANCE / 3600:,.0f} hours)")  # fmt: skip


def cut_up(raw: Path, folder: Path, count: int, seconds: float) -> list[Segment]:
    """``count`` stretches of the corpus, each said to be a segment of a full video, with a text of its own."""
    clips = [raw / segment.media for segment in read_raw(raw)[0]]
    long = [clip for clip in clips if media.probe(clip).duration > 2.0]
    (folder / "Raw").mkdir(parents=True, exist_ok=True)
    for number, clip in enumerate(long):
        shutil.copy(clip, folder / "Raw" / f"{number}.mp4")
    lines = ["video_id,clip_id,text,start_sec,end_sec"]
    for number in range(count):
        start = 0.3 + (number // len(long)) * 0.9 * len(long) / count
        lines.append(f"{number % len(long)},{number},well number {number},{start:.4f},{start + seconds:.4f}")
    (folder / "label.csv").write_text("\n".join(lines))
    return read_raw(folder, folder / "inventory.json")[0]


def resident() -> float:
    """MiB of this process and its workers."""
    family = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return sum(member.memory_info().rss for member in family) / 2**20


@contextmanager
def timed(name: str, memory: bool = False) -> Iterator[None]:
    """Prints how long the body took, how much of that this process worked, and how much its memory grew."""
    began, worked, before = time.monotonic(), time.process_time(), resident()
    yield
    grown = f", {resident() - before:.0f} MiB more" if memory else ""
    print(f"{name}: {time.monotonic() - began:.2f} s ({time.process_time() - worked:.2f} s of CPU){grown}")


@contextmanager
def memory_followed(name: str) -> Iterator[None]:
    """Prints the resident memory of all processes over the time of the body."""
    sizes, ended = [resident()], threading.Event()

    def follow() -> None:
        while not ended.wait(1):
            sizes.append(resident())

    thread = threading.Thread(target=follow)
    began = time.monotonic()
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    quarters = ", ".join(f"{np.mean(part):.0f}" for part in np.array_split(sizes, 4) if len(part))
    print(f"{name}: {time.monotonic() - began:.0f} s; memory of all processes by quarters: {quarters} MiB")


def show_sizes(run: Run, folder: Path, seconds: float) -> None:
    """Bytes on disk, and the columns that they are for."""
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    columns = {name: len(tool.columns) for name, tool in run.instruments.items()}
    print(f"the store: {size / 1e6:.0f} MB, {size / seconds / 1e3:.0f} kB for a second of video ({columns})")
