"""One clip of the sample corpus: speak its line, move the face with it, and write both with the true word times."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from storage.schema import Word
from tasks.sample_face import FRAME_RATE, SIDE, Face, Habit, animate
from tasks.sample_script import Line
from tasks.sample_speech import SAMPLE_RATE, Delivery, speak

ALIGN_UNITS = 25_000  # a second, as in the GRID corpus


@dataclass(frozen=True)
class Clip:
    """One clip to make. ``video`` and ``row`` number the random streams, so that the order of work does not matter."""

    line: Line
    video: int
    row: int
    seed: int
    stem: Path


_face: Face | None = None  # one a process: its displacement fields take longer to make than to use


def take_face(face: Face) -> None:
    """Prepares this process for ``make_clip``."""
    global _face
    _face = face
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C reaches us too, but it is for the parent to end us
    cv2.setNumThreads(1)  # the processes share the cores already


def make_clip(clip: Clip) -> None:
    """Writes ``clip.stem`` with the suffixes .mp4 and .align; ``take_face`` comes first."""
    video_rng = np.random.default_rng([clip.seed, 1, clip.video])
    clip_rng = np.random.default_rng([clip.seed, 2, clip.row])
    habit, speaker = Habit.draw(video_rng), video_rng.normal(size=2)
    waveform, words = speak(clip.line.text, _deliver(clip.line.voice, speaker, clip_rng), clip_rng)
    controls = animate(waveform, SAMPLE_RATE, clip.line.face, habit, clip_rng)
    frames = _face.frames(controls, np.array(habit.tint))
    _write_mp4(clip.stem.with_suffix(".mp4"), frames, waveform)
    _write_align(clip.stem.with_suffix(".align"), words, len(waveform) / SAMPLE_RATE)


def _deliver(voice: float, speaker: np.ndarray, rng: np.random.Generator) -> Delivery:
    """Faster, higher and louder for a positive ``voice``, around the ``speaker``'s own rate and pitch."""
    shown = np.clip(voice, -2.2, 2.2)
    noise = rng.normal(size=3)
    return Delivery(
        rate=float(1.1 * np.exp(0.08 * shown + 0.03 * speaker[0] + 0.03 * noise[0])),
        pitch=float(2 ** ((1.3 * shown + 0.4 * speaker[1] + 0.4 * noise[1]) / 12)),
        gain=float(-5.0 + 2.5 * shown + 1.0 * noise[2]),
    )


def _write_mp4(path: Path, frames: Iterable[np.ndarray], waveform: np.ndarray) -> None:
    """H.264 and AAC, the same bytes every time: x264 on one thread, and without its macroblock tree, which is not."""
    with av.open(path, "w", options={"movflags": "+faststart"}) as container:
        video = container.add_stream(
            "libx264", rate=FRAME_RATE, options={"preset": "veryfast", "crf": "23", "x264-params": "mbtree=0"}
        )
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
