"""The page of one video: the player over a timeline of words, and what a model reads in each segment."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.parse import quote

import av
import numpy as np
from prefect import task
from prefect.artifacts import create_link_artifact
from prefect.cache_policies import NO_CACHE

from storage.schema import Failure
from tasks import prediction_figures as figures
from tasks.features import media
from tasks.files import write_text
from tasks.own_video import sound
from tasks.pages import render
from tasks.playable import playable
from tasks.workers import Workers

EMBEDDED_BYTES = 8_000_000
"""A video of at most so many bytes is in the page; a larger one is played from where it lies."""
PICTURE_SECONDS = 1.0
PICTURE_HEIGHT = 54
_HIDDEN = {
    False: "set to the mean of the training data",
    True: "face and voice set to the mean of the training data, word pieces to the encoder's mask",
}
_STRETCH = 20.0  # seconds of video that a worker looks through at a time


@task(name="face strip", cache_policy=NO_CACHE)
def pictures(workers: Workers, video: Path) -> list[tuple[float, bytes]]:
    """A small picture every PICTURE_SECONDS, as (seconds, JPEG); a damaged stretch has none."""
    seconds = media.probe(video).duration
    starts = np.arange(0, max(seconds - 0.1, 0.1), _STRETCH).tolist()
    stretches = {f"strip {start:g} s": (video, start, min(start + _STRETCH, seconds)) for start in starts}
    found = [strip for _, strip in workers.measure(_strip, stretches) if not isinstance(strip, Failure)]
    return sorted(picture for strip in found for picture in strip)


def _strip(video: Path, start: float, end: float) -> list[tuple[float, bytes]]:
    frames = media.frames(video, start, end, frames_per_second=1 / PICTURE_SECONDS)
    return [(start + time, _jpeg(rgb)) for time, rgb in frames]


def _jpeg(rgb: np.ndarray) -> bytes:
    """The picture, [height, width, 3], at PICTURE_HEIGHT."""
    height, width = rgb.shape[:2]
    width = round(width * PICTURE_HEIGHT / height / 2) * 2
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, PICTURE_HEIGHT, "yuvj420p"
    encoder.time_base = Fraction(1, 25)
    frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(width, PICTURE_HEIGHT, "yuvj420p")
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])


@task(cache_policy=NO_CACHE)
def prediction_page(video: Path, record: Mapping[str, Any], strip: Sequence[tuple[float, bytes]], folder: Path) -> Path:
    """Write ``prediction.html`` in ``folder`` and return its path; ``record`` is that of ``write_prediction``."""
    waveform = sound(video)
    seconds = len(waveform) / media.SAMPLE_RATE
    scale = tuple(record["model"]["label_range"])
    address, embedded = _source(video, folder, waveform)
    page = render(
        "prediction.html",
        name=video.name,
        address=address,
        embedded=embedded,
        model=record["model"],
        seconds=seconds,
        timeline=figures.timeline(record["segments"], waveform, seconds, scale),
        strip=[(figures.x(time), base64.b64encode(jpeg).decode()) for time, jpeg in strip],
        strip_width=figures.x(PICTURE_SECONDS) - 1,
        strip_height=PICTURE_HEIGHT,
        segments=[figures.panel(segment, scale) for segment in record["segments"]],
        lost=record["lost"],
        hidden=_HIDDEN[record["model"]["data"]["text"] == "pieces"],
        figures=figures,
    )
    path = write_text(folder / "prediction.html", page)
    create_link_artifact(path.as_uri(), link_text=str(path), key="prediction-page", description=video.name)
    return path


def _source(video: Path, folder: Path, waveform: np.ndarray) -> tuple[str, bool]:
    """The address at which the page finds a video that browsers play, and whether the video is in the page itself."""
    copy = playable(video, folder, waveform)
    if copy.stat().st_size > EMBEDDED_BYTES:
        return quote(Path(os.path.relpath(copy, folder)).as_posix()), False
    kind = "webm" if copy.suffix.lower() == ".webm" else "mp4"
    return f"data:video/{kind};base64,{base64.b64encode(copy.read_bytes()).decode()}", True
