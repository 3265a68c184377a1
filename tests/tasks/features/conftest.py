"""Small recordings made on the spot: real files of real codecs, with known pictures and known sound."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

Recorder = Callable[..., Path]


@pytest.fixture
def record(tmp_path: Path) -> Recorder:
    """A function that writes a recording and returns its path.

    ``pictures``: RGB uint8 [height, width, 3] each, shown from ``times`` (seconds; evenly at 25 a second by default).
    ``key_interval``: at most so many pictures from one key frame to the next. ``pixels``: their format. ``sound``:
    float32 [samples] mono at ``rate``, written to as many ``channels``. ``options`` are the container's.
    """

    def write(
        name: str = "clip.mp4",
        pictures: Sequence[np.ndarray] = (),
        times: Sequence[float] | None = None,
        sound: np.ndarray | None = None,
        rate: int = 44_100,
        channels: str = "mono",
        codecs: tuple[str, str] = ("libx264", "aac"),
        options: dict[str, str] | None = None,
        key_interval: int = 24,
        pixels: str = "yuv420p",
    ) -> Path:
        path = tmp_path / name
        with av.open(str(path), "w", options=options or {}) as container:
            video = _video_stream(container, codecs[0], pictures, key_interval, pixels) if len(pictures) else None
            audio = container.add_stream(codecs[1], rate=rate, layout=channels) if sound is not None else None
            if video:
                for packet in _encoded(video, _video_frames(pictures, times)):
                    container.mux(packet)
            if audio:
                for packet in _encoded(audio, _sound_frames(sound, rate, channels)):
                    container.mux(packet)
        return path

    return write


def _video_stream(container, codec: str, pictures: Sequence[np.ndarray], key_interval: int, pixels: str):
    stream = container.add_stream(codec, rate=25)
    stream.height, stream.width = pictures[0].shape[:2]
    stream.pix_fmt = pixels
    stream.time_base = stream.codec_context.time_base = Fraction(1, 25) if codec == "mpeg4" else Fraction(1, 1000)
    if codec == "mpeg4":
        stream.bit_rate = 5_000_000
    if codec == "libx264":
        stream.options = {"crf": "12", "g": str(key_interval), "bf": "2", "preset": "veryfast"}
    if codec == "libx265":
        stream.options = {"crf": "5", "x265-params": "log-level=none"}
    return stream


def _video_frames(pictures: Sequence[np.ndarray], times: Sequence[float] | None):
    for index, picture in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.time_base = Fraction(1, 1000)
        frame.pts = round((index / 25 if times is None else times[index]) * 1000)
        yield frame


def _sound_frames(sound: np.ndarray, rate: int, channels: str):
    count = len(av.AudioLayout(channels).channels)
    for first in range(0, len(sound), 1024):
        block = sound[first : first + 1024].astype(np.float32).repeat(count)
        frame = av.AudioFrame.from_ndarray(block[None], format="flt", layout=channels)
        frame.sample_rate, frame.pts, frame.time_base = rate, first, Fraction(1, rate)
        yield frame


def _encoded(stream, frames):
    for frame in frames:
        yield from stream.encode(frame)
    yield from stream.encode(None)


@pytest.fixture(scope="session")
def grays() -> list[np.ndarray]:
    """75 pictures (3 s at 25 a second) that tell their own number: picture i is all of gray 20 + 3 i."""
    return [np.full((64, 72, 3), 20 + 3 * i, np.uint8) for i in range(75)]


@pytest.fixture(scope="session")
def tone() -> np.ndarray:
    """3 s of 220 Hz at 44.1 kHz with amplitude 0.2."""
    return (0.2 * np.sin(2 * np.pi * 220 * np.arange(3 * 44_100) / 44_100)).astype(np.float32)


@pytest.fixture(scope="session")
def face() -> np.ndarray:
    """A photograph of a smiling face, 256 x 256."""
    astronaut = pytest.importorskip("skimage.data").astronaut()
    return np.ascontiguousarray(astronaut[:256, 96:352])
