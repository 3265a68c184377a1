"""How a voice vibrates: its periods, how regular they are, and how its first two harmonics compare.

Shapes: F frames, P glottal pulses. A period is in samples.
"""

from __future__ import annotations

import numpy as np

from tasks.features.media import SAMPLE_RATE

HARMONICS_WINDOW = 1024  # samples: 64 ms tell the harmonics of a voice of 60 Hz apart
CYCLES_WINDOW = 0.1  # seconds: at least six cycles of the lowest voice
LEAST_CYCLES = 3  # in the window, for a mean of their differences
SAME_CYCLE = (0.8, 1.25)  # times the expected period: an interval outside it holds no cycle, or two


def periodicity(samples: np.ndarray, lags: np.ndarray, hop: int, window: int) -> np.ndarray:
    """Correlation of each frame's two halves, ``lags[f]`` samples apart around its centre: [F] in [0, 1]."""
    half = window // 2
    padded = np.pad(samples, window)
    centres = window + hop * np.arange(len(lags))  # in the padded signal
    here = (centres - (half + lags) // 2)[:, None] + np.arange(half)  # [F, half]
    left, right = padded[here], padded[here + lags[:, None]]
    left, right = left - left.mean(axis=1, keepdims=True), right - right.mean(axis=1, keepdims=True)
    power = np.sqrt((left**2).sum(axis=1) * (right**2).sum(axis=1))
    return np.clip((left * right).sum(axis=1) / np.maximum(power, 1e-10), 0.0, 1.0)


def harmonicity(periodicity: np.ndarray) -> np.ndarray:
    """Decibels of the periodic over the aperiodic part (Boersma, 1993), between -20 and 40."""
    share = np.clip(periodicity, 1 / 101, 1 / (1 + 1e-4))
    return 10 * np.log10(share / (1 - share))


def first_harmonics(samples: np.ndarray, f0: np.ndarray, hop: int) -> np.ndarray:
    """Decibels by which the first harmonic is above the second, [F]; 0 where ``f0`` is 0.

    Of the spectrum as it is: the formants' own share is not taken out.
    """
    import librosa

    spectrum = librosa.stft(samples, n_fft=HARMONICS_WINDOW, hop_length=hop)  # [bins, F]
    frames = np.arange(len(f0))

    def peak(frequency: np.ndarray) -> np.ndarray:
        """The height of the parabola through the three bins around a frequency."""
        bins = np.rint(frequency * HARMONICS_WINDOW / SAMPLE_RATE).astype(int).clip(1, len(spectrum) - 2)
        amplitudes = (np.abs(spectrum[bins + step, frames]) for step in (-1, 0, 1))
        below, here, above = (20 * np.log10(np.maximum(amplitude, 1e-10)) for amplitude in amplitudes)
        rise = (below - above) ** 2 / np.maximum(8 * (2 * here - below - above), 1e-3)
        return here + np.minimum(rise, np.abs(below - above) / 8)  # no more, where the middle is the highest

    return np.where(f0 > 0, peak(f0) - peak(2 * f0), 0.0)


def perturbation(samples: np.ndarray, f0: np.ndarray, hop: int) -> tuple[np.ndarray, np.ndarray]:
    """Jitter and shimmer of each frame, [F] each; NaN where too few cycles are around it.

    Both are local measures: the mean difference of neighbouring cycles in length, or in height, over their mean.
    """
    places, heights, expected = _pulses(samples, f0, hop)
    periods = np.diff(places)
    whole = (periods > SAME_CYCLE[0] * expected[:-1]) & (periods < SAME_CYCLE[1] * expected[:-1])  # [P - 1]
    both = whole[1:] & whole[:-1]
    frames = hop * np.arange(len(f0))
    lengths = np.abs(np.diff(periods)), (periods[1:] + periods[:-1]) / 2, places[1:-1], both
    levels = np.abs(np.diff(heights)), (heights[1:] + heights[:-1]) / 2, (places[1:] + places[:-1]) / 2, whole
    return _relative_change(frames, *lengths), _relative_change(frames, *levels)


def _pulses(samples: np.ndarray, f0: np.ndarray, hop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(place in samples, height, period expected there) of the pulses of voiced frames, [P] each.

    A pulse is a maximum with no greater one within half a period, of the waveform the way up on which it is peaked.
    """
    upright = samples if np.dot(samples, samples * samples) >= 0 else -samples
    inner = upright[1:-1]
    places = 1 + np.flatnonzero((inner > upright[:-2]) & (inner >= upright[2:]) & (inner > 0))
    pitch = f0[np.minimum((places + hop // 2) // hop, len(f0) - 1)]
    places, pitch = places[pitch > 0], pitch[pitch > 0]
    if len(places) == 0:
        return np.zeros(0), np.zeros(0), np.zeros(0)
    expected = SAMPLE_RATE / pitch
    heights = upright[places]
    around = np.stack([np.searchsorted(places, places - expected / 2), np.searchsorted(places, places + expected / 2)])
    greatest = np.maximum.reduceat(np.append(heights, 0), around.T.ravel())[::2]
    kept = heights >= greatest
    places, expected = places[kept], expected[kept]
    before, here, after = (upright[places + step].astype(np.float64) for step in (-1, 0, 1))
    shift = (before - after) / (2 * (before - 2 * here + after))  # to the top of the parabola through the three
    return places + shift, here - (before - after) * shift / 4, expected


def _relative_change(
    frames: np.ndarray, changes: np.ndarray, means: np.ndarray, places: np.ndarray, kept: np.ndarray
) -> np.ndarray:
    """The sum of the kept changes over that of the means, within the window around each frame: [F]."""
    changes, means, places = changes[kept], means[kept], places[kept]
    reach = CYCLES_WINDOW * SAMPLE_RATE / 2
    first, stop = np.searchsorted(places, frames - reach), np.searchsorted(places, frames + reach)
    sums = [np.concatenate([[0.0], np.cumsum(values)]) for values in (changes, means)]
    change, mean = (running[stop] - running[first] for running in sums)
    return np.where(stop - first >= LEAST_CYCLES, change / np.maximum(mean, 1e-10), np.nan)
