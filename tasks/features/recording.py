"""An open recording: its streams, what it declares of them, and their frames in the order of presentation."""

from __future__ import annotations

import math
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import av
from av.stream import Disposition

CONTAINERS = "mov,mp4,m4a,matroska,webm,avi,mpeg,mpegts,wav,flac,ogg,mp3"
"""Demuxers that may open a file. Playlists and scripts (hls, concat), which open other files, are not among them."""

LONGEST_SEGMENT = 900.0
"""Seconds. A longer segment is no utterance, and its waveform and features would fill a worker's memory."""

LARGEST_PICTURE = 4096 * 4096
"""Pixels."""

PAST_THE_END = 0.5
"""Seconds by which a segment may end after its recording: label files round, and durations of containers do too."""

_INDEXED = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "wav"}  # what can be entered at a key frame
_MARGINS = (1.0, 10.0, math.inf)
"""Seconds before a place at which decoding starts, so that every frame from there on has its references: the next one
where the first frame comes too late (indexes are in the order of decoding, and rare frames reorder far)."""


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


def opened(path: Path) -> av.container.InputContainer:
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
        return av.open(str(path), options=options, metadata_errors="ignore")
    except (av.FFmpegError, OSError) as error:
        raise MediaError("unreadable", f"{path} is not a readable recording: {error}.") from error


def video_stream(container: av.container.InputContainer) -> av.VideoStream | None:
    """The first stream of moving pictures of a known codec; a cover picture is none."""
    streams = (s for s in container.streams.video if s.codec_context and not s.disposition & Disposition.attached_pic)
    return next(streams, None)


def audio_stream(container: av.container.InputContainer) -> av.AudioStream | None:
    """The first stream of sound of a known codec."""
    return next((stream for stream in container.streams.audio if stream.codec_context), None)


def duration(container: av.container.InputContainer) -> float:
    """Seconds from the file's zero to the end of its longest stream; infinite where the file does not say."""
    streams = video_stream(container), audio_stream(container)
    return max((_declared_end(container, stream) for stream in streams if stream), default=math.inf)


class Reader:
    """One stream of an open recording, decoded once from the first interval asked for on.

    Raises MediaError ``too_large``.
    """

    def __init__(self, container: av.container.InputContainer, stream: av.stream.Stream):
        self.container, self.stream = container, stream
        self.ended = False
        self._fresh = True
        self._passed = -math.inf  # seconds: when the last frame begins that was given or left out
        self._covered = 0.0  # seconds: until here, a decoded frame is shown or heard
        self._damaged = 0  # packets since the last frame that needs no other
        self._ahead: tuple[float, av.VideoFrame | av.AudioFrame] | None = None
        self._frames = self._decoded()
        stream.codec_context.thread_count = 1  # segments run in parallel, not the parts of one
        if stream.type == "video":
            width, height = stream.codec_context.width, stream.codec_context.height
            if width * height > LARGEST_PICTURE:
                raise MediaError("too_large", f"{container.name} has pictures of {width} x {height} pixels.")
            stream.codec_context.options = {"max_pixels": str(LARGEST_PICTURE)}  # a stream may change its size

    def is_before(self, start: float) -> bool:
        """Whether reading on leads to ``start``, and no later than a seek would."""
        if start <= self._passed:
            return False
        index, unit = self.stream.index_entries, self.stream.time_base
        nearest = index.search_timestamp(round((start - _MARGINS[0] + _origin(self.container)) / unit))
        if nearest < 0 or self.container.format.name not in _INDEXED:
            return True
        return float(index[nearest].timestamp * unit) - _origin(self.container) <= self._passed

    def between(self, start: float, end: float) -> Iterator[tuple[float, av.VideoFrame | av.AudioFrame]]:
        """(seconds from ``start``, frame) of every frame that overlaps the interval, in the order of presentation.

        Raises ``MediaError``: ``truncated`` where the stream ends before it declares to, ``unreadable`` where parts of
        it cannot be decoded, ``bad_interval`` where the recording has no such interval, ``too_long``.
        """
        self._check_interval(start, end)
        if self._fresh:
            self._fresh = False
            self._seek(start)
        while (found := self._ahead or next(self._frames, None)) is not None:
            self._ahead = None
            time, frame = found
            if time >= end:
                self._ahead = found
                break
            self._passed = max(self._passed, time)
            if time - start > LONGEST_SEGMENT:
                raise _too_long(self.container)
            if time <= start and (self.stream.type == "audio" or frame.key_frame):
                self._damaged = 0  # what comes from here on does not depend on what came before
            if time + self._length(frame) > start:
                yield time - start, frame
        else:
            self.ended = True
            self._check_end(start, end)
        if self._damaged:
            message = f"{self._damaged} {self.stream.type} packets of {self.container.name} cannot be decoded"
            raise MediaError("unreadable", f"{message} between {start:.3f} and {end:.3f} s.")

    def _seek(self, start: float) -> None:
        """Go to a place from where all that begins at ``start`` or later can be decoded, near it if the file allows."""
        if self.container.format.name not in _INDEXED:
            return
        for margin in _MARGINS:
            if start <= margin and self._ahead is None:
                return  # from the beginning
            self.container.seek(round((max(0.0, start - margin) + _origin(self.container)) * av.time_base))
            self._frames, self._covered = self._decoded(), 0.0
            self._ahead = next(self._frames, None)
            if self._ahead is None or self._ahead[0] <= start:
                return

    def _decoded(self) -> Iterator[tuple[float, av.VideoFrame | av.AudioFrame]]:
        """(seconds of the file, frame) from here to the end."""
        origin = _origin(self.container)
        for packet in self._packets():
            try:
                decoded = packet.decode()
            except av.FFmpegError:
                # Before the first frame, a packet may lack what came before the place sought.
                self._damaged += self._covered > 0
                continue
            for frame in decoded:
                time = self._covered if frame.pts is None else float(frame.pts * frame.time_base) - origin
                self._covered = max(self._covered, time + self._length(frame))
                yield time, frame

    def _packets(self) -> Iterator[av.Packet]:
        try:
            yield from self.container.demux(self.stream)
        except av.FFmpegError as error:
            raise MediaError("truncated", f"{self.container.name} cannot be read to its end: {error}.") from error

    def _length(self, frame: av.VideoFrame | av.AudioFrame) -> float:
        """Seconds that a frame lasts."""
        if self.stream.type == "audio":
            return frame.samples / frame.sample_rate
        if frame.duration:
            return float(frame.duration * frame.time_base)
        return 1 / float(self.stream.average_rate or 25)

    def _check_interval(self, start: float, end: float) -> None:
        last = duration(self.container)
        if start >= last or (math.isfinite(end) and end > last + PAST_THE_END):
            message = f"{self.container.name} ends at {last:.3f} s: nothing can last from {start:.3f} to {end:.3f} s."
            raise MediaError("bad_interval", message)
        if math.isfinite(length := min(end, last) - start) and length > LONGEST_SEGMENT:
            raise _too_long(self.container)

    def _check_end(self, start: float, end: float) -> None:
        declared = _declared_end(self.container, self.stream)
        tolerance = 0.1 if self.stream.type == "audio" else 2 / float(self.stream.average_rate or 20)
        if start < declared < math.inf and self._covered < min(end, declared) - tolerance:
            found = f"The {self.stream.type} of {self.container.name} ends at {self._covered:.3f} s of {declared:.3f}"
            raise MediaError("truncated", f"{found}: the file was cut.")


def _too_long(container: av.container.InputContainer) -> MediaError:
    message = f"A segment of {container.name} is longer than {LONGEST_SEGMENT:g} s: cut it by utterance."
    return MediaError("too_long", message)


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
