"""What the report makes of results: who is compared with whom, what is best, which class was taken for which."""

from __future__ import annotations

import numpy as np
import pytest

from dmd_model.metrics import k_class_accuracy
from tasks.evaluate import METRICS, Row
from tasks.sections.results import best_models, confusion_counts, reference_model


@pytest.mark.parametrize(
    ("models", "reference"),
    [
        (["lmf", "dmd", "dmd@official-mosi"], "dmd"),
        (["lmf", "dmd@no-fd", "dmd@official-mosi"], "dmd@official-mosi"),
        (["lmf", "tfn"], "lmf"),
        (["dmd@no-fd", "dmd@no-ca"], "dmd@no-fd"),
    ],
)
def test_models_are_held_against_dmd_or_what_comes_nearest(models, reference):
    assert reference_model(models) == reference


def row(model: str, **values: float) -> Row:
    return Row(model, 1, dict.fromkeys(METRICS, np.nan) | values, {})


def test_the_best_has_the_lowest_error_or_the_highest_share_and_is_a_model():
    rows = [row("mean of training labels", mae=0.1, acc7=0.9), row("a", mae=0.5, acc7=0.4), row("b", mae=0.6, acc7=0.5)]
    assert best_models(rows) == {"mae": "a", "acc7": "b"}


def test_the_diagonal_of_a_confusion_is_acc_7():
    random = np.random.default_rng(0)
    labels, predictions = (random.uniform(-3.9, 3.9, 200) for _ in range(2))
    ids = [str(place) for place in range(200)]
    counts = confusion_counts(dict(zip(ids, predictions, strict=True)), dict(zip(ids, labels, strict=True)))
    assert counts.sum() == 200 and counts.trace() / 200 == pytest.approx(k_class_accuracy(predictions, labels, 3))


def test_a_confusion_has_the_true_class_in_its_rows():
    counts = confusion_counts({"a": 3.4, "b": 0.5}, {"a": -2.0, "b": 1.5})
    assert counts[1, 6] == 1 and counts[5, 3] == 1 and counts.sum() == 2, "halves are rounded to even"
