"""The acoustic columns say of known signals what is known of them."""

import os
import subprocess
import sys

import numpy as np
import pytest

from tasks.features.audio import COLUMNS, Acoustics
from tasks.features.media import SAMPLE_RATE, MediaError
from tests.conftest import REPOSITORY

ACOUSTICS = Acoustics()


def measured(samples: np.ndarray) -> dict[str, np.ndarray]:
    frames = ACOUSTICS.of_waveform(samples.astype(np.float32))
    assert frames.values.dtype == np.float32 and np.isfinite(frames.values).all() and frames.mask.all()
    return dict(zip(ACOUSTICS.columns, frames.values.T, strict=True))


def harmonics(pitch: float, seconds: float = 1.0, amplitude: float = 0.1) -> np.ndarray:
    """A buzz like that of a voice: ten harmonics, each weaker than the one below."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return amplitude * sum(np.sin(2 * np.pi * k * pitch * time) / k for k in range(1, 11))


def pulses(pitch: float, jitter: float, shimmer: float, seed: int = 0) -> tuple[np.ndarray, float, float]:
    """Two seconds of pulses that ring at 600 Hz, and the jitter and shimmer that they came to have.

    ``jitter`` and ``shimmer`` are the deviations of a period and of a height, each drawn for itself.
    """
    random = np.random.default_rng(seed)
    count = round(1.9 * pitch)
    periods = (1 + jitter * random.normal(size=count)) / pitch
    heights = 0.3 * (1 + shimmer * random.normal(size=count))
    time = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    samples = np.zeros_like(time)
    for start, height in zip(np.cumsum(periods), heights, strict=True):
        near = slice(max(0, round((start - 0.003) * SAMPLE_RATE)), round((start + 0.02) * SAMPLE_RATE))
        since = time[near] - start
        samples[near] += height * np.exp(np.where(since > 0, -300, 2000) * since) * np.cos(2 * np.pi * 600 * since)
    local = (np.abs(np.diff(values)).mean() / values.mean() for values in (periods, heights))
    return samples, *local


def test_there_are_74_columns_each_with_a_name_of_its_own():
    assert len(COLUMNS) == len(set(ACOUSTICS.columns)) == 74


@pytest.mark.parametrize("pitch", [80, 110, 220, 350])
def test_pitch_of_a_buzz(pitch):
    columns = measured(harmonics(pitch))
    inner = slice(5, -5)
    assert columns["voiced"][inner].all()
    np.testing.assert_allclose(columns["f0"][inner], pitch, rtol=0.01)


def test_a_rising_pitch_is_followed_at_its_time():
    pitch = np.linspace(100, 300, 2 * SAMPLE_RATE)
    columns = measured(0.2 * np.sin(2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE))
    expected = np.interp(np.arange(201) / 100, [0, 2], [100, 300])
    np.testing.assert_allclose(columns["f0"][10:-10], expected[10:-10], rtol=0.03)


def test_pitch_is_in_semitones_and_carried_over_what_is_unvoiced():
    """Nine semitones up from 110 Hz, which is two octaves above 27.5; noise in between."""
    noise = np.random.default_rng(0).normal(0, 0.02, SAMPLE_RATE)
    columns = measured(np.concatenate([harmonics(110), noise, harmonics(185)]))
    np.testing.assert_allclose(columns["pitch"][5:95], 24, atol=0.1)
    np.testing.assert_allclose(columns["pitch"][205:-5], 33, atol=0.1)
    assert not columns["voiced"][110:190].any() and np.all(columns["f0"][110:190] == 0)
    assert 26 < columns["pitch"][150] < 31
    assert columns["delta_pitch"][110:190].mean() == pytest.approx(9 / 100, rel=0.2)


def test_a_pitch_more_than_an_octave_from_the_others_is_taken_for_a_mistake():
    columns = measured(np.concatenate([harmonics(110), harmonics(400, seconds=0.3), harmonics(110)]))
    assert not columns["voiced"][105:125].any() and columns["voiced"][5:95].all() and columns["voiced"][135:-5].all()
    assert columns["pitch"][5:-5].max() < 30, "400 Hz would be 46"


def test_a_voice_that_is_nowhere_voiced_has_zeros():
    columns = measured(0.3 * np.sin(2 * np.pi * 3000 * np.arange(SAMPLE_RATE) / SAMPLE_RATE))
    assert not columns["voiced"].any()
    for name in ("f0", "pitch", "h1_h2", "jitter", "shimmer"):
        assert not columns[name].any(), name


@pytest.mark.parametrize("pitch", [90, 130, 220])
@pytest.mark.parametrize("jitter", [0.005, 0.01])
def test_jitter_of_pulses_with_known_periods(pitch, jitter):
    samples, true, _ = pulses(pitch, jitter, 0.0)
    assert measured(samples)["jitter"][15:-15].mean() == pytest.approx(true, rel=0.15)


@pytest.mark.parametrize("pitch", [90, 130, 220])
@pytest.mark.parametrize("shimmer", [0.05, 0.1])
def test_shimmer_of_pulses_with_known_heights(pitch, shimmer):
    samples, _, true = pulses(pitch, 0.0, shimmer)
    assert measured(samples)["shimmer"][15:-15].mean() == pytest.approx(true, rel=0.15)


def test_a_steady_voice_has_next_to_no_jitter_or_shimmer_either_way_up():
    samples, *_ = pulses(130, 0.0, 0.0)
    for upright in (samples, -samples):
        columns = measured(upright)
        assert columns["jitter"][15:-15].max() < 0.003 and columns["shimmer"][15:-15].max() < 0.02


@pytest.mark.parametrize("pitch", [80, 120, 220])
@pytest.mark.parametrize("decibels", [-6, 0, 12])
def test_the_first_harmonic_over_the_second(pitch, decibels):
    time = 2 * np.pi * pitch * np.arange(SAMPLE_RATE) / SAMPLE_RATE
    columns = measured(0.05 * (10 ** (decibels / 20) * np.sin(time) + np.sin(2 * time) + 0.5 * np.sin(3 * time)))
    np.testing.assert_allclose(columns["h1_h2"][10:-10], decibels, atol=0.25)


@pytest.mark.parametrize("ratio", [0, 10, 20])
def test_harmonicity_is_the_ratio_of_voice_to_noise(ratio):
    voice = harmonics(150, seconds=3.0)
    noise = np.random.default_rng(0).normal(0, voice.std() * 10 ** (-ratio / 20), len(voice))
    assert measured(voice + noise)["harmonicity"].mean() == pytest.approx(ratio, abs=1.5)


@pytest.mark.parametrize("slope", [0, -3, -6, -12])
def test_the_slope_of_noise_is_that_of_its_filter(slope):
    spectrum = np.fft.rfft(np.random.default_rng(0).normal(size=2 * SAMPLE_RATE))
    octaves = np.log2(np.maximum(np.fft.rfftfreq(2 * SAMPLE_RATE, 1 / SAMPLE_RATE), 30) / 1000)
    noise = np.fft.irfft(spectrum * 10 ** (slope * octaves / 20))
    assert measured(0.05 * noise / noise.std())["slope"].mean() == pytest.approx(slope, abs=0.4)


def test_flux_and_contrast_tell_a_change_of_tone_and_a_tone_from_noise():
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    tones = np.concatenate([0.1 * np.sin(2 * np.pi * 500 * time), 0.1 * np.sin(2 * np.pi * 3000 * time)])
    columns = measured(tones)
    assert columns["flux"][5:95].max() < 0.05 < 0.3 < columns["flux"][97:104].max()
    noise = measured(np.random.default_rng(0).normal(0, 0.05, SAMPLE_RATE))
    assert columns["contrast2"][5:95].mean() > noise["contrast2"].mean() + 10  # 400 to 800 Hz


def test_noise_has_no_pitch():
    columns = measured(np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE))
    assert columns["voiced"].mean() < 0.02
    assert np.all(columns["f0"][columns["voiced"] == 0] == 0)
    assert abs(np.median(columns["zero_crossing_rate"]) - 0.5) < 0.02
    assert np.median(columns["flatness"]) > 0.4


def test_loudness_is_decibels_of_full_scale():
    """A sine of amplitude A has the root mean square A / sqrt(2): 3.01 dB under A."""
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    for decibels in (-10.0, -40.0):
        columns = measured(10 ** (decibels / 20) * np.sin(2 * np.pi * 440 * time))
        np.testing.assert_allclose(columns["loudness"][3:-3], decibels - 3.01, atol=0.1)


def test_the_spectrum_of_a_sine_is_at_its_frequency():
    columns = measured(0.2 * np.sin(2 * np.pi * 1000 * np.arange(SAMPLE_RATE) / SAMPLE_RATE))
    np.testing.assert_allclose(columns["centroid"][3:-3], 1000, atol=15)
    np.testing.assert_allclose(columns["rolloff"][3:-3], 1000, atol=50)
    np.testing.assert_allclose(columns["zero_crossing_rate"][3:-3], 0.125, atol=0.006)
    assert np.median(columns["flatness"]) < 1e-3


def test_cepstra_tell_timbre_from_loudness():
    """Twice the amplitude adds 6.02 dB to every band, which the first cepstrum alone takes."""
    noise = np.random.default_rng(0).normal(0, 0.05, SAMPLE_RATE)
    quiet, loud = measured(noise), measured(2 * noise)
    inner = slice(5, -5)
    np.testing.assert_allclose(loud["mfcc0"][inner] - quiet["mfcc0"][inner], 6.02 * np.sqrt(40), rtol=0.01)
    for i in range(1, 25):
        np.testing.assert_allclose(loud[f"mfcc{i}"][inner], quiet[f"mfcc{i}"][inner], atol=0.05)


def test_deltas_are_changes_a_frame():
    swell = 10 ** (np.linspace(-40, 0, 2 * SAMPLE_RATE) / 20)  # 0.2 dB a frame
    columns = measured(swell * np.random.default_rng(0).normal(0, 0.1, 2 * SAMPLE_RATE))
    assert columns["delta_mfcc0"].mean() == pytest.approx(0.2 * np.sqrt(40), rel=0.05)


def test_times_are_the_centres_of_frames():
    click = np.zeros(SAMPLE_RATE)
    click[8000] = 0.9  # at 0.5 s
    frames = ACOUSTICS.of_waveform(click.astype(np.float32))
    assert frames.times.dtype == np.float64
    np.testing.assert_allclose(np.diff(frames.times), 0.01)
    heard = frames.times[frames.values[:, 0] > -99]
    assert abs((heard[0] + heard[-1]) / 2 - 0.5) < 0.011


def test_stretches_of_silence_and_hardly_any_sound_are_finite():
    columns = measured(np.concatenate([np.zeros(8000), harmonics(150), np.zeros(8000)]))
    assert columns["loudness"][0] == pytest.approx(-100) and columns["f0"][0] == 0
    measured(np.full(100, 0.5))


def test_silence_is_refused(record):
    clip = record(sound=np.zeros(44_100, np.float32))
    with pytest.raises(MediaError) as caught:
        ACOUSTICS.measure(clip)
    assert caught.value.reason == "silent"


def test_a_segment_of_a_recording_is_measured_from_its_start(record, tone):
    frames = ACOUSTICS.measure(record(sound=tone), 1.0, 2.0)
    assert frames.times[0] == 0.0 and len(frames.times) == 101
    assert np.median(frames.values[:, ACOUSTICS.columns.index("f0")]) == pytest.approx(220, rel=0.01)


@pytest.mark.real_data
def test_voices_of_real_speakers(shared_data):
    """The pitch of a man and of a woman of the GRID corpus, and speech between the silences."""
    pitches = {}
    for name in ("id2_vcd_swwp2s", "brbk7n"):
        frames = ACOUSTICS.measure(shared_data / "grid" / f"{name}.mpg")
        columns = dict(zip(ACOUSTICS.columns, frames.values.T, strict=True))
        pitches[name] = np.median(columns["f0"][columns["voiced"] == 1])
        speech = (frames.times > 0.6) & (frames.times < 2.0)
        assert columns["loudness"][speech].mean() > columns["loudness"][~speech].mean() + 10
    assert 85 < pitches["id2_vcd_swwp2s"] < 150
    assert 150 < pitches["brbk7n"] < 260


def test_the_recipe_tells_configurations_apart():
    assert Acoustics().recipe() == Acoustics().recipe() != Acoustics(f0_max=400.0).recipe()


def test_processes_that_begin_together_on_a_new_installation_leave_a_sound_cache(tmp_path):
    """Each compiles or loads librosa's loops in turn; a later process that loads them does not crash."""
    program = (
        "import numpy; from tasks.features.audio import Acoustics; Acoustics().of_waveform(numpy.ones(4096, 'f4'))"
    )
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "DMD_CACHE": str(tmp_path / "assets")}

    def start() -> subprocess.Popen:
        return subprocess.Popen([sys.executable, "-c", program], env=environment, cwd=REPOSITORY)

    assert [child.wait() for child in [start(), start()]] == [0, 0]
    assert start().wait() == 0
