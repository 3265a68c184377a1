"""Small made-up samples whose label is partly in the words, partly in the face and partly in the voice."""

from dataclasses import replace

import numpy as np

from dmd_model.batch import PIECES, Samples, Sequences

WIDTHS = {"text": 6, "vision": 5, "audio": 4}


def make_samples(count: int, seed: int = 0, prefix: str = "video", longest: int = 9) -> Samples:
    """``count`` segments of 2 to ``longest`` words, labels in [-3, 3]."""
    random = np.random.default_rng(seed)
    lengths = random.integers(2, longest + 1, count)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    labels = np.zeros(count)
    modalities = {}
    for name, width in WIDTHS.items():
        values = random.normal(size=(offsets[-1], width)).astype(np.float32)
        level = random.uniform(-1, 1, count)
        values[:, 0] += 3 * np.repeat(level, lengths)
        labels += level
        modalities[name] = Sequences(values, offsets)
    return Samples(tuple(f"{prefix}{i}" for i in range(count)), labels.astype(np.float32), **modalities)


def pieces(samples: Samples) -> Samples:
    """The same segments, with word pieces for text: each word has one or two, between a first and a last mark."""
    random, rows, offsets = np.random.default_rng(0), [], [0]
    for count in np.diff(samples.text.offsets):
        words = np.repeat(np.arange(1, count + 1), random.integers(1, 3, count))
        numbers = [1, *random.integers(3, 50, len(words)), 2]
        rows += list(zip(numbers, [0, *words, 0], strict=True))
        offsets.append(len(rows))
    return replace(samples, text=Sequences(np.array(rows, np.float32), np.array(offsets), columns=PIECES))
