"""The metrics, on cases small enough to work out by hand."""

import math

import numpy as np
import pytest

from dmd_model.metrics import RESAMPLES, evaluate, evaluate_emotions, paired_bootstrap


def test_halves_round_to_even_in_the_class_accuracies():
    """0.5 and -0.5 round to 0, 1.5 and 2.5 to 2: rounding away from zero would give 0 of 4."""
    metrics = evaluate(np.array([0.5, 1.5, 2.5, -0.5]), np.array([0.0, 2.0, 2.0, 0.0]))
    assert metrics["acc7"] == 1.0


def test_class_accuracies_clip_both_sides():
    """4 and 3 are one class of Acc-7; 3 and 2 are one class of Acc-5 but two of Acc-7."""
    metrics = evaluate(np.array([4.0, 3.0]), np.array([3.0, 2.0]))
    assert (metrics["acc7"], metrics["acc5"]) == (0.5, 1.0)


def test_the_two_conventions_of_acc2_treat_zero_differently():
    """The zero label is left out by one and positive for the other; a prediction of zero is not > 0 but >= 0."""
    metrics = evaluate(np.array([0.0, -1.0, 1.0, 0.0]), np.array([1.0, -1.0, 2.0, 0.0]))
    assert metrics["acc2_nonzero"] == pytest.approx(2 / 3)
    assert metrics["acc2_haszero"] == 1.0


def test_f1_is_weighted_by_the_support_of_the_true_classes():
    """Truth + + + -, predicted + + - -: F1 of + is 4/5, of - is 2/3; weighted by 3 and 1."""
    metrics = evaluate(np.array([1.0, 1.0, -1.0, -1.0]), np.array([1.0, 2.0, 3.0, -1.0]))
    assert metrics["f1_nonzero"] == pytest.approx((3 * 4 / 5 + 2 / 3) / 4)
    assert metrics["f1_haszero"] == metrics["f1_nonzero"]


def test_mae_and_correlation():
    metrics = evaluate(np.array([1.0, 2.0, 4.0]), np.array([1.0, 1.0, 2.0]))
    assert metrics["mae"] == pytest.approx(1.0)
    assert metrics["corr"] == pytest.approx(5 / (2 * math.sqrt(7)))
    assert metrics["n"] == 3


@pytest.mark.parametrize("predictions, labels", [([1.0, 1.0], [0.0, 2.0]), ([1.0, 2.0], [1.0, 1.0]), ([1.0], [2.0])])
def test_the_correlation_of_what_does_not_vary_is_nan(predictions, labels):
    assert math.isnan(evaluate(np.array(predictions), np.array(labels))["corr"])


def test_without_a_nonzero_label_the_nonzero_metrics_are_nan():
    metrics = evaluate(np.array([0.2, -0.1]), np.zeros(2))
    assert math.isnan(metrics["acc2_nonzero"]) and math.isnan(metrics["f1_nonzero"])
    assert metrics["acc2_haszero"] == 0.5


@pytest.mark.parametrize(
    "predictions, labels, sentence",
    [
        ([], [], "at least one"),
        ([1.0], [1.0, 2.0], "1 predictions, 2 labels"),
        ([1.0, np.nan], [1.0, 2.0], "prediction 1"),
        ([1.0], [np.inf], "label 0"),
    ],
)
def test_input_without_a_meaning_is_refused(predictions, labels, sentence):
    with pytest.raises(ValueError, match=sentence):
        evaluate(np.array(predictions), np.array(labels))


def test_metrics_of_emotions_are_by_hand():
    """Four samples: of two that are happy one is found, and of two that are not both; nobody is afraid."""
    logits = np.array([[2.0, -1.0], [-1.0, -1.0], [-2.0, 1.0], [-0.5, -3.0]])
    labels = np.array([[1, 0], [1, 0], [0, 0], [0, 0]])
    found = evaluate_emotions(logits, labels, ("happy", "afraid"))
    assert found["happy_wacc"] == (0.5 + 1) / 2 and np.isnan(found["afraid_wacc"])
    assert found["happy_f1"] == pytest.approx((2 / 3 + 4 / 5) / 2)
    probability = 1 / (1 + np.exp(-logits))
    assert found["error"] == pytest.approx(-np.log(np.where(labels, probability, 1 - probability)).mean())
    with pytest.raises(ValueError, match="a logit for each label"):
        evaluate_emotions(logits, labels, ("happy",))


def test_equal_errors_are_neither_lower_nor_higher():
    errors = np.random.default_rng(0).random(50)
    found = paired_bootstrap(errors, errors)
    assert (found.difference, found.low, found.high, found.lower, found.higher) == (0.0, 0.0, 0.0, 0.0, 0.0)


def test_what_is_lower_in_every_segment_is_lower_in_every_resample():
    errors = np.random.default_rng(0).random(50)
    found = paired_bootstrap(errors, errors + 0.25)
    assert (found.lower, found.higher) == (1.0, 0.0)
    assert found.difference == pytest.approx(-0.25) and found.low == pytest.approx(found.high) == pytest.approx(-0.25)


@pytest.mark.parametrize("count", [40, 3000])
def test_the_interval_is_that_of_the_mean_difference(count):
    """Of many segments: the mean plus and minus 1.96 standard errors; swapping the sides mirrors it."""
    random = np.random.default_rng(count)
    first, second = random.normal(size=count), random.normal(0.1, 1, count)
    found, mirrored = paired_bootstrap(first, second), paired_bootstrap(second, first)
    differences = first - second
    half = 1.96 * differences.std() / math.sqrt(count)
    assert found.difference == pytest.approx(differences.mean())
    assert found.low == pytest.approx(differences.mean() - half, abs=0.15 * half)
    assert found.high == pytest.approx(differences.mean() + half, abs=0.15 * half)
    assert (mirrored.lower, mirrored.higher) == (found.higher, found.lower)
    assert found == paired_bootstrap(first, second), "the draws are always the same"


def test_two_segments_are_drawn_as_often_as_they_should():
    """Of differences -1 and 3 a resample is negative where both draws are the first: in one of four."""
    found = paired_bootstrap(np.array([0.0, 3.0]), np.array([1.0, 0.0]))
    assert found.lower == pytest.approx(1 / 4, abs=4 * math.sqrt(3 / 16 / RESAMPLES))
    assert found.lower + found.higher == 1.0


@pytest.mark.parametrize("second", [[1.0], [1.0, 2.0, 3.0], [[1.0, 2.0]], [1.0, np.nan]])
def test_values_that_do_not_pair_are_refused(second):
    with pytest.raises(ValueError, match="two values a segment|not finite"):
        paired_bootstrap(np.array([1.0, 2.0]), np.array(second))
    with pytest.raises(ValueError, match="two values a segment"):
        paired_bootstrap(np.array([]), np.array([]))
