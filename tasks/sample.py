"""The embedded corpus: short talking-head clips whose label shows partly in the words, the face and the voice.

Laid out as the field's raw data is (``Raw/<video_id>/<clip_id>.mp4`` and ``label.csv``), with true word times beside
each clip (``<clip_id>.align``), and what was made to show in ``truth.csv``. The same parameters give the same bytes.
"""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.progress import Progress
from tasks.sample_clip import Clip, make_clip, take_face
from tasks.sample_face import load_face
from tasks.sample_script import Line, write_script

VERSION = 1  # of the recipe: another version makes other bytes
PROCESSES = 2


class CorpusError(Exception):
    """The folder of a corpus holds something else."""

    reason = "occupied"


@task(cache_policy=NO_CACHE)
def make_sample(folder: Path, segments: int) -> Path:
    """The sample corpus in ``folder``, made where it is not there yet."""
    return build(folder, segments)


def build(folder: Path, segments: int = 60, seed: int = 0) -> Path:
    """Makes the corpus in ``folder`` and returns it; where it is already there, does nothing.

    It is built beside ``folder`` and moved there whole, so that an interrupted build leaves nothing.
    Raises ``CorpusError`` where ``folder`` holds something else, ``ValueError`` for fewer than 3 segments,
    ``AssetError`` where the voice, the face model or the packages of the extra ``sample`` cannot be had.
    """
    folder = Path(folder).absolute()
    recipe = {"segments": segments, "seed": seed, "version": VERSION}
    if _is_built(folder, recipe):
        return folder
    lines = write_script(segments, seed)
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        _make_clips(part / "Raw", lines, seed)
        columns = ("video_id", "clip_id", "text", "label", "annotation", "mode")
        _write_table(part / "label.csv", columns, lines)
        _write_table(part / "truth.csv", ("video_id", "clip_id", "label", "words", "face", "voice"), lines)
        (part / "corpus.json").write_text(json.dumps(recipe), encoding="utf-8")
        os.replace(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def _is_built(folder: Path, recipe: dict) -> bool:
    """Whether this very corpus is there. Raises ``CorpusError`` where something else is."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    marker = folder / "corpus.json"
    found = json.loads(marker.read_text(encoding="utf-8")) if marker.is_file() else "something else"
    if found != recipe:
        raise CorpusError(
            f"{folder} holds {found}, not the sample corpus {recipe}: choose another folder or remove that one."
        )
    return True


def _make_clips(raw: Path, lines: Sequence[Line], seed: int) -> None:
    videos = list(dict.fromkeys(line.video_id for line in lines))
    for video_id in videos:
        (raw / video_id).mkdir(parents=True)
    clips = [
        Clip(line, videos.index(line.video_id), row, seed, raw / line.video_id / str(line.clip_id))
        for row, line in enumerate(lines)
    ]
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(PROCESSES, context, initializer=take_face, initargs=(load_face(),))
    try:
        work = [pool.submit(make_clip, clip) for clip in clips]
        with Progress("make the sample corpus", total=len(work), unit="clip") as progress:
            for done in as_completed(work):
                done.result()
                progress.advance()
    finally:
        pool.shutdown(cancel_futures=True)


def _write_table(path: Path, columns: Sequence[str], lines: Sequence[Line]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(columns)
        table.writerows([getattr(line, column) for column in columns] for line in lines)
