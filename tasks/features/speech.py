"""How speech sounds to a network trained on unlabelled speech: hidden states of wav2vec 2.0, HuBERT and their like."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np

from storage.schema import Frames
from tasks.assets import AssetError
from tasks.features import media
from tasks.features.text import one_thread
from tasks.hub_models import model_folder, model_sha256

WINDOW, MARGIN = 1500, 50
"""Frames that are computed at once (30 s), and how many more the network hears on both sides of them: its attention to
all of a long segment would fill the memory."""


@dataclass(frozen=True)
class SpeechEncoder:
    """Last hidden states of an encoder of 16 kHz waveforms, ``Wav2Vec2Model``, ``HubertModel`` or ``WavLMModel``.

    ``encoder`` is a folder or a name on the hub, as ``hub_models`` says.
    """

    encoder: str

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(f"hidden{i}" for i in range(_config(self.encoder)["hidden_size"]))

    def recipe(self) -> dict:
        """What the frames depend on. Raises AssetError without the model."""
        return {
            "encoder": self.encoder,
            "code": 1,
            "torch": version("torch").split("+")[0],  # the build (cpu, cuda) does not matter
            "transformers": version("transformers"),
            "av": version("av"),
            "sha256": model_sha256(self.encoder),
        }

    def measure(self, path: Path, start: float = 0.0, end: float = math.inf) -> Frames:
        """Frames [F, H] at their centres; every one is measured. Raises ``MediaError`` and ``AssetError``."""
        return self.of_waveform(media.audible_waveform(path, start, end))

    def of_waveform(self, samples: np.ndarray) -> Frames:
        """Frames of float32 [samples] at 16 kHz, as many as the network's convolutions have whole windows of."""
        import torch

        normalised, model = _loaded(self.encoder)
        hop, heard = _hop_and_width(self.encoder)
        sound = normalised(np.pad(samples, (0, max(0, heard - len(samples)))))  # at least one window
        count = (len(sound) - heard) // hop + 1
        parts = []
        for first in range(0, count, WINDOW):
            begin, stop = max(0, first - MARGIN), min(count, first + WINDOW + MARGIN)
            part = sound[begin * hop : (stop - 1) * hop + heard if stop < count else None]
            with torch.inference_mode(), one_thread():
                states = model(torch.from_numpy(part)[None]).last_hidden_state[0].numpy()  # [stop - begin, H]
            parts.append(states[first - begin : first - begin + WINDOW])
        times = (np.arange(count) * hop + heard / 2) / media.SAMPLE_RATE
        return Frames(np.concatenate(parts).astype(np.float32), times, np.ones(count, bool))


@cache
def _config(encoder: str) -> dict:
    config = json.loads((model_folder(encoder) / "config.json").read_text(encoding="utf-8"))
    if missing := {"hidden_size", "conv_kernel", "conv_stride"} - config.keys():
        absent = ", ".join(sorted(missing))
        raise AssetError(f"The model {encoder} is no encoder of waveforms, such as HuBERT: its config has no {absent}.")
    return config


@cache
def _hop_and_width(encoder: str) -> tuple[int, int]:
    """Samples from one frame to the next, and samples that a frame's convolutions hear."""
    hop, width = 1, 1
    for kernel, stride in zip(_config(encoder)["conv_kernel"], _config(encoder)["conv_stride"], strict=True):
        width += (kernel - 1) * hop
        hop *= stride
    return hop, width


@cache
def _loaded(encoder: str):
    """(what normalises a waveform as the network expects it, the network)."""
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    folder = model_folder(encoder)
    if not (folder / "preprocessor_config.json").is_file():
        raise AssetError(f"The model {encoder} has no preprocessor_config.json, which says how sound is normalised.")
    extract = transformers.Wav2Vec2FeatureExtractor.from_pretrained(folder, local_files_only=True)
    model = transformers.AutoModel.from_pretrained(
        folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
    )

    def normalised(samples: np.ndarray) -> np.ndarray:
        return np.asarray(extract(samples, sampling_rate=media.SAMPLE_RATE).input_values[0], np.float32)

    return normalised, model.eval()
