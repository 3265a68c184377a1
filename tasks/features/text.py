"""What is said: a vector for each word of a transcript."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import ClassVar

import numpy as np

from storage.schema import Frames
from tasks.features.spoken import with_apostrophe
from tasks.features.word_vectors import READY, vectors_source, word_vectors
from tasks.hub_models import model_folder, model_sha256


@dataclass(frozen=True)
class Glove:
    """GloVe vectors (Pennington et al., 2014), looked up in lower case.

    ``vectors`` names them, as ``word_vectors`` says.
    """

    vectors: str = READY

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(f"glove{i}" for i in range(word_vectors(self.vectors)[1].shape[1]))

    def recipe(self) -> dict:
        source, sha256 = vectors_source(self.vectors)
        return {"code": 1, source: sha256}

    def measure(self, tokens: Sequence[str]) -> Frames:
        """One row a token. A token of several known parts (``it's``, ``well-known``) has their mean; an unknown one
        has zeros and mask False. ``times`` are positions."""
        rows_of, vectors = word_vectors(self.vectors)
        values = np.zeros((len(tokens), vectors.shape[1]), np.float32)
        mask = np.zeros(len(tokens), bool)
        for position, token in enumerate(tokens):
            if rows := [rows_of[part] for part in _known_parts(token, rows_of)]:
                values[position] = vectors[rows].mean(axis=0)
                mask[position] = True
        return Frames(values, np.arange(len(tokens), dtype=np.float64), mask)


def _known_parts(token: str, vocabulary: dict[str, int]) -> list[str]:
    """The parts of a token that are in the vocabulary: all of it, else its pieces as GloVe's tokenizer cut them."""
    plain = unicodedata.normalize("NFKC", token).lower().replace("’", "'")
    bare = plain.strip("\"'`.,;:!?()[]{}<>*_-…“”‘")
    word = with_apostrophe(bare)
    if word == bare:  # a contraction without its apostrophe is in the vocabulary, but as a rare misspelling
        for whole in (plain, bare):
            if whole in vocabulary:
                return [whole]
    # Stanford's tokenizer writes "do n't", "it 's"; hyphens and slashes join words.
    pieces = re.sub(r"(n't|'(?:s|m|re|ve|ll|d))$", r" \1", word)
    return [piece for piece in re.split(r"[\s\-–—/.]+", pieces) if piece in vocabulary]


@dataclass(frozen=True)
class Bert:
    """Last hidden states of a BERT-family encoder; a word has the mean of its pieces.

    ``encoder`` is named as ``hub_models`` says. A text longer than the encoder can read is read in windows that overlap
    by half; a piece in two of them has the mean of both.
    """

    encoder: str

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(f"hidden{i}" for i in range(_hidden_size(self.encoder)))

    def recipe(self) -> dict:
        return {
            "encoder": self.encoder,
            "code": 1,
            "torch": version("torch").split("+")[0],  # the build (cpu, cuda) does not matter
            "transformers": version("transformers"),
            "sha256": model_sha256(self.encoder),
        }

    def measure(self, tokens: Sequence[str]) -> Frames:
        """Frames [W, H], one row a token; zeros and mask False for one of which the tokenizer keeps nothing.

        ``times`` are positions.
        """
        sums = np.zeros((len(tokens), _hidden_size(self.encoder)))
        counts = np.zeros(len(tokens), np.int64)
        for positions, states in _windows(self.encoder, tokens):
            np.add.at(sums, positions, states)
            np.add.at(counts, positions, 1)
        values = (sums / np.maximum(counts, 1)[:, None]).astype(np.float32)
        return Frames(values, np.arange(len(tokens), dtype=np.float64), counts > 0)


@dataclass(frozen=True)
class Pieces:
    """Word pieces as numbers, for models that fine-tune the encoder that reads them.

    ``encoder`` is named as ``hub_models`` says.
    """

    encoder: str

    columns: ClassVar[tuple[str, ...]] = ("piece", "word")

    def recipe(self) -> dict:
        return {
            "encoder": self.encoder,
            "code": 1,
            "transformers": version("transformers"),
            "sha256": model_sha256(self.encoder),
        }

    def measure(self, tokens: Sequence[str]) -> Frames:
        """Frames [P, 2], one row a piece: its number in the encoder's vocabulary, and that of its token.

        Tokens count from 1; the marks at beginning and end have 0. ``times`` are positions.
        """
        found = tokenizer(self.encoder)(list(tokens), is_split_into_words=True, truncation=False, verbose=False)
        words = [0 if word is None else word + 1 for word in found.word_ids()]
        values = np.array([found["input_ids"], words], np.float32).T  # whole numbers up to 2**24 are exact
        return Frames(values, np.arange(len(words), dtype=np.float64), np.ones(len(words), bool))


def _windows(encoder: str, tokens: Sequence[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(position of the token int64 [P], hidden state float32 [P, H]) of the word pieces of each window."""
    if not tokens:
        return
    import torch

    pieces_of, model = tokenizer(encoder), _encoder(encoder)
    limit = min(pieces_of.model_max_length, model.config.max_position_embeddings)
    windows = pieces_of(
        list(tokens),
        is_split_into_words=True,
        truncation=True,
        max_length=limit,
        stride=limit // 2,
        return_overflowing_tokens=True,
    )
    for number, piece_ids in enumerate(windows["input_ids"]):
        with torch.inference_mode(), one_thread():
            states = model(torch.tensor([piece_ids])).last_hidden_state[0].numpy()  # [P, H]
        tokens_of_pieces = windows.word_ids(number)  # None for the marks of beginning and end
        kept = [piece for piece, token in enumerate(tokens_of_pieces) if token is not None]
        yield np.array([tokens_of_pieces[piece] for piece in kept], np.int64), states[kept]


@cache
def _hidden_size(encoder: str) -> int:
    return json.loads((model_folder(encoder) / "config.json").read_text(encoding="utf-8"))["hidden_size"]


@cache
def tokenizer(encoder: str):
    """Of an encoder, from its folder alone."""
    import transformers

    return transformers.AutoTokenizer.from_pretrained(model_folder(encoder), local_files_only=True)


@cache
def _encoder(encoder: str):
    """The model, from its folder alone."""
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    folder = model_folder(encoder)
    model = transformers.AutoModel.from_pretrained(
        folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
    )
    return model.eval()


@contextmanager
def one_thread() -> Iterator[None]:
    """Segments run in parallel, not the parts of one; and sums in another order would be other numbers."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
