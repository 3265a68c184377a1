"""How speech sounds, frame by frame: loudness, pitch, timbre and spectral shape, from librosa."""

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
from tasks.features import media

HOP = 160  # samples: 10 ms
WINDOW = 400  # samples: 25 ms
PITCH_WINDOW = 1024  # samples: 64 ms holds two periods of a low voice
SPECTRUM = 512  # points of the Fourier transform
MELS = 40
CEPSTRA = 13
DELTA_WIDTH = 9  # frames: librosa's default, 90 ms
QUIETEST = 1e-5  # of full scale: loudness ends at -100 dB


@dataclass(frozen=True)
class Acoustics:
    """Frame features of 16 kHz mono sound: windows of 25 ms (64 ms for pitch), one every 10 ms.

    ``f0_min``, ``f0_max``: hertz, the range of adult voices. ``voicing``: the least periodicity of a voiced frame (0.45
    in Praat), and ``voicing_decibels`` its least loudness.
    """

    f0_min: float = 60.0
    f0_max: float = 500.0
    voicing: float = 0.45
    voicing_decibels: float = -60.0

    columns: ClassVar[tuple[str, ...]] = (
        "loudness",  # decibels of full scale, of the root mean square
        "f0",  # hertz; 0 where unvoiced
        "voiced",  # 1 or 0
        "periodicity",  # normalised autocorrelation at the period, in [0, 1]
        "centroid",  # hertz
        "bandwidth",  # hertz
        "rolloff",  # hertz below which 85 % of the magnitude lies
        "flatness",  # geometric over arithmetic mean of the power spectrum, in [0, 1]
        "zero_crossing_rate",  # share of neighbouring samples that differ in sign
        *(f"mfcc{i}" for i in range(CEPSTRA)),
        *(f"delta_mfcc{i}" for i in range(CEPSTRA)),  # change a frame
    )

    def recipe(self) -> dict:
        return {**asdict(self), "code": 1, "librosa": version("librosa"), "av": version("av")}

    def measure(self, path: Path, start: float = 0.0, end: float = math.inf) -> Frames:
        """Frames [F, 35] at their centres; every one is measured. Raises ``MediaError`` (``silent``, ...)."""
        samples = media.waveform(path, start, end)
        if media.is_silent(samples):
            raise media.MediaError("silent", f"The sound of {path} between {start:g} and {end:g} s is silence.")
        return self.of_waveform(samples)

    def of_waveform(self, samples: np.ndarray) -> Frames:
        """Frames of float32 [samples] at 16 kHz; the first is centred on the first sample."""
        _compile()
        return self._frames(samples)

    def _frames(self, samples: np.ndarray) -> Frames:
        import librosa.feature as feature  # a second to import

        magnitude = np.abs(_spectrum(samples))  # [SPECTRUM / 2 + 1, F]
        loudness = _decibels(feature.rms(y=samples, frame_length=WINDOW, hop_length=HOP)[0])
        f0, voiced, periodicity = self._pitch(samples, loudness)
        shape = {"S": magnitude, "sr": media.SAMPLE_RATE}
        mfcc = _mfcc(magnitude)  # [CEPSTRA, F]
        rows = np.vstack([
            loudness,
            f0,
            voiced,
            periodicity,
            feature.spectral_centroid(**shape),
            feature.spectral_bandwidth(**shape),
            feature.spectral_rolloff(**shape),
            feature.spectral_flatness(S=magnitude),
            feature.zero_crossing_rate(samples, frame_length=WINDOW, hop_length=HOP),
            mfcc,
            feature.delta(mfcc, width=DELTA_WIDTH, mode="nearest"),
        ])  # fmt: skip
        times = np.arange(rows.shape[1]) * HOP / media.SAMPLE_RATE
        return Frames(np.ascontiguousarray(rows.T, np.float32), times, np.ones(len(times), bool))

    def _pitch(self, samples: np.ndarray, loudness: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """F0 by YIN (de Cheveigné and Kawahara, 2002), voicing and periodicity, [F] each."""
        import librosa

        f0 = librosa.yin(
            samples,
            fmin=self.f0_min,
            fmax=self.f0_max,
            sr=media.SAMPLE_RATE,
            frame_length=PITCH_WINDOW,
            hop_length=HOP,
        )
        periodicity = _periodicity(samples, np.rint(media.SAMPLE_RATE / f0).astype(int))
        inside = (f0 > 1.01 * self.f0_min) & (f0 < 0.99 * self.f0_max)  # at the ends of the range, no period was found
        voiced = inside & (periodicity >= self.voicing) & (loudness >= self.voicing_decibels)
        return np.where(voiced, f0, 0.0), voiced, periodicity


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


def _mfcc(magnitude: np.ndarray) -> np.ndarray:
    """Cepstra [CEPSTRA, F] of the mel power spectrum in decibels, without librosa's floor under the segment's peak."""
    import librosa

    mel = librosa.feature.melspectrogram(S=magnitude**2, sr=media.SAMPLE_RATE, n_mels=MELS)
    return librosa.feature.mfcc(S=librosa.power_to_db(mel, top_db=None), n_mfcc=CEPSTRA)


def _decibels(amplitude: np.ndarray) -> np.ndarray:
    return 20 * np.log10(np.maximum(amplitude, QUIETEST))


def _periodicity(samples: np.ndarray, lags: np.ndarray) -> np.ndarray:
    """Correlation of each frame's two halves, ``lags[f]`` samples apart around its centre: [F] in [0, 1]."""
    half = PITCH_WINDOW // 2
    padded = np.pad(samples, PITCH_WINDOW)
    centres = PITCH_WINDOW + HOP * np.arange(len(lags))  # in the padded signal
    here = (centres - (half + lags) // 2)[:, None] + np.arange(half)  # [F, half]
    left, right = padded[here], padded[here + lags[:, None]]
    left, right = left - left.mean(axis=1, keepdims=True), right - right.mean(axis=1, keepdims=True)
    power = np.sqrt((left**2).sum(axis=1) * (right**2).sum(axis=1))
    return np.clip((left * right).sum(axis=1) / np.maximum(power, 1e-10), 0.0, 1.0)
