"""Reading recordings: video frames by their own timestamps and sound as a mono waveform, of one segment of a file."""

from __future__ import annotations

import math
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition

SAMPLE_RATE = 16_000
"""Hertz of every waveform."""

CONTAINERS = "mov,mp4,m4a,matroska,webm,avi,mpeg,mpegts,wav,flac,ogg,mp3"
"""Demuxers that may open a file. Playlists and scripts (hls, concat), which open other files, are not among them."""

LONGEST_SEGMENT = 900.0
"""Seconds. A longer segment is no utterance, and its waveform and features would fill a worker's memory."""

LARGEST_PICTURE = 4096 * 4096
"""Pixels."""

PAST_THE_END = 0.5
"""Seconds by which a segment may end after its recording: label files round, and durations of containers do too."""

SILENT_PEAK = 1e-3
"""Of full scale (-60 dBFS): a waveform that never exceeds it carries no speech."""

_SEEK_MARGIN = 1.0  # seconds: decoding starts this much earlier, so that every frame of the segment has its references
_INDEXED = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "wav"}  # what can be entered at a key frame
_SOUND_GAP = 0.04  # seconds: a larger jump between timestamps of sound is kept as silence or a restart


class SegmentError(Exception):
    """A segment cannot be used; ``reason`` is a code, the message says what and where. It survives pickling."""

    def __init__(self, reason: str, message: str):
        super().__init__(reason, message)
        self.reason = reason
        self.message = message

    def __str__(self) -> str:
        return self.message


class MediaError(SegmentError):
    """A recording, or a segment of it, cannot be used.

    Reasons: ``not_regular_file``, ``unreadable``, ``no_video``, ``no_audio``, ``truncated``, ``silent``, ``no_face``,
    ``bad_interval``, ``too_long``, ``too_large``.
    """


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
    with _opened(path) as container:
        video, audio = _video(container), _audio(container)
        duration = _duration(container)
        return Probe(
            container=container.format.name,
            duration=duration if math.isfinite(duration) else 0.0,
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
    is damaged or ends before it should.
    """
    with _opened(path) as container:
        stream = _video(container)
        if stream is None:
            raise MediaError("no_video", f"{path} has no video that can be decoded.")
        _check_interval(path, container, start, end)
        context = stream.codec_context
        if context.width * context.height > LARGEST_PICTURE:
            raise MediaError("too_large", f"{path} has pictures of {context.width} x {context.height} pixels.")
        last, due = -math.inf, 0.0
        for time, frame in _decoded(path, container, stream, start, end):
            if time < 0 or time <= last or time < due - 1e-6:
                continue
            last = time
            if frames_per_second is not None:
                due = (math.floor(time * frames_per_second + 1e-6) + 1) / frames_per_second
            yield time, _upright(frame)
        if last < 0:
            raise MediaError("bad_interval", f"No frame of {path} begins between {start:.3f} and {end:.3f} s.")


def waveform(path: Path, start: float = 0.0, end: float = math.inf) -> np.ndarray:
    """The sound from ``start`` until ``end`` (seconds of the file): float32 [samples], mono, 16 kHz, full scale 1.

    Samples lie where their timestamps say; where there is no sound (before the first, or in a gap), they are zero.
    Raises ``MediaError``.
    """
    with _opened(path) as container:
        stream = _audio(container)
        if stream is None:
            raise MediaError("no_audio", f"{path} has no sound that can be decoded.")
        _check_interval(path, container, start, end)
        runs = list(_continuous_runs(_decoded(path, container, stream, start, end)))
    if not runs:
        raise MediaError("bad_interval", f"{path} has no sound between {start:.3f} and {end:.3f} s.")
    stop = min(end - start, max(time + len(run) / SAMPLE_RATE for time, run in runs))
    samples = np.zeros(round(stop * SAMPLE_RATE), np.float32)
    for time, run in runs:
        first = round(time * SAMPLE_RATE)
        run = run[max(0, -first) :][: max(0, len(samples) - max(0, first))]
        samples[max(0, first) : max(0, first) + len(run)] = run
    return samples


def is_silent(samples: np.ndarray) -> bool:
    """Whether a waveform carries nothing that could be speech."""
    return samples.size == 0 or float(np.abs(samples).max()) < SILENT_PEAK


@contextmanager
def _opened(path: Path) -> Iterator[av.container.InputContainer]:
    """The file opened by one of the allowed demuxers; no other file or address is ever opened through it."""
    path = Path(path).absolute()  # begins with a slash: no part of a name is taken for a protocol
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise MediaError("unreadable", f"{path} cannot be opened: {error.strerror}.") from error
    if not stat.S_ISREG(mode):
        raise MediaError("not_regular_file", f"{path} is not a regular file.")
    options = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
    try:
        # Metadata is not used, so bytes in it that are no UTF-8 must not matter.
        container = av.open(str(path), options=options, metadata_errors="ignore")
    except (av.FFmpegError, OSError) as error:
        raise MediaError("unreadable", f"{path} is not a readable recording: {error}.") from error
    with container:
        yield container


def _video(container: av.container.InputContainer) -> av.VideoStream | None:
    """The first stream of moving pictures of a known codec; a cover picture is none."""
    streams = (s for s in container.streams.video if s.codec_context and not s.disposition & Disposition.attached_pic)
    return next(streams, None)


def _audio(container: av.container.InputContainer) -> av.AudioStream | None:
    return next((stream for stream in container.streams.audio if stream.codec_context), None)


def _origin(container: av.container.InputContainer) -> float:
    """The timestamp, in seconds, that a player shows as zero."""
    return (container.start_time or 0) / av.time_base


def _declared_end(container: av.container.InputContainer, stream: av.stream.Stream) -> float:
    """Seconds from the file's zero at which the stream should end; infinite where the file does not say."""
    origin = _origin(container)
    if container.format.name == "avi" and stream.type == "video" and stream.frames:
        return float(stream.frames / stream.average_rate)  # its durations are measured, not declared
    if stream.duration is not None:
        return float(((stream.start_time or 0) + stream.duration) * stream.time_base) - origin
    # Matroska's durations are end times: what comes before the first timestamp is in them.
    if clock := re.fullmatch(r"(\d+):(\d+):(\d+\.\d+)", stream.metadata.get("DURATION", "")):
        hours, minutes, seconds = map(float, clock.groups())
        return hours * 3600 + minutes * 60 + seconds - origin
    if container.duration is None:
        return math.inf
    return container.duration / av.time_base - (origin if "matroska" in container.format.name else 0.0)


def _duration(container: av.container.InputContainer) -> float:
    """Seconds from the file's zero to the end of its longest stream; infinite where the file does not say."""
    ends = [_declared_end(container, stream) for stream in (_video(container), _audio(container)) if stream]
    return max(ends, default=math.inf)


def _check_interval(path: Path, container: av.container.InputContainer, start: float, end: float) -> None:
    duration = _duration(container)
    if not 0 <= start < end:
        raise MediaError("bad_interval", f"A segment cannot last from {start} to {end} s: 0 <= start < end is needed.")
    if start >= duration or (math.isfinite(end) and end > duration + PAST_THE_END):
        message = f"{path} ends at {duration:.3f} s: no segment can last from {start:.3f} to {end:.3f} s."
        raise MediaError("bad_interval", message)
    if min(end, duration) - start > LONGEST_SEGMENT:
        raise MediaError("too_long", f"A segment of {path} is longer than {LONGEST_SEGMENT:g} s: cut it by utterance.")


def _decoded(
    path: Path,
    container: av.container.InputContainer,
    stream: av.stream.Stream,
    start: float,
    end: float,
) -> Iterator[tuple[float, av.VideoFrame | av.AudioFrame]]:
    """(seconds from ``start``, frame) of every frame that overlaps the interval, in the order of presentation.

    Raises ``MediaError``: ``truncated`` where the stream ends before it declares to, ``unreadable`` where parts of
    it cannot be decoded.
    """
    origin = _origin(container)
    stream.codec_context.thread_count = 1  # segments run in parallel, not the parts of one
    if start > _SEEK_MARGIN and container.format.name in _INDEXED:
        container.seek(round((start - _SEEK_MARGIN + origin) * av.time_base))
    covered, damaged = 0.0, 0
    for packet in _packets(container, stream):
        try:
            decoded = packet.decode()
        except av.FFmpegError:
            damaged += covered > 0  # before the first frame, a packet may lack what came before the place sought
            continue
        for frame in decoded:
            time = covered if frame.pts is None else float(frame.pts * frame.time_base) - origin
            if time >= end:
                return
            covered = max(covered, time + _length(stream, frame))
            if covered > start:
                yield time - start, frame
    declared_end = _declared_end(container, stream)
    tolerance = 0.1 if stream.type == "audio" else 2 / float(stream.average_rate or 20)
    if start < declared_end < math.inf and covered < min(end, declared_end) - tolerance:
        message = f"The {stream.type} of {path} ends at {covered:.3f} s of {declared_end:.3f}: the file was cut."
        raise MediaError("truncated", message)
    if damaged:
        raise MediaError("unreadable", f"{damaged} {stream.type} packets of {path} cannot be decoded.")


def _packets(container: av.container.InputContainer, stream: av.stream.Stream) -> Iterator[av.Packet]:
    try:
        yield from container.demux(stream)
    except av.FFmpegError as error:
        raise MediaError("truncated", f"{container.name} cannot be read to its end: {error}.") from error


def _length(stream: av.stream.Stream, frame: av.VideoFrame | av.AudioFrame) -> float:
    """Seconds that a frame lasts."""
    if stream.type == "audio":
        return frame.samples / frame.sample_rate
    if frame.duration:
        return float(frame.duration * frame.time_base)
    return 1 / float(stream.average_rate or 25)


def _upright(frame: av.VideoFrame) -> np.ndarray:
    """RGB uint8 [height, width, 3], turned as the recording says (phones record lying down)."""
    rgb = frame.to_ndarray(format="rgb24")
    if turns := round(frame.rotation / 90) % 4:
        rgb = np.rot90(rgb, turns)
    return np.ascontiguousarray(rgb)  # rows may be padded, which MediaPipe would read as picture


def _continuous_runs(decoded: Iterator[tuple[float, av.AudioFrame]]) -> Iterator[tuple[float, np.ndarray]]:
    """(seconds of its first sample, float32 [samples] at 16 kHz mono) for every stretch of sound without a gap."""
    run: list[av.AudioFrame] = []
    begin = expected = 0.0
    for time, frame in decoded:
        if run and (abs(time - expected) > _SOUND_GAP or _format(frame) != _format(run[0])):
            yield begin, _resampled(run)
            run = []
        if not run:
            begin = time
        run.append(frame)
        expected = time + frame.samples / frame.sample_rate
    if run:
        yield begin, _resampled(run)


def _format(frame: av.AudioFrame) -> tuple[str, str, int]:
    return frame.format.name, frame.layout.name, frame.sample_rate


def _resampled(run: list[av.AudioFrame]) -> np.ndarray:
    """float32 [samples] at 16 kHz: the mean of the channels (FFmpeg's own downmix of floats may exceed 1)."""
    resampler = av.AudioResampler("fltp", run[0].layout, SAMPLE_RATE)
    pieces = [piece for frame in [*run, None] for piece in resampler.resample(frame)]  # None: what the filter holds
    return np.concatenate([piece.to_ndarray() for piece in pieces], axis=1).mean(axis=0)
