"""Clips of the sample corpus as one video, with pauses between them: what somebody films of themselves."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tasks.features import media

PAUSE = 0.8
"""Seconds between two clips: nobody speaks, the last picture stands."""
RATE = 25


def join(clips: Sequence[Path], path: Path, volume: float = 1.0, brightness: float = 1.0) -> Path:
    """Write the clips to ``path``; with ``volume`` or ``brightness`` 0, nothing is heard or seen."""
    pictures, sounds = [], []
    for clip in clips:
        shown = [rgb for _, rgb in media.frames(clip, frames_per_second=RATE)]
        seconds = len(shown) / RATE + PAUSE
        pictures += shown + [shown[-1]] * round(PAUSE * RATE)
        sound = np.zeros(round(seconds * media.SAMPLE_RATE), np.float32)
        heard = media.waveform(clip)[: len(sound)]
        sound[: len(heard)] = heard
        sounds.append(sound)
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4" if path.suffix == ".avi" else "libx264", rate=RATE)
        video.height, video.width = pictures[0].shape[:2]
        video.pix_fmt = "yuv420p"
        audio = container.add_stream("mp3" if path.suffix == ".avi" else "aac", rate=media.SAMPLE_RATE, layout="mono")
        for rgb in pictures:
            dimmed = np.ascontiguousarray((rgb * brightness).astype(np.uint8))
            container.mux(video.encode(av.VideoFrame.from_ndarray(dimmed, format="rgb24")))
        frame = av.AudioFrame.from_ndarray(volume * np.concatenate(sounds)[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = media.SAMPLE_RATE, 0, Fraction(1, media.SAMPLE_RATE)
        fifo = av.AudioFifo()
        fifo.write(frame)
        for block in fifo.read_many(1024, partial=True):
            container.mux(audio.encode(block))
        for stream in (video, audio):
            container.mux(stream.encode(None))
    return path
