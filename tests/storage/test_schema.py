"""Fingerprints name recipes; a data set whose parts do not fit cannot be made."""

import dataclasses

import numpy as np
import pytest

from storage.schema import fingerprint
from tests.storage.store_records import some_dataset


def test_fingerprint_is_stable_and_ignores_the_order_of_keys():
    assert fingerprint({"a": 1, "b": [2.5, "x"]}) == fingerprint({"b": (2.5, "x"), "a": 1}) == "5f097a2417b218fb"
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})


@pytest.mark.parametrize("recipe", [{"x": float("nan")}, {"x": np.zeros(2)}])
def test_fingerprint_refuses_what_json_cannot_say(recipe):
    with pytest.raises((TypeError, ValueError)):
        fingerprint(recipe)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("videos", ("v",)),
        ("labels", np.zeros(3, np.float32)),
        ("offsets", np.array([0, 3, 2, 8, 9])),
        ("offsets", np.array([0, 3, 3, 8, 8])),
        ("ends", np.zeros(8)),
        ("masks", {}),
        ("columns", {"glove": ("a",)}),
        ("features", {"glove": np.zeros((9, 5)), "vision": np.zeros((9, 3))}),
    ],
)
def test_a_data_set_names_the_part_that_does_not_fit(part, value):
    with pytest.raises(ValueError, match=part):
        dataclasses.replace(some_dataset(), **{part: value})
