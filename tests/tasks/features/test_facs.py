"""Action units are what the table says of the blendshapes it names."""

import numpy as np
import pytest

from tasks.features.facs import ACTION_UNITS, RULES, action_units
from tasks.features.vision import BLENDSHAPES

UNITS = {unit.number: unit for unit in ACTION_UNITS}


def measured(**shapes: float) -> dict[int, float]:
    values = np.array([[shapes.get(name, 0.0) for name in BLENDSHAPES]])
    return dict(zip(UNITS, action_units(values, BLENDSHAPES)[0], strict=True))


def test_the_table_has_the_units_of_the_field():
    assert list(UNITS) == [1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 18, 20, 23, 24, 25, 26, 28, 43]
    assert all(set(unit.blendshapes) <= set(BLENDSHAPES) and unit.rule in RULES for unit in ACTION_UNITS)
    assert UNITS[12].column.name == "AU12" and UNITS[12].column.source == "mean of mouthSmileLeft, mouthSmileRight"


@pytest.mark.parametrize(
    "shapes, expected",
    [
        ({"mouthSmileLeft": 0.8, "mouthSmileRight": 0.4}, {12: 0.6}),
        ({"browInnerUp": 0.7}, {1: 0.7}),
        ({"jawOpen": 0.6, "mouthClose": 0.2}, {25: 0.4, 26: 0.6}),
        ({"jawOpen": 0.1, "mouthClose": 0.2}, {25: 0.0, 26: 0.1}),
        ({"mouthRollLower": 0.5, "mouthRollUpper": 0.2}, {23: 0.5, 28: 0.2}),
        ({"eyeBlinkLeft": 1.0, "eyeBlinkRight": 0.8}, {43: 0.9}),
    ],
)
def test_a_unit_is_its_rule_over_its_blendshapes(shapes, expected):
    found = measured(**shapes)
    assert {number: found[number] for number in expected} == pytest.approx(expected)
    assert all(value == 0 for number, value in found.items() if number not in expected)


def test_units_lie_between_0_and_1_and_have_a_row_a_frame():
    values = np.random.default_rng(0).random((50, len(BLENDSHAPES)))
    units = action_units(values, BLENDSHAPES)
    assert units.shape == (50, 20) and units.min() >= 0 and units.max() <= 1
