"""Copies of videos that browsers cannot play."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tasks.features import media
from tasks.progress import Progress

_SUFFIXES = {".mp4", ".m4v", ".mov", ".webm"}
_CODECS = {"h264", "vp8", "vp9", "av1", "libvpx", "libvpx-vp9", "libdav1d"}
_HEIGHT = 480  # pixels, at most
_STRETCH = 600.0  # seconds that are read at a time
_MILLISECOND = Fraction(1, 1000)


def playable(video: Path, folder: Path, waveform: np.ndarray) -> Path:
    """The video itself where browsers play it, else ``folder / "video.mp4"``: H.264 and AAC, at most 480 lines high.

    ``waveform`` is all of its sound. Raises MediaError.
    """
    with av.open(str(video), metadata_errors="ignore") as source:
        if video.suffix.lower() in _SUFFIXES and source.streams.video[0].codec_context.name in _CODECS:
            return video
    copy, partial = folder / "video.mp4", folder / ".video.partial.mp4"
    with av.open(str(partial), "w") as container:
        _copy(video, waveform, container)
    os.replace(partial, copy)
    return copy


def _copy(video: Path, waveform: np.ndarray, container: av.container.OutputContainer) -> None:
    seconds = len(waveform) / media.SAMPLE_RATE
    declared = media.probe(video)
    rate = round(declared.frame_rate) or 25
    shown = container.add_stream("libx264", rate=rate, options={"crf": "26", "preset": "veryfast"})
    shown.pix_fmt, shown.codec_context.time_base = "yuv420p", _MILLISECOND
    heard = container.add_stream("aac", rate=media.SAMPLE_RATE, layout="mono")
    with Progress("copy for the browser", total=round(seconds * rate), unit="picture") as progress:
        for start in np.arange(0.0, seconds, _STRETCH).tolist():
            for time, rgb in media.frames(video, start, min(start + _STRETCH, seconds)):
                height = min(_HEIGHT, rgb.shape[0] // 2 * 2)
                width = round(rgb.shape[1] * height / rgb.shape[0] / 2) * 2
                if not shown.width:
                    shown.width, shown.height = width, height
                frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(width, height, "yuv420p")
                frame.pts, frame.time_base = round((start + time) * 1000), _MILLISECOND
                container.mux(shown.encode(frame))
                progress.advance()
    for first in range(0, len(waveform), 1024):
        block = av.AudioFrame.from_ndarray(waveform[None, first : first + 1024], format="fltp", layout="mono")
        block.sample_rate, block.pts, block.time_base = media.SAMPLE_RATE, first, Fraction(1, media.SAMPLE_RATE)
        container.mux(heard.encode(block))
    for stream in (shown, heard):
        container.mux(stream.encode(None))
