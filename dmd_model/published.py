"""What others published for these models on CMU-MOSI and CMU-MOSEI, to stand beside one's own figures.

Acc-7, Acc-2 and F1 (negative against positive) in per cent, on the official test split, most of them with one seed and
on features that differ from paper to paper. ``checked`` is False where a figure is quoted from memory of the literature
and was not held against a document.
"""

from __future__ import annotations

from dataclasses import dataclass

from dmd_model.registry import ablation


@dataclass(frozen=True)
class PublishedResult:
    """One row of somebody's table; ``setting`` says aligned or not, and which text features."""

    model: str
    dataset: str
    acc7: float
    acc2: float
    f1: float
    setting: str
    source: str
    checked: bool

    def __str__(self) -> str:
        doubt = "" if self.checked else ", not checked"
        return f"{self.acc7} / {self.acc2} / {self.f1} ({self.setting}; {self.source}{doubt})"


_GLOVE, _BERT, _UNALIGNED = "aligned, GloVe", "aligned, BERT", "unaligned, GloVe"
_MULT, _DMD, _ALMT = "Tsai et al. 2019", "Li et al. 2023", "table of Zhang et al. 2023 (ALMT)"
_DECALIGN = "table of DecAlign 2026"

RESULTS = (
    PublishedResult("dmd", "mosi", 41.4, 84.5, 84.4, _GLOVE, _DMD, True),
    PublishedResult("dmd", "mosi", 45.6, 86.0, 86.0, _BERT, _DMD, True),
    PublishedResult("dmd", "mosei", 53.7, 85.0, 84.9, _GLOVE, _DMD, True),
    PublishedResult("dmd", "mosei", 54.5, 86.6, 86.6, _BERT, _DMD, True),
    PublishedResult("ef-lstm", "mosi", 33.7, 75.3, 75.2, _GLOVE, _MULT, False),
    PublishedResult("ef-lstm", "mosei", 47.4, 78.2, 77.9, _GLOVE, _MULT, False),
    PublishedResult("lf-lstm", "mosi", 35.3, 76.8, 76.7, _GLOVE, _MULT, False),
    PublishedResult("lf-lstm", "mosei", 48.8, 80.6, 80.6, _GLOVE, _MULT, False),
    PublishedResult("tfn", "mosi", 32.1, 73.9, 73.4, _GLOVE, "literature", False),
    PublishedResult("tfn", "mosei", 50.2, 82.5, 82.1, _BERT, _ALMT, True),
    PublishedResult("lmf", "mosi", 32.8, 76.4, 75.7, _GLOVE, "literature", False),
    PublishedResult("lmf", "mosei", 48.0, 82.0, 82.1, _BERT, _ALMT, True),
    PublishedResult("mfm", "mosi", 36.2, 78.2, 78.1, _GLOVE, _DECALIGN, True),
    PublishedResult("mfm", "mosei", 51.3, 84.4, 84.3, _BERT, _ALMT, True),
    PublishedResult("raven", "mosi", 33.2, 78.0, 76.6, _GLOVE, _MULT, False),
    PublishedResult("raven", "mosei", 50.0, 79.1, 79.5, _GLOVE, _MULT, False),
    PublishedResult("mctn", "mosi", 35.6, 79.3, 79.1, _GLOVE, _MULT, False),
    PublishedResult("mctn", "mosei", 49.6, 79.8, 80.6, _GLOVE, _MULT, False),
    PublishedResult("mult", "mosi", 40.0, 83.0, 82.8, _GLOVE, _ALMT, True),
    PublishedResult("mult", "mosei", 51.8, 82.5, 82.3, _GLOVE, _ALMT, True),
    PublishedResult("pmr", "mosi", 40.6, 83.6, 83.4, _GLOVE, _ALMT, True),
    PublishedResult("pmr", "mosei", 52.5, 83.3, 82.6, _GLOVE, _ALMT, True),
    PublishedResult("misa", "mosi", 42.3, 83.4, 83.6, _BERT, _ALMT, True),
    PublishedResult("misa", "mosei", 52.2, 85.5, 85.3, _BERT, _ALMT, True),
    PublishedResult("fdmer", "mosi", 44.1, 84.6, 84.7, _BERT, _ALMT, True),
    PublishedResult("fdmer", "mosei", 54.1, 86.1, 85.8, _BERT, _ALMT, True),
    PublishedResult("mica", "mosi", 40.8, 82.6, 82.7, _UNALIGNED, "literature", False),
    PublishedResult("mica", "mosei", 52.4, 83.7, 83.3, _UNALIGNED, "literature", False),
)


def published_results(model: str, dataset: str) -> list[PublishedResult]:
    """What was published for a model on a data set, which is known by the start of its name.

    Whatever the preset; but nothing that was published is about an ablation.
    """
    if ablation(model):
        return []
    return [row for row in RESULTS
            if row.model == model.partition("@")[0] and dataset.lower().partition("-")[0] == row.dataset]  # fmt: skip
