"""How speech sounds, frame by frame: loudness, pitch, voice quality, spectral shape and timbre, from librosa.

The families are those of COVAREP (Degottex et al., 2014), whose 74 columns the field's acoustic features are; the
columns are not the same.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar

import numpy as np
from filelock import FileLock

from storage.schema import Frames
from tasks.assets import cache_folder
from tasks.features import media, voice
from tasks.features.columns import Column, names

HOP = 160  # samples: 10 ms
WINDOW = 400  # samples: 25 ms
PITCH_WINDOW = 1024  # samples: 64 ms holds two periods of a low voice
SPECTRUM = 512  # points of the Fourier transform
MELS = 40
CEPSTRA = 25
CONTRAST_BANDS = 5  # octaves from 200 to 6400 Hz, beside what is below them
DELTA_WIDTH = 9  # frames: librosa's default, 90 ms
QUIETEST = 1e-5  # of full scale: loudness ends at -100 dB
LOWEST_PITCH = 27.5  # hertz: where semitones are counted from, as in eGeMAPS (Eyben et al., 2016)
FARTHEST_PITCH = 12.0  # semitones from the segment's median: beyond are mistaken octaves and noise, taken as unvoiced
NYQUIST = media.SAMPLE_RATE / 2

_RMS, _YIN, _CYCLES = "root mean square of 25 ms", "YIN over 64 ms", f"cycles in {1000 * voice.CYCLES_WINDOW:.0f} ms"
_SPECTRUM, _MEL = "magnitude spectrum of 25 ms", f"{MELS} mel bands of the power spectrum of 25 ms"
_BANDS = ("0 to 200", "200 to 400", "400 to 800", "800 to 1600", "1600 to 3200", "3200 to 6400")
COLUMNS: tuple[Column, ...] = (
    Column("loudness", "dB of full scale", _RMS, "loudness", (-100, 10)),
    Column("delta_loudness", "dB a frame", "loudness", "its change"),
    Column("f0", "Hz", _YIN, "fundamental frequency; 0 where unvoiced", (0, NYQUIST)),
    Column("pitch", "semitones above 27.5 Hz", "f0", "pitch, carried on in a line where unvoiced", (0, 100)),
    Column("delta_pitch", "semitones a frame", "pitch", "its change"),
    Column("voiced", "", "f0, periodicity, loudness", "1 where voiced, else 0", (0, 1)),
    Column("periodicity", "", "correlation of 32 ms with those a period later", "1 for a perfect cycle", (0, 1)),
    Column("harmonicity", "dB", "periodicity", "periodic over aperiodic part", (-20, 40)),
    Column("h1_h2", "dB", "spectrum of 64 ms at f0 and 2 f0", "first harmonic over second: breathy voices are high"),
    Column("jitter", "share of the period", _CYCLES, "mean difference of neighbouring periods", (0, 1)),
    Column("shimmer", "share of the height", _CYCLES, "mean difference of neighbouring pulses in height", (0, 2)),
    Column("zero_crossing_rate", "", "25 ms of samples", "share of neighbours that differ in sign", (0, 1)),
    Column("centroid", "Hz", _SPECTRUM, "its mean frequency", (0, NYQUIST)),
    Column("bandwidth", "Hz", _SPECTRUM, "its standard deviation around the centroid", (0, NYQUIST)),
    Column("rolloff", "Hz", _SPECTRUM, "below which 85 % of it lies", (0, NYQUIST)),
    Column("flatness", "", "power spectrum of 25 ms", "its geometric over its arithmetic mean", (0, 1)),
    Column("slope", "dB an octave", _MEL, "line through the bands' density"),
    Column("flux", "", _SPECTRUM, "share of it that moved to other frequencies since the last frame", (0, 1)),
    *(
        Column(f"contrast{i}", "dB", f"{_SPECTRUM}, {band} Hz", "peaks over valleys", (0, 200))
        for i, band in enumerate(_BANDS)
    ),
    *(Column(f"mfcc{i}", "dB", _MEL, f"cepstral coefficient {i}") for i in range(CEPSTRA)),
    *(Column(f"delta_mfcc{i}", "dB a frame", f"mfcc{i}", "its change") for i in range(CEPSTRA)),
)
"""The 74 columns. Jitter, shimmer and h1_h2 are carried on in a line where unvoiced, as pitch is: so the mean over a
word is one of its voiced frames and their neighbours. They are 0 where nothing in the segment is voiced."""


@dataclass(frozen=True)
class Acoustics:
    """Frame features of 16 kHz mono sound, one frame every 10 ms.

    ``f0_min``, ``f0_max``: hertz, the range of adult voices. ``voicing``: the least periodicity of a voiced frame (0.45
    in Praat), and ``voicing_decibels`` its least loudness.
    """

    f0_min: float = 60.0
    f0_max: float = 500.0
    voicing: float = 0.45
    voicing_decibels: float = -60.0

    columns: ClassVar[tuple[str, ...]] = names(COLUMNS)

    def recipe(self) -> dict:
        return {**asdict(self), "code": 2, "librosa": version("librosa"), "av": version("av")}

    def measure(self, path: Path, start: float = 0.0, end: float = math.inf) -> Frames:
        """Frames [F, 74] at their centres; every one is measured. Raises ``MediaError`` (``silent``, ...)."""
        return self.of_waveform(media.audible_waveform(path, start, end))

    def of_waveform(self, samples: np.ndarray) -> Frames:
        """Frames of float32 [samples] at 16 kHz; the first is centred on the first sample."""
        _compile()
        return self._frames(samples)

    def _frames(self, samples: np.ndarray) -> Frames:
        import librosa.feature as feature  # a second to import

        magnitude = np.abs(_spectrum(samples))  # [SPECTRUM / 2 + 1, F]
        loudness = _decibels(feature.rms(y=samples, frame_length=WINDOW, hop_length=HOP)[0])
        mel = _mel(magnitude)  # [MELS, F]
        voice_rows = self._voice(samples, loudness)
        mfcc = feature.mfcc(S=mel, n_mfcc=CEPSTRA)
        deltas = feature.delta(np.vstack([loudness, voice_rows["pitch"], mfcc]), width=DELTA_WIDTH, mode="nearest")
        rows = voice_rows | {
            "loudness": loudness,
            "delta_loudness": deltas[0],
            "delta_pitch": deltas[1],
            "zero_crossing_rate": feature.zero_crossing_rate(samples, frame_length=WINDOW, hop_length=HOP)[0],
            **_shape(magnitude, mel),
            **{f"mfcc{i}": row for i, row in enumerate(mfcc)},
            **{f"delta_mfcc{i}": row for i, row in enumerate(deltas[2:])},
        }
        times = np.arange(len(loudness)) * HOP / media.SAMPLE_RATE
        values = np.stack([rows[name] for name in self.columns], axis=1, dtype=np.float32)  # [F, 74]
        return Frames(values, times, np.ones(len(times), bool))

    def _voice(self, samples: np.ndarray, loudness: np.ndarray) -> dict[str, np.ndarray]:
        """Pitch and voice quality, [F] each. F0 is found by YIN (de Cheveigné and Kawahara, 2002)."""
        import librosa

        found = librosa.yin(
            samples,
            fmin=self.f0_min,
            fmax=self.f0_max,
            sr=media.SAMPLE_RATE,
            frame_length=PITCH_WINDOW,
            hop_length=HOP,
        )
        lags = np.rint(media.SAMPLE_RATE / found).astype(int)
        periodicity = voice.periodicity(samples, lags, HOP, PITCH_WINDOW)
        # at the ends of the range, no period was found
        inside = (found > 1.01 * self.f0_min) & (found < 0.99 * self.f0_max)
        voiced = inside & (periodicity >= self.voicing) & (loudness >= self.voicing_decibels)
        pitch = 12 * np.log2(found / LOWEST_PITCH)
        if voiced.any():
            voiced &= np.abs(pitch - np.median(pitch[voiced])) <= FARTHEST_PITCH
        f0 = np.where(voiced, found, 0.0)
        jitter, shimmer = voice.perturbation(samples, f0, HOP)
        return {
            "f0": f0,
            "pitch": _carried_on(pitch, voiced),
            "voiced": voiced,
            "periodicity": periodicity,
            "harmonicity": voice.harmonicity(periodicity),
            "h1_h2": _carried_on(voice.first_harmonics(samples, f0, HOP), voiced),
            "jitter": _carried_on(jitter, voiced & np.isfinite(jitter)),
            "shimmer": _carried_on(shimmer, voiced & np.isfinite(shimmer)),
        }


@cache
def _compile() -> None:
    """Have numba compile librosa's loops, once an installation (half a minute), and load them, once a process.

    One process at a time: two that compile at once leave files in numba's cache that crash whoever loads them.
    """
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "librosa.lock"):
        Acoustics()._frames(np.sin(np.arange(4 * PITCH_WINDOW, dtype=np.float32)))


def _spectrum(samples: np.ndarray) -> np.ndarray:
    import librosa

    return librosa.stft(samples, n_fft=SPECTRUM, win_length=WINDOW, hop_length=HOP)


def _mel(magnitude: np.ndarray) -> np.ndarray:
    """Density of power in mel bands in decibels, [MELS, F], without librosa's floor under the segment's peak."""
    import librosa

    power = librosa.feature.melspectrogram(S=magnitude**2, sr=media.SAMPLE_RATE, n_mels=MELS)
    return librosa.power_to_db(power, top_db=None)


def _shape(magnitude: np.ndarray, mel: np.ndarray) -> dict[str, np.ndarray]:
    """The spectrum's shape, [F] each, of magnitudes [SPECTRUM / 2 + 1, F] and mel bands [MELS, F]."""
    import librosa.feature as feature

    spectrum = {"S": magnitude, "sr": media.SAMPLE_RATE}
    contrast = feature.spectral_contrast(**spectrum, n_bands=CONTRAST_BANDS)
    return {
        "centroid": feature.spectral_centroid(**spectrum)[0],
        "bandwidth": feature.spectral_bandwidth(**spectrum)[0],
        "rolloff": feature.spectral_rolloff(**spectrum)[0],
        "flatness": feature.spectral_flatness(S=magnitude)[0],
        "slope": _octave_weights() @ mel,
        "flux": _flux(magnitude),
        **{f"contrast{i}": row for i, row in enumerate(contrast)},
    }


@cache
def _octave_weights() -> np.ndarray:
    """Weights [MELS] of the bands whose sum is the slope of the line of least squares over their octaves."""
    import librosa

    octaves = np.log2(librosa.mel_frequencies(MELS + 2, fmin=0, fmax=NYQUIST)[1:-1])
    octaves -= octaves.mean()
    return octaves / (octaves**2).sum()


def _flux(magnitude: np.ndarray) -> np.ndarray:
    """Half the sum of differences between neighbouring spectra of sum 1: [F], 0 for the first."""
    shares = magnitude + QUIETEST  # silence is flat
    shares /= shares.sum(axis=0)
    return np.concatenate([[0.0], np.abs(np.diff(shares, axis=1)).sum(axis=0) / 2])


def _decibels(amplitude: np.ndarray) -> np.ndarray:
    return 20 * np.log10(np.maximum(amplitude, QUIETEST))


def _carried_on(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The values where they are known, and lines between those: [F]; 0 where none is known."""
    places = np.flatnonzero(known)
    return np.interp(np.arange(len(values)), places, values[places]) if len(places) else np.zeros(len(values))
