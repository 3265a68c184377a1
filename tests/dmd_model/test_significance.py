"""p-values: of one comparison, and of many."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmd_model.metrics import RESAMPLES, paired_bootstrap
from dmd_model.significance import holm, two_sided


def test_equal_models_do_not_differ_and_one_that_is_always_worse_does():
    errors = np.random.default_rng(0).uniform(0, 2, 50)
    assert two_sided(paired_bootstrap(errors, errors)) == 1
    assert two_sided(paired_bootstrap(errors + 0.1, errors)) == pytest.approx(2 / (RESAMPLES + 1))


def test_the_order_of_the_two_models_does_not_matter():
    first, second = np.random.default_rng(1).uniform(0, 2, (2, 40))
    assert two_sided(paired_bootstrap(first, second)) == pytest.approx(two_sided(paired_bootstrap(second, first)))


def test_the_p_value_is_that_of_the_normal_distribution_where_that_holds():
    draws = np.random.default_rng(2).normal(size=400)
    differences = (draws - draws.mean()) / draws.std() + 0.1  # two standard errors from zero
    assert two_sided(paired_bootstrap(differences, np.zeros(400))) == pytest.approx(0.0455, abs=0.01)


def test_holm_steps_down():
    """0.005 counts four times, 0.01 three times, 0.03 twice, and 0.04 once, but no less than 0.03 does."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == [] and holm([0.2]) == [0.2]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_a_corrected_p_value_is_no_smaller_keeps_its_rank_and_stays_under_bonferronis(p_values):
    corrected = holm(p_values)
    for p, q in zip(p_values, corrected, strict=True):
        assert p <= q <= min(1, p * len(p_values)) + 1e-12
    assert [corrected[place] for place in np.argsort(p_values, kind="stable")] == sorted(corrected)
