"""Clips of the sample corpus with one thing wrong, made of the real ones."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def cut(clip: Path) -> None:
    """What is left of a download that broke off: its index is there, half of its pictures are not."""
    whole = clip.with_name("whole.mp4")
    with av.open(str(clip)) as source, av.open(str(whole), "w", options={"movflags": "faststart"}) as target:
        streams = {stream: target.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream]
                target.mux(packet)
    content = whole.read_bytes()
    whole.unlink()
    clip.write_bytes(content[: len(content) // 2])


def noise(clip: Path) -> None:
    """Bytes that are no recording."""
    clip.write_bytes(np.random.default_rng(0).bytes(50_000))


def silence(clip: Path) -> None:
    _encode(clip, sound=np.zeros_like)


def grey(clip: Path) -> None:
    """Nobody in the picture."""
    _encode(clip, picture=lambda rgb: np.full_like(rgb, 128))


def again(clip: Path) -> None:
    """Nothing wrong, but other bytes: the same pictures and sound, filmed once more."""
    _encode(clip)


def _encode(
    clip: Path,
    picture: Callable[[np.ndarray], np.ndarray] = lambda rgb: rgb,
    sound: Callable[[np.ndarray], np.ndarray] = lambda samples: samples,
) -> None:
    with av.open(str(clip)) as source:
        rate, pixels = source.streams.audio[0].rate, source.streams.video[0]
        pictures = [picture(frame.to_ndarray(format="rgb24")) for frame in source.decode(pixels)]
        source.seek(0)
        samples = np.concatenate([frame.to_ndarray() for frame in source.decode(source.streams.audio[0])], axis=1)
        frame_rate = pixels.average_rate
    with av.open(str(clip), "w") as target:
        video, audio = target.add_stream("libx264", rate=frame_rate), target.add_stream("aac", rate=rate, layout="mono")
        video.height, video.width = pictures[0].shape[:2]
        video.pix_fmt = "yuv420p"
        for place, rgb in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            frame.pts, frame.time_base = place, 1 / Fraction(frame_rate)
            target.mux(video.encode(frame))
        target.mux(video.encode(None))
        samples = sound(samples)
        for first in range(0, samples.shape[1], 1024):
            block = np.ascontiguousarray(samples[:1, first : first + 1024])
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, first, Fraction(1, rate)
            target.mux(audio.encode(frame))
        target.mux(audio.encode(None))
