"""Configs of models on projected sequences."""

import pytest

from dmd_model.baselines.projected import ProjectionConfig


def test_sizes_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="d = 10 is not a multiple of heads = 4"):
        ProjectionConfig(d=10, heads=4)
    with pytest.raises(ValueError, match=r"kernels = \(3, 2, 1\).*odd"):
        ProjectionConfig(kernels=(3, 2, 1))
