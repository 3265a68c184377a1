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
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from tqdm import tqdm

from storage.schema import Word
from tasks.sample_face import FRAME_RATE, SIDE, Face, Habit, animate, load_face
from tasks.sample_script import Line, write_script
from tasks.sample_speech import SAMPLE_RATE, Delivery, speak

VERSION = 1  # of the recipe: another version makes other bytes
PROCESSES = 2
ALIGN_UNITS = 25_000  # a second, as in the GRID corpus


def build(folder: Path, segments: int = 60, seed: int = 0) -> Path:
    """Makes the corpus in ``folder`` and returns it; where it is already there, does nothing.

    It is built beside ``folder`` and moved there whole, so that an interrupted build leaves nothing.
    Raises ``FileExistsError`` where ``folder`` holds something else, ``ValueError`` for fewer than 3 segments,
    ``AssetError`` where the voice or the face model cannot be had, ``ImportError`` without the extra ``sample``.
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
    """Whether this very corpus is there. Raises ``FileExistsError`` where something else is."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    marker = folder / "corpus.json"
    found = json.loads(marker.read_text(encoding="utf-8")) if marker.is_file() else "something else"
    if found != recipe:
        raise FileExistsError(
            f"{folder} holds {found}, not the sample corpus {recipe}: choose another folder or remove that one."
        )
    return True


@dataclass(frozen=True)
class _Clip:
    """One clip to make. ``video`` and ``row`` number the random streams, so that the order of work does not matter."""

    line: Line
    video: int
    row: int
    seed: int
    stem: Path


def _make_clips(raw: Path, lines: Sequence[Line], seed: int) -> None:
    videos = list(dict.fromkeys(line.video_id for line in lines))
    for video_id in videos:
        (raw / video_id).mkdir(parents=True)
    clips = [
        _Clip(line, videos.index(line.video_id), row, seed, raw / line.video_id / str(line.clip_id))
        for row, line in enumerate(lines)
    ]
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(PROCESSES, context, initializer=_take_face, initargs=(load_face(),))
    try:
        work = [pool.submit(_make_clip, clip) for clip in clips]
        for done in tqdm(as_completed(work), total=len(work), desc="sample corpus", unit="clip"):
            done.result()
    finally:
        pool.shutdown(cancel_futures=True)


_face: Face | None = None  # one a process: its displacement fields take longer to make than to use


def _take_face(face: Face) -> None:
    global _face
    _face = face


def _make_clip(clip: _Clip) -> None:
    video_rng = np.random.default_rng([clip.seed, 1, clip.video])
    clip_rng = np.random.default_rng([clip.seed, 2, clip.row])
    habit, speaker = Habit.draw(video_rng), video_rng.normal(size=2)
    waveform, words = speak(clip.line.text, _deliver(clip.line.voice, speaker, clip_rng), clip_rng)
    controls = animate(waveform, SAMPLE_RATE, clip.line.face, habit, clip_rng)
    frames = _face.frames(controls, np.array(habit.tint))
    _write_mp4(clip.stem.with_suffix(".mp4"), frames, waveform)
    _write_align(clip.stem.with_suffix(".align"), words, len(waveform) / SAMPLE_RATE)


def _deliver(signal: float, speaker: np.ndarray, rng: np.random.Generator) -> Delivery:
    """Faster, higher and louder for a positive ``signal``, around the ``speaker``'s own rate and pitch."""
    shown = np.clip(signal, -2.2, 2.2)
    noise = rng.normal(size=3)
    return Delivery(
        rate=float(np.exp(0.08 * shown + 0.03 * speaker[0] + 0.03 * noise[0])),
        pitch=float(2 ** ((1.3 * shown + 0.4 * speaker[1] + 0.4 * noise[1]) / 12)),
        gain=float(-5.0 + 2.5 * shown + 1.0 * noise[2]),
    )


def _write_mp4(path: Path, frames: Iterable[np.ndarray], waveform: np.ndarray) -> None:
    """H.264 and AAC; one encoder thread, so that the bytes are the same every time."""
    with av.open(path, "w", options={"movflags": "+faststart"}) as container:
        video = container.add_stream("libx264", rate=FRAME_RATE, options={"preset": "veryfast", "crf": "23"})
        video.width = video.height = SIDE
        video.pix_fmt = "yuv420p"
        video.thread_count = 1
        audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        audio.bit_rate = 64_000
        sound = av.AudioFrame.from_ndarray(waveform[None], format="fltp", layout="mono")
        sound.sample_rate, sound.time_base, sound.pts = SAMPLE_RATE, Fraction(1, SAMPLE_RATE), 0
        for frame in frames:
            container.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(video.encode(None))
        container.mux(audio.encode(sound))
        container.mux(audio.encode(None))


def _write_align(path: Path, words: Sequence[Word], duration: float) -> None:
    """The words and the silences around them, as the GRID corpus writes them: they cover the clip without a gap."""
    entries = [("sil", 0.0, words[0].start), *((word.text, word.start, word.end) for word in words)]
    entries.append(("sil", words[-1].end, duration))
    rows = (f"{round(start * ALIGN_UNITS)} {round(end * ALIGN_UNITS)} {text}\n" for text, start, end in entries)
    path.write_text("".join(rows), encoding="utf-8")


def _write_table(path: Path, columns: Sequence[str], lines: Sequence[Line]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(columns)
        table.writerows([getattr(line, column) for column in columns] for line in lines)
