"""How words are pronounced: the dictionary that ships with pocketsphinx, and for other words a neural guess."""

from __future__ import annotations

import re
from collections import defaultdict
from functools import cache
from pathlib import Path

import numpy as np
import pocketsphinx

from tasks.assets import fetch

G2P_MODEL = "checkpoint20.npz"

_VOWELS = "AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW".split()
_CONSONANTS = "B CH D DH F G HH JH K L M N NG P R S SH T TH V W Y Z ZH".split()
_GRAPHEMES = ["<pad>", "<unk>", "</s>", *"abcdefghijklmnopqrstuvwxyz"]
_PHONEMES = [
    *("<pad>", "<unk>", "<s>", "</s>"),
    *sorted([*(vowel + stress for vowel in _VOWELS for stress in "012"), *_CONSONANTS, "UW"]),
]
_LONGEST = 30  # phones of a guessed word: a decoder that does not come to an end is stopped here


def pronunciations(word: str) -> tuple[str, ...]:
    """Phones (ARPAbet without stress, separated by spaces) of a lower-case word of letters and apostrophes.

    Every reading of the dictionary; else the G2P model's guess; else (``hdtv``: no vowel) the names of the letters.
    """
    bare = word.strip("'")
    if known := dictionary().get(word) or dictionary().get(bare):
        return known
    letters = bare.replace("'", "")
    guessed = guess(letters) if re.search("[aeiouy]", letters) else ""
    return (guessed or " ".join(dictionary()[letter][0] for letter in letters),)


@cache
def dictionary() -> dict[str, tuple[str, ...]]:
    """CMUdict as pocketsphinx ships it: word -> its pronunciations."""
    readings: dict[str, list[str]] = defaultdict(list)
    with Path(pocketsphinx.get_model_path("en-us/cmudict-en-us.dict")).open(encoding="utf-8") as lines:
        for line in lines:
            word, phones = line.rstrip("\n").split(" ", 1)
            readings[word.split("(")[0]].append(phones)
    return {word: tuple(phones) for word, phones in readings.items()}


@cache
def guess(letters: str) -> str:
    """Grapheme to phoneme with the encoder-decoder of g2p_en (Park and Kim, 2019): two GRUs, greedy."""
    model = _g2p_model()
    hidden = np.zeros(model["enc_w_hh"].shape[1], np.float32)  # [H]
    for letter in [*letters, "</s>"]:
        hidden = _gru(model, "enc", model["enc_emb"][_GRAPHEMES.index(letter)], hidden)
    phones: list[str] = []
    phone = "<s>"
    while len(phones) < _LONGEST:
        hidden = _gru(model, "dec", model["dec_emb"][_PHONEMES.index(phone)], hidden)
        phone = _PHONEMES[int(np.argmax(model["fc_w"] @ hidden + model["fc_b"]))]
        if phone == "</s>":
            break
        phones.append(phone)
    return " ".join(phone.rstrip("012") for phone in phones if not phone.startswith("<"))


def _gru(model: dict[str, np.ndarray], part: str, x: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """One step [H] of a gated recurrent unit, gates in the order reset, update, new."""
    from_input = model[f"{part}_w_ih"] @ x + model[f"{part}_b_ih"]  # [3 H]
    from_hidden = model[f"{part}_w_hh"] @ hidden + model[f"{part}_b_hh"]  # [3 H]
    size = len(hidden)
    reset, update = np.split(1 / (1 + np.exp(-(from_input + from_hidden)[: 2 * size])), 2)
    new = np.tanh(from_input[2 * size :] + reset * from_hidden[2 * size :])
    return (1 - update) * new + update * hidden


@cache
def _g2p_model() -> dict[str, np.ndarray]:
    with np.load(fetch(G2P_MODEL), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays}
