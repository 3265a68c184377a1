"""Forced alignment with a CTC model of transformers: letter probabilities, and the likeliest path through them."""

from __future__ import annotations

import json
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path

import numpy as np

from storage.schema import Word
from tasks.assets import AssetError
from tasks.features import media
from tasks.features.text import one_thread
from tasks.features.words import Found, align_tokens, not_found
from tasks.hub_models import model_folder, model_sha256

FILES = ("preprocessor_config.json", "vocab.json")
"""What a CTC model has beside configuration and weights."""

DELIMITER = "|"
"""The symbol between two words."""

WINDOW, MARGIN = 1500, 50
"""Frames that are computed at once, and how many more of sound around them the model hears: attention to all of a long
segment would fill the memory."""


@dataclass(frozen=True)
class CtcAligner:
    """A ``Wav2Vec2ForCTC`` model of English letters, named as ``hub_models`` says."""

    model: str

    def recipe(self) -> dict:
        """What the words depend on. Raises AssetError without the model."""
        _symbols(self.model)  # what is no such model is refused before it is given to any worker
        return {
            "ctc": self.model,
            "code": 1,
            "sha256": model_sha256(self.model),
            "torch": version("torch").split("+")[0],  # the build (cpu, cuda) does not matter
            "transformers": version("transformers"),
            "av": version("av"),
        }

    def align(self, waveform: np.ndarray, tokens: Sequence[str]) -> tuple[Word, ...]:
        """As ``Aligner`` and ``align_tokens`` say.

        The confidence of a word is the geometric mean, over its frames, of the probability of the path's symbol.
        """
        return align_tokens(waveform, tokens, partial(self._find, waveform))

    def _find(self, waveform: np.ndarray, words: list[str]) -> list[Found]:
        blank, symbols = _blank(self.model), _symbols(self.model)
        log_probabilities, hop = _emissions(self.model, waveform)  # [F, V], seconds a frame
        letters = [[symbols[letter] for letter in word if letter in symbols] for word in words]
        labels = [label for word in letters for label in (*word, symbols[DELIMITER])][:-1]  # [L]
        path = viterbi(log_probabilities, labels, blank)
        if path is None:
            raise not_found(words, waveform)
        scores = log_probabilities[np.arange(len(path)), np.where(path < 0, blank, np.array(labels)[path])]  # [F]
        found = []
        first = 0  # label of the word
        for word in letters:
            frames = np.flatnonzero((path >= first) & (path < first + len(word)))
            begin, end = int(frames[0]), int(frames[-1]) + 1
            found.append(Found(begin * hop, end * hop, float(scores[begin:end].mean())))
            first += len(word) + 1
        return found


def viterbi(log_probabilities: np.ndarray, labels: Sequence[int], blank: int) -> np.ndarray | None:
    """The likeliest path of CTC (Graves et al., 2006) that spells ``labels``; None where the frames are too few.

    ``log_probabilities`` [F, V]. Returns int64 [F]: the place in ``labels`` of each frame's label, -1 for a blank.
    States are blank, label 0, blank, label 1, ..., blank. A path stays, goes on to the next state, or leaves out the
    blank between two labels that differ.
    """
    symbols = np.full(2 * len(labels) + 1, blank)  # [S]
    symbols[1::2] = labels
    may_leap = np.zeros(len(symbols), bool)
    may_leap[3::2] = symbols[3::2] != symbols[1:-2:2]
    came_from = np.zeros((len(log_probabilities), len(symbols)), np.int8)  # states back: 0, 1 or 2
    score = np.full(len(symbols), -np.inf)
    score[:2] = log_probabilities[0, symbols[:2]]
    for frame in range(1, len(log_probabilities)):
        ways = np.full((3, len(symbols)), -np.inf)
        ways[0] = score
        ways[1, 1:] = score[:-1]
        ways[2, 2:] = np.where(may_leap[2:], score[:-2], -np.inf)
        came_from[frame] = ways.argmax(axis=0)
        score = ways.max(axis=0) + log_probabilities[frame, symbols]
    state = len(symbols) - 1 if score[-1] >= score[-2] else len(symbols) - 2
    if not np.isfinite(score[state]):
        return None
    states = np.empty(len(log_probabilities), np.int64)
    for frame in range(len(states) - 1, -1, -1):
        states[frame] = state
        state -= int(came_from[frame, state])
    return np.where(states % 2 == 1, states // 2, -1)


def _emissions(name: str, waveform: np.ndarray) -> tuple[np.ndarray, float]:
    """(log probabilities float32 [F, V], seconds a frame) of a waveform [samples], a window at a time."""
    import torch

    normalise, model = _loaded(name)
    ratio = model.config.inputs_to_logits_ratio  # samples a frame
    samples = normalise(waveform, sampling_rate=media.SAMPLE_RATE, return_tensors="pt").input_values  # [1, samples]
    samples = torch.nn.functional.pad(samples, (0, 2 * ratio))  # the last frame looks that far beyond the end
    count = len(waveform) // ratio + 1
    parts = []
    for first in range(0, count, WINDOW):
        begin = max(0, first - MARGIN)
        heard = samples[:, begin * ratio : (first + WINDOW + MARGIN) * ratio]
        with torch.inference_mode(), one_thread():
            logits = model(heard).logits[0, first - begin :][: min(WINDOW, count - first)]
            parts.append(torch.log_softmax(logits, dim=-1).numpy())
    return np.concatenate(parts), ratio / media.SAMPLE_RATE


@cache
def _loaded(name: str):
    """(what normalises a waveform, the model)."""
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    folder = _folder(name)
    normalise = transformers.Wav2Vec2FeatureExtractor.from_pretrained(folder, local_files_only=True)
    model = transformers.Wav2Vec2ForCTC.from_pretrained(
        folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
    )
    return normalise, model.eval()


@cache
def _symbols(name: str) -> Mapping[str, int]:
    """The number of each letter, of the apostrophe if the model has one, and of the delimiter."""
    vocabulary = json.loads((_folder(name) / "vocab.json").read_text(encoding="utf-8"))
    symbols = {symbol.lower(): number for symbol, number in vocabulary.items() if len(symbol) == 1}
    if missing := sorted({*string.ascii_lowercase, DELIMITER} - symbols.keys()):
        raise AssetError(f"The CTC model {name} has no symbol for {' '.join(missing)}: name one of English letters.")
    return symbols


@cache
def _blank(name: str) -> int:
    return json.loads((_folder(name) / "config.json").read_text(encoding="utf-8"))["pad_token_id"]


@cache
def _folder(name: str) -> Path:
    """The folder with the model's files. Raises ``AssetError``."""
    folder = model_folder(name)
    if absent := [file for file in FILES if not (folder / file).is_file()]:
        raise AssetError(f"The CTC model {name} has no {' and no '.join(absent)}: choose one that has.")
    architectures = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("architectures")
    if architectures != ["Wav2Vec2ForCTC"]:
        raise AssetError(f"The model {name} is {architectures}, not a Wav2Vec2ForCTC: it does not give letters.")
    return folder
