"""The flow `dmd` with instruments that do nothing but return small made-up arrays: what is left is orchestration.

    python -m tests.faults.made_up_run RAW HOME [--dask ADDRESS] [--stop-after validate] [--commit-seconds 5]
        [--record FILE]

goes from the raw folder to a published data set and its report, as `dmd extract` does, and writes down how long each
of Prefect's tasks took. Ingest, Dask, the store, packing, the gate and the report are the real ones.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import struct
import time
import zlib
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from unittest.mock import patch

import av
import numpy as np
from prefect import flow
from prefect.logging.configuration import setup_logging

import flows.dmd
import tasks.align
import tasks.extract
from flows.local_server import at_hand
from flows.parameters import ExtractParameters
from storage.schema import Frames, Word
from tasks.dataset_tables import RANGES
from tasks.features import audio, text, vision

SECONDS = 0.5
"""Of each segment."""
FRAMES = 8
"""Of a segment's face, and of its voice."""
RATE, SAMPLE_RATE = 4, 16_000
WIDTHS = {"glove": 50, "bert": 384}


@dataclass(frozen=True)
class MadeUp:
    """An instrument: the columns of a real one, and values that depend on the segment alone."""

    feature: str
    columns: tuple[str, ...]

    def recipe(self) -> dict:
        return {"made up": self.feature, "encoder": "none"}

    def measure(self, *arguments) -> Frames:
        """Of a list of tokens a row each; of a recording FRAMES rows, whatever is in it."""
        of_text = len(arguments) == 1
        count = len(arguments[0]) if of_text else FRAMES
        dice = np.random.default_rng(zlib.crc32(repr([getattr(a, "name", a) for a in arguments]).encode()))
        low, high = np.array([RANGES.get(column, (0.0, 1.0)) for column in self.columns]).T
        high = np.where(np.isfinite(high), high, low + 1)
        values = (low + (high - low) * dice.random((count, len(self.columns)))).astype(np.float32)
        times = np.arange(count) if of_text else np.arange(count) * SECONDS / count
        return Frames(values, times.astype(np.float64), np.ones(count, bool))


def instruments(*_) -> dict[str, MadeUp]:
    """Those of a run, by feature, whatever its settings."""
    columns = {name: tuple(f"{name}{number}" for number in range(width)) for name, width in WIDTHS.items()}
    columns |= {
        "pieces": text.Pieces.columns,
        "vision": vision.FaceLandmarker.columns,
        "audio": audio.Acoustics.columns,
    }
    return {feature: MadeUp(feature, names) for feature, names in columns.items()}


def words(aligner: object, path: Path, start: float, end: float, tokens: list[str]) -> tuple[Word, ...]:
    """The tokens at equal distances."""
    step = SECONDS / len(tokens)
    return tuple(Word(token, place * step, (place + 1) * step, 1.0, "aligned") for place, token in enumerate(tokens))


@flow(name="dmd")
def dmd(run: ExtractParameters) -> Path | None:
    """The flow, with instruments that are made up."""
    with patch.object(flows.dmd, "instruments", instruments), patch.object(tasks.align, "force_align", words):
        return flows.dmd.dmd.fn(run)


def corpus(raw: Path, videos: int, segments: int) -> Path:
    """A raw folder of so many videos, alike but for their bytes, with so many segments of SECONDS in all."""
    if (raw / "label.csv").exists():
        return raw
    (raw / "Raw").mkdir(parents=True, exist_ok=True)
    film = _film(raw / "film.mp4", seconds=SECONDS * -(-segments // videos))
    for video in range(videos):
        name = raw / "Raw" / f"video{video}.mp4"
        shutil.copy(film, name)
        with name.open("ab") as file:  # an empty box at the end: other bytes, the same film
            file.write(struct.pack(">I4sI", 12, b"free", video))
    film.unlink()
    rows = ["video_id,clip_id,text,label,mode,start_sec,end_sec"]
    for number in range(segments):
        video, clip = number % videos, number // videos
        split, label = ("train", "valid", "test")[video % 3], number % 61 / 10 - 3
        said, start = f"this film is good number {number}", SECONDS * clip
        rows.append(f"video{video},{clip},{said},{label:.1f},{split},{start},{start + SECONDS}")
    (raw / "label.csv").write_text("\n".join(rows) + "\n")
    return raw


def _film(path: Path, seconds: float) -> Path:
    """A grey picture and a tone."""
    with av.open(str(path), "w") as container:
        shown = container.add_stream("libx264", rate=RATE)
        shown.width, shown.height, shown.pix_fmt = 64, 64, "yuv420p"
        heard = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        for place in range(round(seconds * RATE) + 1):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 90 + place % 60, np.uint8), format="rgb24")
            frame.pts, frame.time_base = place, Fraction(1, RATE)
            container.mux(shown.encode(frame))
        for first in range(0, round((seconds + 1) * SAMPLE_RATE), 1024):
            wave = 0.1 * np.sin(2 * np.pi * 200 * np.arange(first, first + 1024) / SAMPLE_RATE)
            block = av.AudioFrame.from_ndarray(wave[None].astype(np.float32), format="fltp", layout="mono")
            block.sample_rate, block.pts, block.time_base = SAMPLE_RATE, first, Fraction(1, SAMPLE_RATE)
            container.mux(heard.encode(block))
        for stream in (shown, heard):
            container.mux(stream.encode(None))
    return path


def parameters(raw: Path, home: Path, **others) -> ExtractParameters:
    """Those of a run whose words are found, not given."""
    return ExtractParameters(
        dataset="made-up", raw=raw.absolute(), home=home.absolute(), trust_word_times=False, **others
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("raw", type=Path)
    parser.add_argument("home", type=Path)
    parser.add_argument("--dask", help="address of a scheduler; by default workers start here")
    parser.add_argument("--stop-after", default="validate")
    parser.add_argument("--commit-seconds", type=float, default=tasks.extract.COMMIT_SECONDS)
    parser.add_argument("--record", type=Path, help="file for the name and the end of each task, as JSON")
    options = parser.parse_args()
    tasks.extract.COMMIT_SECONDS = options.commit_seconds
    ends = Ends()
    setup_logging()  # else Prefect does it later, and takes the handler away
    logging.getLogger("prefect.task_runs").addHandler(ends)
    with at_hand():
        dmd(parameters(options.raw, options.home, dask=options.dask, stop_after=options.stop_after))
    if options.record:
        options.record.write_text(json.dumps(ends.seen))


class Ends(logging.Handler):
    """Name and time of the end of each task, as Prefect logs it; the next one begins then."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = [("start", time.time())]

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith("Finished in state") and hasattr(record, "task_run_name"):
            self.seen.append((record.task_run_name.split("-")[0], record.created))


if __name__ == "__main__":
    from tests.faults import made_up_run  # workers find what they call by the name of its module

    made_up_run.main()
