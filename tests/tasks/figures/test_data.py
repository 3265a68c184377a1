"""The picture of a segment can be drawn whatever is in it."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest

from tasks.figures import style, svg
from tasks.figures.data import Track, aligned_segment
from tests.tasks.funnel_store import HOSTILE

MATHS = (r"$\frac$", "$5-$10", "a_b^c", r"\alpha", "%", "{}", "né", "電影", "😀")
pytestmark = pytest.mark.filterwarnings("ignore:Glyph .* missing from font")


@pytest.mark.parametrize("word", [HOSTILE, *MATHS])
def test_any_word_can_stand_in_the_picture_of_a_segment(word):
    """As it is written: a dollar sign is no formula."""
    track = Track(np.array([0.0, 0.5]), np.array([0.5, 1.0]), np.array([0.0, 1.0]))
    with style():
        drawn = aligned_segment(
            np.zeros(16_000, np.float32), 16_000, [], [(word, 0.0, 0.5), ("b", 0.5, 1.0)], {word: track}
        )
        text = svg(drawn.figure)
    assert word in "".join(ElementTree.fromstring(text).itertext())


def test_a_segment_without_faces_or_tracks_can_be_drawn():
    drawn = aligned_segment(np.zeros(160, np.float32), 16_000, [], [("a", 0.0, 0.01)], {})
    ElementTree.fromstring(svg(drawn.figure))
    assert drawn.numbers == [{"track": "word", "start": 0.0, "end": 0.01, "value": "a"}]
