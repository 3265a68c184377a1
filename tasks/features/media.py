"""Pictures at their own timestamps and sound as a mono waveform, of one segment of a recording."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from tasks.features.recording import (
    MediaError,
    Reader,
    SegmentError,
    audio_stream,
    duration,
    opened,
    video_stream,
)

__all__ = ["MediaError", "Probe", "SegmentError", "audible_waveform", "frames", "is_silent", "probe", "waveform"]

SAMPLE_RATE = 16_000
"""Hertz of every waveform."""

SILENT_PEAK = 1e-3
"""Of full scale (-60 dBFS): a waveform that never exceeds it carries no speech."""

_SOUND_GAP = 0.04  # seconds: a larger jump between timestamps of sound is kept as silence or a restart


@dataclass(frozen=True)
class Probe:
    """What a file declares: seconds, pixels before rotation, frames and samples a second; 0 where it has none."""

    container: str
    duration: float
    width: int
    height: int
    frame_rate: float
    sample_rate: int
    channels: int


def probe(path: Path) -> Probe:
    """The declarations of a file, without decoding it. Raises ``MediaError``."""
    with opened(path) as container:
        video, audio = video_stream(container), audio_stream(container)
        seconds = duration(container)
        return Probe(
            container=container.format.name,
            duration=seconds if math.isfinite(seconds) else 0.0,
            width=video.codec_context.width if video else 0,
            height=video.codec_context.height if video else 0,
            frame_rate=float(video.average_rate or 0) if video else 0.0,
            sample_rate=audio.codec_context.sample_rate if audio else 0,
            channels=audio.codec_context.channels if audio else 0,
        )


def frames(
    path: Path, start: float = 0.0, end: float = math.inf, frames_per_second: float | None = None
) -> Iterator[tuple[float, np.ndarray]]:
    """The pictures shown from ``start`` until ``end`` (seconds of the file), upright.

    Yields (seconds from ``start``, contiguous RGB uint8 [height, width, 3]) with rising times, at most
    ``frames_per_second`` of them a second (None: all). Raises ``MediaError``, after the last good frame where the file
    is damaged or ends before it should. Intervals of one file that are asked for in the order of time, one after the
    other in one thread, decode no picture twice: the file stays open in between.
    """
    _check_order(start, end)
    reformatter = VideoReformatter()  # one for all: it takes five times as long to set one up as to use it
    with _video_reader(path, start) as reader:
        last, due = -math.inf, 0.0
        for time, frame in reader.between(start, end):
            if time < 0 or time <= last or time < due - 1e-6:
                continue
            last = time
            if frames_per_second is not None:
                due = (math.floor(time * frames_per_second + 1e-6) + 1) / frames_per_second
            yield time, _upright(reformatter.reformat(frame, format="rgb24", threads=1))
        if last < 0:
            raise MediaError("bad_interval", f"No frame of {path} begins between {start:.3f} and {end:.3f} s.")


def waveform(path: Path, start: float = 0.0, end: float = math.inf) -> np.ndarray:
    """The sound from ``start`` until ``end`` (seconds of the file): float32 [samples], mono, 16 kHz, full scale 1.

    Samples lie where their timestamps say; where there is no sound (before the first, or in a gap), they are zero.
    They depend on the interval alone: each is decoded from a second before, because some decoders add noise that
    depends on what came before. Raises ``MediaError``.
    """
    _check_order(start, end)
    with opened(path) as container:
        stream = audio_stream(container)
        if stream is None:
            raise MediaError("no_audio", f"{path} has no sound that can be decoded.")
        runs = list(_continuous_runs(Reader(container, stream).between(start, end)))
    if not runs:
        raise MediaError("bad_interval", f"{path} has no sound between {start:.3f} and {end:.3f} s.")
    stop = min(end - start, max(time + len(run) / SAMPLE_RATE for time, run in runs))
    samples = np.zeros(round(stop * SAMPLE_RATE), np.float32)
    for time, run in runs:
        first = round(time * SAMPLE_RATE)
        run = run[max(0, -first) :][: max(0, len(samples) - max(0, first))]
        samples[max(0, first) : max(0, first) + len(run)] = run
    return samples


def audible_waveform(path: Path, start: float = 0.0, end: float = math.inf) -> np.ndarray:
    """The waveform, of sound that is not silence. Raises ``MediaError`` (``silent``, ...)."""
    samples = waveform(path, start, end)
    if is_silent(samples):
        raise MediaError("silent", f"The sound of {path} between {start:g} and {end:g} s is silence.")
    return samples


def is_silent(samples: np.ndarray) -> bool:
    """Whether a waveform carries nothing that could be speech."""
    return samples.size == 0 or float(np.abs(samples).max()) < SILENT_PEAK


def _check_order(start: float, end: float) -> None:
    if not 0 <= start < end:
        raise MediaError("bad_interval", f"A segment cannot last from {start} to {end} s: 0 <= start < end is needed.")


_kept = threading.local()  # .video: (path, its version, reader) of the file that was read last and not to its end


@contextmanager
def _video_reader(path: Path, start: float) -> Iterator[Reader]:
    """A reader of the file's pictures from ``start`` on: the one that is kept, if it leads there, else a new one."""
    version = _version(path)
    kept_path, kept_version, reader = _kept.__dict__.pop("video", (None, None, None))
    if reader and not (path == kept_path and version == kept_version and reader.is_before(start)):
        reader.container.close()
        reader = None
    reader = reader or _opened_video(path)
    try:
        yield reader
    except BaseException:
        reader.container.close()
        raise
    if reader.ended:
        reader.container.close()
    else:
        _kept.video = path, version, reader


def _version(path: Path) -> tuple[int, ...] | None:
    """What changes when other content is put in a file's place."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _opened_video(path: Path) -> Reader:
    container = opened(path)
    try:
        stream = video_stream(container)
        if stream is None:
            raise MediaError("no_video", f"{path} has no video that can be decoded.")
        return Reader(container, stream)
    except MediaError:
        container.close()
        raise


def _upright(frame: av.VideoFrame) -> np.ndarray:
    """The picture, uint8 [height, width, 3], turned as the recording says (phones record lying down)."""
    rgb = frame.to_ndarray()
    if turns := round(frame.rotation / 90) % 4:
        rgb = np.rot90(rgb, turns)
    return np.ascontiguousarray(rgb)  # rows may be padded, which MediaPipe would read as picture


def _continuous_runs(decoded: Iterator[tuple[float, av.AudioFrame]]) -> Iterator[tuple[float, np.ndarray]]:
    """(seconds of its first sample, float32 [samples] at 16 kHz mono) for every stretch of sound without a gap."""
    run: list[np.ndarray] = []
    begin = expected = 0.0
    resampler, resampled = None, None
    for time, frame in decoded:
        if run and (abs(time - expected) > _SOUND_GAP or _format(frame) != resampled):
            yield begin, np.concatenate([*run, *_mono(resampler, None)])
            run = []
        if not run:
            begin, resampled = time, _format(frame)
            resampler = av.AudioResampler("flt", frame.layout, SAMPLE_RATE)
        run += _mono(resampler, frame)
        expected = time + frame.samples / frame.sample_rate
    if run:
        yield begin, np.concatenate([*run, *_mono(resampler, None)])


def _format(frame: av.AudioFrame) -> tuple[str, str, int]:
    return frame.format.name, frame.layout.name, frame.sample_rate


def _mono(resampler: av.AudioResampler, frame: av.AudioFrame | None) -> list[np.ndarray]:
    """float32 [samples] at 16 kHz, some: the mean of the channels (FFmpeg's own downmix of floats may exceed 1).

    With None, what the filter still holds. Channels are interleaved, because PyAV reads past the planes of 8 or more.
    """
    pieces = resampler.resample(frame)
    return [piece.to_ndarray().reshape(-1, piece.layout.nb_channels).mean(axis=1) for piece in pieces]
