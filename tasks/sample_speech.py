"""Speech for the sample corpus: piper's English voice, with the true time of every word."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache

import av
import numpy as np

from storage.schema import Word
from tasks import assets

VOICE = "en_US-joe-medium"
SAMPLE_RATE = 22050  # of the voice, and of the corpus
DURATIONS = b"/Ceil_output_0"  # the tensor inside this voice's network that holds the length of every phoneme
SILENCE = 0.2  # seconds before and after the words
AUDIBLE, WINDOW = 2e-3, 110  # of full scale, over so many samples (5 ms)
ROOM_NOISE = 5e-4  # of full scale: a recording is never digitally silent


@dataclass(frozen=True)
class Delivery:
    """How a sentence is spoken: ``rate`` and ``pitch`` are factors on the voice's own, ``gain`` is in dB."""

    rate: float
    pitch: float
    gain: float


def speak(text: str, delivery: Delivery, rng: np.random.Generator) -> tuple[np.ndarray, tuple[Word, ...]]:
    """The waveform float32 [samples] at ``SAMPLE_RATE``, and where each token of ``text`` lies in it.

    The pitch is raised by synthesizing more slowly and playing faster, which keeps the word times exact. piper's random
    numbers cannot be seeded, so its noise is switched off: the same arguments give the same samples.
    Raises ``ValueError`` where piper does not speak the text as one sentence with one group of sounds a token.
    """
    voice = _voice()
    from piper import SynthesisConfig

    slowness = delivery.pitch / delivery.rate
    config = SynthesisConfig(length_scale=slowness, noise_scale=0.0, noise_w_scale=0.0, normalize_audio=False)
    chunks = list(voice.synthesize(text, config, include_alignments=True))
    times = _group_times(chunks[0]) if len(chunks) == 1 else []
    tokens = text.split()
    if len(times) != len(tokens):
        raise ValueError(f"piper runs words together in {text!r}, so that their true times are not known.")
    spoken = chunks[0].audio_float_array * np.float32(10 ** (delivery.gain / 20))
    waveform = np.pad(_play_faster(spoken, delivery.pitch), round(SILENCE * SAMPLE_RATE))
    waveform += rng.normal(scale=ROOM_NOISE, size=len(waveform)).astype(np.float32)
    words = tuple(
        Word(token, SILENCE + start / delivery.pitch, SILENCE + end / delivery.pitch)
        for token, (start, end) in zip(tokens, times, strict=True)
    )
    return np.clip(waveform, -1, 1), words


def _play_faster(waveform: np.ndarray, factor: float) -> np.ndarray:
    """The same samples taken as if recorded at ``factor`` times the rate: float32 [samples / factor]."""
    frame = av.AudioFrame.from_ndarray(waveform[None], format="fltp", layout="mono")
    frame.sample_rate = round(SAMPLE_RATE * factor)
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=SAMPLE_RATE)
    parts = [part.to_ndarray()[0] for part in (*resampler.resample(frame), *resampler.resample(None))]
    return np.concatenate(parts)


def _group_times(chunk) -> list[tuple[float, float]]:
    """Start and end in seconds of every group of phonemes between spaces.

    The first group begins and the last one ends where something is heard in the synthesis, which is otherwise still.
    A boundary within is where the space begins: there is no pause in it, the next word is already heard. (Measured
    where a vowel meets a hissing consonant across a space, either way round: the sound changes within about 10 ms.)
    """
    lengths = np.array([phoneme.num_samples for phoneme in chunk.phoneme_alignments])
    starts = np.cumsum(lengths) - lengths
    spaces = [start for start, phoneme in zip(starts, chunk.phoneme_alignments, strict=True) if phoneme.phoneme == " "]
    power = np.convolve(chunk.audio_float_array.astype(np.float64) ** 2, np.full(WINDOW, 1 / WINDOW), mode="same")
    heard = np.flatnonzero(power > AUDIBLE**2)
    boundaries = [float(sample / SAMPLE_RATE) for sample in (heard[0], *spaces, heard[-1])]
    return list(zip(boundaries[:-1], boundaries[1:], strict=True))


@cache
def _voice():
    """The voice, with the phonemes' lengths as a second output; on one thread, so that sums keep their order."""
    try:
        import onnxruntime
        from piper import PiperVoice
        from piper.config import PiperConfig
    except ImportError as error:
        raise assets.AssetError(
            "The sample corpus is spoken by piper, which is not here: pip install .[sample]"
        ) from error
    folder = assets.fetch(VOICE)
    # A serialized protobuf message followed by another is their merge: this adds graph.output.name to the model.
    model = (folder / f"{VOICE}.onnx").read_bytes() + _field(7, _field(12, _field(1, DURATIONS)))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    config = PiperConfig.from_dict(json.loads((folder / f"{VOICE}.onnx.json").read_text(encoding="utf-8")))
    return PiperVoice(session=session, config=config)


def _field(number: int, content: bytes) -> bytes:
    """A length-delimited protobuf field of fewer than 128 bytes."""
    return bytes([number << 3 | 2, len(content)]) + content
