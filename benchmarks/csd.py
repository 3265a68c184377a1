"""How long word alignment of computational sequences takes, beside comparing every word with every interval.

``python -m benchmarks.csd``: made-up sequences of the size of CMU-MOSI (93 videos of 100 s, 280 words each; GloVe a
word, FACET 30 times and COVAREP 100 times a second), 4 and 16 times as many, and videos 4 and 16 times as long. The
peer is the definition, written below, as the SDK's ``align`` goes about it; it is timed on a few words of each video,
and both give the same. Seconds are of processor time, so that other work on the machine does not count.
"""

from __future__ import annotations

import time

import numpy as np

from storage.interchange.csd_alignment import EPSILON, overlap_means

VIDEOS, SECONDS, WORDS = 93, 100, 280
RATES = {"FACET": (30, 47), "COVAREP": (100, 74)}
CASES = ((1, 1), (4, 1), (16, 1), (1, 4), (1, 16))
"""How many times as many videos, and how many times as long."""
PEER_WORDS = 5
"""Words of each video on which the peer is timed."""


def main() -> None:
    print("| videos | words a video | intervals | aligned in | of 1 x | ours, a word | peer, a word | ratio |")
    print("|---" * 8 + "|")
    first = None
    for more, longer in CASES:
        videos, words = VIDEOS * more, WORDS * longer
        ours, peer, intervals = measure(videos, longer)
        first = first or ours
        cells = [f"{videos:,}", f"{words:,}", f"{intervals:,}", f"{ours:.2f} s", f"{ours / first:.1f}"]
        a_word = ours / videos / words
        cells += [f"{1e3 * a_word:.3f} ms", f"{1e3 * peer:.3f} ms", f"{peer / a_word:.0f} x"]
        print("| " + " | ".join(cells) + " |", flush=True)


def measure(videos: int, longer: int) -> tuple[float, float, int]:
    """(seconds for all words, seconds of the peer for one word, intervals) over all sequences."""
    random = np.random.default_rng(0)
    ours = peer = 0.0
    intervals = 0
    for _ in range(videos):
        cuts = np.sort(random.uniform(0, SECONDS * longer, WORDS * longer + 1))
        words = np.stack([cuts[:-1], cuts[1:]], axis=1)
        some = random.integers(0, len(words), PEER_WORDS)
        sequences = [(words, random.random((len(words), 300), np.float32))]
        for rate, width in RATES.values():
            edges = np.arange(SECONDS * longer * rate + 1) / rate
            features = random.random((len(edges) - 1, width), np.float32)
            sequences.append((np.stack([edges[:-1], edges[1:]], axis=1), features))
        for spans, features in sequences:
            began = time.process_time()
            means, _ = overlap_means(words, spans, features)
            ended = time.process_time()
            plain = np.stack([by_comparison(word, spans, features) for word in words[some]])
            peer += (time.process_time() - ended) / PEER_WORDS
            ours += ended - began
            intervals += len(spans)
            np.testing.assert_allclose(means[some], plain, atol=1e-9)
    return ours, peer / videos, intervals


def by_comparison(word: np.ndarray, spans: np.ndarray, features: np.ndarray) -> np.ndarray:
    """The mean [D] over every interval that overlaps the word."""
    overlaps = (spans[:, 0] < word[1] + EPSILON) & (spans[:, 1] > word[0] - EPSILON)
    return features[overlaps].mean(axis=0, dtype=np.float64)


if __name__ == "__main__":
    main()
