"""Small made-up samples whose label is partly in the words, partly in the face and partly in the voice."""

import numpy as np

from dmd_model.batch import Samples, Sequences

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
