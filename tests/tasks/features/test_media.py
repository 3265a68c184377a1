"""Pictures and sound come at their own times, and what is no good recording is refused with a reason."""

import os
import random
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.features import media, recording
from tasks.features.media import MediaError


def numbers(pictures) -> list[int]:
    """Which of the gray pictures these are."""
    return [round((float(picture.mean()) - 20) / 3) for picture in pictures]


def reason(function, *arguments) -> str:
    with pytest.raises(MediaError) as caught:
        result = function(*arguments)
        list(result) if function is media.frames else result
    return caught.value.reason


@pytest.mark.real_data
def test_every_real_clip_gives_all_its_pictures_and_sound(shared_data):
    clips = sorted((shared_data / "grid").glob("*.mpg"))
    assert len(clips) == 11
    for clip in clips:
        times, pictures = zip(*media.frames(clip), strict=True)
        np.testing.assert_allclose(times, np.arange(75) / 25, atol=1e-6)
        assert all(p.shape == (288, 360, 3) and p.dtype == np.uint8 and p.flags.c_contiguous for p in pictures)
        sound = media.waveform(clip)
        assert sound.dtype == np.float32 and abs(len(sound) / media.SAMPLE_RATE - 2.978) < 0.002
        assert 0.01 < np.abs(sound).max() < 1.1


@pytest.mark.real_data
def test_a_part_of_a_real_clip_equals_the_same_part_of_the_whole(shared_data):
    clip = shared_data / "grid" / "bbaf2n.mpg"
    whole = [picture for time, picture in media.frames(clip) if 1.5 <= time < 2.5]
    part = [picture for _, picture in media.frames(clip, 1.5, 2.5)]
    assert len(part) == 25 and all(np.array_equal(a, b) for a, b in zip(whole, part, strict=True))
    whole_sound, part_sound = media.waveform(clip)[24_000:40_000], media.waveform(clip, 1.5, 2.5)
    # Both are sampled from 44.1 kHz, up to half a sample apart.
    assert len(part_sound) == 16_000 and np.corrcoef(whole_sound, part_sound)[0, 1] > 0.98


def test_pictures_keep_their_times_in_h264_with_b_frames(record, grays, tone):
    clip = record(pictures=grays, sound=tone)
    times, pictures = zip(*media.frames(clip), strict=True)
    np.testing.assert_allclose(times, np.arange(75) / 25, atol=1e-3)
    assert numbers(pictures) == list(range(75))


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.ts", "clip.avi"])
def test_an_interval_holds_the_pictures_that_begin_within_it(record, grays, name):
    codecs = ("mpeg4", "aac") if name.endswith("avi") else ("libx264", "aac")
    clip = record(name, pictures=grays, codecs=codecs)
    times, pictures = zip(*media.frames(clip, 1.30, 2.0), strict=True)
    assert numbers(pictures) == list(range(33, 50))
    np.testing.assert_allclose(times, np.arange(33, 50) / 25 - 1.30, atol=2e-3)


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.ts"])
def test_an_interval_far_from_any_key_frame_is_whole(record, grays, name):
    """A transport stream has no index: entered amid its only group of pictures, it would give none."""
    clip = record(name, pictures=grays, key_interval=250)
    assert numbers(picture for _, picture in media.frames(clip, 2.0, 2.6)) == list(range(50, 65))


def test_sound_may_end_before_the_pictures_do(record, grays, tone):
    clip = record(pictures=grays, sound=tone[: 2 * 44_100])
    assert abs(len(media.waveform(clip, 1.0, 3.0)) / 16_000 - 1.0) < 0.05
    assert reason(media.waveform, clip, 2.3, 3.0) == "bad_interval"
    assert len(list(media.frames(clip, 2.3, 3.0))) == 17


def test_variable_frame_rate_is_read_by_timestamps(record, grays):
    shown_at = [0.0, 0.04, 0.5, 0.52, 1.7, 1.9]
    clip = record(pictures=grays[:6], times=shown_at)
    times, pictures = zip(*media.frames(clip), strict=True)
    np.testing.assert_allclose(times, shown_at, atol=1e-3)
    assert numbers(pictures) == list(range(6))


@pytest.mark.parametrize("rate", [60, 15, 1, Fraction(24_000, 1001)])
def test_any_frame_rate_is_read_by_timestamps(record, grays, rate):
    clip = record(pictures=grays[:40], times=[float(i / rate) for i in range(40)])
    times, pictures = zip(*media.frames(clip), strict=True)
    np.testing.assert_allclose(times, [float(i / rate) for i in range(40)], atol=1e-3)
    assert numbers(pictures) == list(range(40))
    part = media.frames(clip, float(20.5 / rate), float(30.5 / rate))
    assert numbers(picture for _, picture in part) == list(range(21, 31))


def test_rare_pictures_are_found_however_far_they_are_reordered(record, grays):
    """At one picture a second, decoding order runs seconds ahead of that of presentation."""
    clip = record(pictures=grays, times=list(range(75)), key_interval=10)
    for start in range(75):
        assert numbers(picture for _, picture in media.frames(clip, start, start + 0.5)) == [start]


def test_repeated_timestamps_leave_rising_times(record, grays, tmp_path):
    clip, path = record(pictures=grays[:8], codecs=("mpeg4", "aac")), tmp_path / "repeated.mkv"
    with av.open(str(clip)) as source, av.open(str(path), "w") as target:
        copy = target.add_stream_from_template(source.streams.video[0])
        for packet, time in zip(source.demux(), (0, 40, 40, 40, 160, 200, 240, 240), strict=False):
            packet.stream, packet.time_base, packet.pts, packet.dts = copy, Fraction(1, 1000), time, time
            target.mux(packet)
    times, pictures = zip(*media.frames(path), strict=True)
    np.testing.assert_allclose(times, [0, 0.04, 0.16, 0.2, 0.24], atol=1e-3)
    assert numbers(pictures) == [0, 1, 4, 5, 6]


def test_timestamps_may_begin_below_zero(record, grays):
    times = [i / 25 - 0.4 for i in range(25)]
    clip = record(
        "clip.mkv", pictures=grays[:25], times=times, codecs=("mpeg4", "aac"), options={"avoid_negative_ts": "disabled"}
    )
    with av.open(str(clip)) as container:
        assert container.start_time < 0
    times, pictures = zip(*media.frames(clip), strict=True)
    np.testing.assert_allclose(times, np.arange(25) / 25, atol=1e-3)
    assert numbers(pictures) == list(range(25))


def test_a_recording_of_one_picture_is_one_picture(record, grays):
    ((time, picture),) = media.frames(record(pictures=grays[5:6]))
    assert time == 0 and numbers([picture]) == [5]


def test_a_segment_of_ten_milliseconds_has_what_begins_in_it(record, grays, tone):
    clip = record(pictures=grays, sound=tone)
    ((time, picture),) = media.frames(clip, 0.995, 1.005)
    assert abs(time - 0.005) < 1e-3 and numbers([picture]) == [25]
    assert reason(media.frames, clip, 1.005, 1.015) == "bad_interval"
    assert len(media.waveform(clip, 1.005, 1.015)) == 160


def test_time_zero_is_that_of_a_player_where_timestamps_begin_later(record, grays, tone):
    clip = record("clip.mkv", pictures=grays[:25], times=[5 + i / 25 for i in range(25)])
    times, _ = zip(*media.frames(clip), strict=True)
    assert times[0] == 0.0 and len(times) == 25


def test_fewer_pictures_a_second_are_spread_evenly(record, grays):
    clip = record(pictures=grays)
    times, pictures = zip(*media.frames(clip, frames_per_second=10), strict=True)
    assert len(times) == 30
    assert numbers(pictures)[:5] == [0, 3, 5, 8, 10]  # the first picture of each tenth of a second
    assert np.all(np.diff(times) >= 0.04)


def decoded(monkeypatch) -> list[float]:
    """The times of all pictures that are decoded from here on, as they are decoded."""
    times, original = [], recording.Reader._decoded

    def counting(reader):
        for time, frame in original(reader):
            times.append(time)
            yield time, frame

    monkeypatch.setattr(recording.Reader, "_decoded", counting)
    return times


@pytest.mark.parametrize("key_interval", [10, 250])
@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.ts"])
def test_the_segments_of_a_video_decode_each_picture_once(record, grays, monkeypatch, name, key_interval):
    clip = record(name, pictures=grays, key_interval=key_interval)
    times = decoded(monkeypatch)
    shown = [numbers(p for _, p in media.frames(clip, max(0, n / 5 - 0.01), n / 5 + 0.19)) for n in range(15)]
    assert shown == [list(range(5 * n, 5 * n + 5)) for n in range(15)]
    assert len(times) == len(set(times)) == 75


def test_what_lies_between_segments_is_skipped_where_a_key_frame_allows(record, grays, monkeypatch):
    clip = record(pictures=[*grays, *grays, *grays], key_interval=25)
    times = decoded(monkeypatch)
    assert numbers(p for _, p in media.frames(clip, 0, 0.4)) == list(range(10))
    assert numbers(p for _, p in media.frames(clip, 8.0, 8.4)) == list(range(50, 60))
    assert len(times) == len(set(times)) < 60, "10 pictures, one ahead, and from the last key frame a second before"


@pytest.fixture(scope="module")
def long_groups(tmp_path_factory) -> Path:
    """10 s of noise on gray with a key frame every 4 s."""
    path = tmp_path_factory.mktemp("long") / "clip.mp4"
    noise = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "100", "bf": "3", "sc_threshold": "0"})
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for _ in range(250):
            picture = noise.integers(0, 255, (6, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 97), st.integers(1, 30)), min_size=1, max_size=6))
def test_what_was_read_before_changes_no_picture(long_groups, tenths):
    """In whatever order, with gaps or overlapping."""
    whole = list(media.frames(long_groups))
    for first, length in tenths:
        start, end = first / 10, min(first + length, 100) / 10
        expected = [(time - start, picture) for time, picture in whole if start <= time < end]
        found = list(media.frames(long_groups, start, end))
        assert len(found) == len(expected)
        assert all(abs(a - b) < 1e-9 and np.array_equal(p, q) for (a, p), (b, q) in zip(found, expected, strict=True))


def test_a_segment_that_is_not_read_to_its_end_spoils_no_other(long_groups):
    next(media.frames(long_groups, 1.0, 2.0))
    assert len(list(media.frames(long_groups, 1.0, 2.0))) == 25


def test_another_file_in_the_place_of_one_that_was_read_is_seen(record, grays):
    clip = record("clip.mp4", pictures=grays)
    assert numbers(p for _, p in media.frames(clip, 0, 0.4)) == list(range(10))
    os.replace(record("other.mp4", pictures=grays[::-1]), clip)
    assert numbers(p for _, p in media.frames(clip, 0.4, 0.8)) == list(range(64, 54, -1))


def test_damage_is_of_the_segments_up_to_the_next_key_frame(record, grays):
    noise = np.random.default_rng(0).integers(0, 20, (75, *grays[0].shape), np.uint8)
    clip = record(pictures=list(grays + noise), key_interval=25)
    with av.open(str(clip)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        place, size = packets[8].pos, packets[8].size
    content = bytearray(clip.read_bytes())
    content[place : place + 4] = struct.pack(">I", 2 * size)  # a unit longer than its packet
    clip.write_bytes(content)
    segments = [(0.0, 0.2), (0.2, 0.6), (0.6, 1.0), (1.0, 2.0), (2.0, 3.0)]

    def outcomes(order):
        return {segment: outcome(clip, *segment) for segment in order}

    in_turn = outcomes(segments)
    assert list(in_turn.values()) == ["", "unreadable", "unreadable", "", ""]
    assert outcomes(segments[::-1]) == in_turn


def outcome(clip: Path, start: float, end: float) -> str:
    """The reason why there are no good pictures, if so."""
    try:
        list(media.frames(clip, start, end))
    except MediaError as error:
        return error.reason
    return ""


def test_rows_are_contiguous_at_a_width_that_ffmpeg_pads(record):
    picture = np.zeros((48, 360, 3), np.uint8)
    picture[:, 180:] = 200
    clip = record(pictures=[picture] * 5)
    for _, rgb in media.frames(clip):
        assert rgb.flags.c_contiguous
        assert rgb[:, :170].max() < 30 and rgb[:, 190:].min() > 170


def test_odd_sizes_are_kept(record):
    picture = np.zeros((49, 61, 3), np.uint8)
    picture[:, 30:] = 200
    for _, rgb in media.frames(record(pictures=[picture] * 3, codecs=("mpeg4", "aac"))):
        assert rgb.shape == (49, 61, 3) and rgb[:, :25].max() < 30 and rgb[:, 35:].min() > 170


@pytest.mark.skipif("libx265" not in av.codecs_available, reason="no HEVC encoder to make the recording")
def test_ten_bits_of_hevc_become_eight(record, grays):
    clip = record(pictures=grays[:25], codecs=("libx265", "aac"), pixels="yuv420p10le")
    with av.open(str(clip)) as container:
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p10le"
    means = [picture.mean() for _, picture in media.frames(clip)]
    np.testing.assert_allclose(means, [gray.mean() for gray in grays[:25]], atol=4)


@pytest.mark.parametrize(
    "matrix, turns", [((0, 1, -1, 0), -1), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 1)], ids=["90", "180", "270"]
)
def test_a_recording_made_on_its_side_is_turned_upright(record, matrix, turns):
    """The display matrix (ISO 14496-12, tkhd) is written into the file; (0, 1, -1, 0) says: turn clockwise to show."""
    lying = np.zeros((64, 96, 3), np.uint8)
    lying[:32, :48] = 255
    clip = record(pictures=[lying] * 5)
    a, b, c, d = matrix
    content = bytearray(clip.read_bytes())
    place = content.index(struct.pack(">9i", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000), content.index(b"tkhd"))
    content[place : place + 36] = struct.pack(
        ">9i", a * 0x10000, b * 0x10000, 0, c * 0x10000, d * 0x10000, 0, 0, 0, 0x40000000
    )
    clip.write_bytes(content)
    _, rgb = next(media.frames(clip))
    upright = np.rot90(lying, turns)
    assert rgb.shape == upright.shape and np.abs(rgb.astype(int) - upright).mean() < 10


@pytest.mark.parametrize(
    "rate, channels", [(44_100, "stereo"), (8_000, "mono"), (96_000, "mono"), (48_000, "5.1"), (48_000, "7.1")]
)
def test_any_rate_and_layout_becomes_16_khz_mono(record, rate, channels):
    original = (0.2 * np.sin(2 * np.pi * 220 * np.arange(2 * rate) / rate)).astype(np.float32)
    sound = media.waveform(record("clip.wav", sound=original, rate=rate, channels=channels, codecs=("", "pcm_s16le")))
    assert sound.shape == (32_000,) and sound.dtype == np.float32
    expected = 0.2 * np.sin(2 * np.pi * 220 * np.arange(32_000) / 16_000)
    assert np.abs(sound - expected)[100:-100].max() < 0.005  # pitch, loudness and phase are kept


@pytest.mark.parametrize("name, codec", [("clip.mp4", "aac"), ("clip.wav", "pcm_s16le"), ("clip.mp3", "libmp3lame")])
def test_a_click_is_heard_when_it_was_made(record, name, codec):
    click = np.zeros(2 * 44_100, np.float32)
    click[52_920:52_964] = 0.9  # at 1.2 s, for 1 ms
    clip = record(name, sound=click, codecs=("", codec))
    assert abs(np.abs(media.waveform(clip)).argmax() / 16_000 - 1.2) < 0.003
    assert abs(np.abs(media.waveform(clip, 1.0, 1.5)).argmax() / 16_000 - 0.2) < 0.003


def test_a_gap_in_the_sound_stays_a_gap(record, tmp_path):
    """Timestamps of Matroska: 1 s of sound, 1 s of nothing, 1 s of sound."""
    path = tmp_path / "gap.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for first in [*range(0, 16_000, 1000), *range(32_000, 48_000, 1000)]:
            frame = av.AudioFrame.from_ndarray(np.full((1, 1000), 8192, np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts = 16_000, first
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    sound = media.waveform(path)
    assert len(sound) == 48_000
    assert np.all(sound[:16_000] == 0.25) and np.all(sound[16_000:32_000] == 0) and np.all(sound[32_000:] == 0.25)


def test_probe_tells_what_a_file_declares(record, grays, tone):
    found = media.probe(record(pictures=grays, sound=tone, channels="stereo"))
    assert (found.width, found.height, found.sample_rate, found.channels) == (72, 64, 44_100, 2)
    assert abs(found.duration - 3.0) < 0.05 and found.frame_rate == 25


def test_what_is_no_recording_is_refused(tmp_path):
    for name, content in [
        ("empty.mp4", b""),
        ("random.mp4", np.random.default_rng(0).bytes(5000)),
        ("a.txt", b"hello\n"),
    ]:
        (tmp_path / name).write_bytes(content)
        assert reason(media.frames, tmp_path / name) == "unreadable"
    assert reason(media.waveform, tmp_path / "absent.mp4") == "unreadable"


def test_only_regular_files_are_opened(tmp_path):
    (tmp_path / "folder.mp4").mkdir()
    os.mkfifo(tmp_path / "fifo.mp4")
    (tmp_path / "zero.mp4").symlink_to("/dev/zero")
    for name in ("folder.mp4", "fifo.mp4", "zero.mp4"):
        assert reason(media.frames, tmp_path / name) == "not_regular_file"


def test_a_playlist_opens_no_other_file(record, grays, tmp_path):
    """Each of these would be played by ffmpeg: the names inside are of a good recording."""
    clip = record("good.mp4", pictures=grays)
    playlists = {
        "hls.mp4": f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\nfile:{clip}\n#EXT-X-ENDLIST\n",
        "concat.mp4": f"ffconcat version 1.0\nfile '{clip}'\n",
        "concat:good.mp4": "",
    }
    for name, content in playlists.items():
        (tmp_path / name).write_text(content)
        assert reason(media.frames, tmp_path / name) == "unreadable"


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.avi"])
def test_a_cut_file_is_told_from_a_whole_one(record, grays, tone, name):
    """An MP4 has its index in front, as those on the web have: ffmpeg itself decodes the rest without an error."""
    noise = np.random.default_rng(0).integers(0, 20, (75, *grays[0].shape), np.uint8)
    codecs = ("mpeg4", "aac") if name.endswith("avi") else ("libx264", "aac")
    options = {"movflags": "faststart"} if name.endswith("mp4") else {}
    whole = record(name, pictures=list(grays + noise), sound=tone, codecs=codecs, options=options)
    assert len(list(media.frames(whole))) == 75
    content = whole.read_bytes()
    for share in (0.3, 0.6, 0.8):
        whole.write_bytes(content[: int(len(content) * share)])
        assert reason(media.frames, whole) == "truncated"
    # What lies before the cut can still be used.
    assert len(list(media.frames(whole, 0.0, 1.0))) >= 24


def test_sound_that_was_cut_is_told(record, tone, tmp_path):
    whole = record(sound=tone, options={"movflags": "faststart"})
    assert abs(len(media.waveform(whole)) / 16_000 - 3) < 0.05
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * 0.6)])
    assert reason(media.waveform, cut) == "truncated"


def test_a_recording_without_its_index_is_unreadable(record, grays):
    clip = record(pictures=grays)  # the index is at the end
    clip.write_bytes(clip.read_bytes()[:-2000])
    assert reason(media.frames, clip) == "unreadable"


def test_a_missing_stream_is_named(record, grays, tone):
    assert reason(media.waveform, record("silent_film.mp4", pictures=grays)) == "no_audio"
    assert reason(media.frames, record("radio.mp4", sound=tone)) == "no_video"


def test_a_cover_picture_is_no_video(record, tone, grays, tmp_path):
    sound, path = record("sound.mp4", sound=tone), tmp_path / "cover.mp4"
    with av.open(str(sound)) as source, av.open(str(path), "w") as target:
        copy = target.add_stream_from_template(source.streams.audio[0])
        cover = target.add_stream("mjpeg", rate=1)
        cover.height, cover.width, cover.pix_fmt, cover.disposition = 64, 72, "yuvj420p", Disposition.attached_pic
        target.mux(cover.encode(av.VideoFrame.from_ndarray(grays[0], format="rgb24")))
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = copy
                target.mux(packet)
    with av.open(str(path)) as container:
        assert len(container.streams.video) == 1
    assert reason(media.frames, path) == "no_video"
    assert abs(len(media.waveform(path)) / 16_000 - 3) < 0.05


def test_subtitles_are_passed_over(record, grays, tmp_path):
    clip, path = record(pictures=grays[:25]), tmp_path / "subtitled.mkv"
    with av.open(str(clip)) as source, av.open(str(path), "w") as target:
        text = target.add_mux_stream("subrip")
        copy = target.add_stream_from_template(source.streams.video[0])
        line = av.Packet(b"What a film!")
        line.stream, line.pts, line.dts, line.duration, line.time_base = text, 0, 0, 900, Fraction(1, 1000)
        target.mux(line)
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = copy
                target.mux(packet)
    with av.open(str(path)) as container:
        assert [stream.type for stream in container.streams] == ["subtitle", "video"]
    assert numbers(picture for _, picture in media.frames(path)) == list(range(25))


@pytest.mark.parametrize("start, end", [(-1, 2), (2, 2), (2, 1), (float("nan"), 1), (3.5, float("inf")), (1, 9)])
def test_an_interval_must_lie_in_the_recording(record, grays, tone, start, end):
    clip = record(pictures=grays, sound=tone)
    assert reason(media.frames, clip, start, end) == "bad_interval"
    assert reason(media.waveform, clip, start, end) == "bad_interval"


def test_a_segment_may_not_be_endless(record, grays, monkeypatch):
    monkeypatch.setattr(recording, "LONGEST_SEGMENT", 2.0)
    clip = record(pictures=grays)
    assert reason(media.frames, clip) == "too_long"
    assert len(list(media.frames(clip, 0.5, 2.0))) > 30


def test_an_endless_segment_is_found_where_the_file_does_not_say_how_long_it_is(record, grays, tone, monkeypatch):
    clip = record("clip.mkv", pictures=grays, sound=tone, options={"live": "1"})
    with av.open(str(clip)) as container:
        assert container.duration is None
    assert len(list(media.frames(clip))) == 75
    monkeypatch.setattr(recording, "LONGEST_SEGMENT", 2.0)
    assert reason(media.frames, clip) == reason(media.waveform, clip) == "too_long"


def test_a_segment_may_end_a_little_after_its_recording(record, grays, tone):
    clip = record(pictures=grays, sound=tone)
    assert len(list(media.frames(clip, 2.0, 3.4))) == 25
    assert len(media.waveform(clip, 2.0, 3.4)) <= 1.1 * 16_000
    assert reason(media.frames, clip, 2.0, 3.8) == "bad_interval"


def test_pictures_may_not_be_too_large(record, grays, monkeypatch):
    monkeypatch.setattr(recording, "LARGEST_PICTURE", 1000)
    assert reason(media.frames, record(pictures=grays)) == "too_large"


def test_an_error_says_which_file(tmp_path: Path):
    with pytest.raises(MediaError, match="absent.mp4"):
        media.probe(tmp_path / "absent.mp4")


def test_300_damaged_copies_of_a_clip_are_read_or_refused(record, grays, tone):
    """Bytes anywhere in the file are changed. Nothing but a MediaError comes of it, and no endless reading."""
    good = record(pictures=grays[:8], sound=tone[:14_112])
    content, damaged, chance = good.read_bytes(), good.with_name("damaged.mp4"), random.Random(0)
    found = set()
    for _ in range(300):
        changed = bytearray(content)
        for _ in range(chance.choice((1, 4, 16))):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        damaged.write_bytes(changed)
        for read in (media.frames, media.waveform):
            try:
                for _, picture in read(damaged) if read is media.frames else ():
                    assert picture.dtype == np.uint8 and picture.shape[2] == 3
                assert read is media.frames or np.isfinite(read(damaged)).all()
                found.add("read")
            except MediaError as error:
                found.add(error.reason)
    assert {"read", "unreadable", "truncated"} <= found
