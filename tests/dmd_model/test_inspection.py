"""A look into a trained DMD: what it gives belongs to the segment in whose place it stands."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch

from dmd_model.batch import Samples, Sequences
from dmd_model.checkpoint import load
from dmd_model.dmd import DMD
from dmd_model.fit import fit
from dmd_model.inspection import inspect
from dmd_model.prediction import prepare


@pytest.fixture(scope="module")
def trained(tmp_path_factory, make_samples) -> DMD:
    folder = tmp_path_factory.mktemp("run")
    splits = {"train": make_samples(24, 1, "a"), "valid": make_samples(8, 2, "b")}
    overrides = {"d": 8, "heads": 2, "max_epochs": 2, "label_range": (-6.0, 6.0)}
    fit("dmd", splits, seed=1, folder=folder, overrides=overrides)
    return load(folder)


def only(samples: Samples, place: int) -> Samples:
    """One segment, alone."""

    def cut(sequences: Sequences) -> Sequences:
        rows = slice(*sequences.offsets[place : place + 2])
        return Sequences(sequences.values[rows], np.array([0, rows.stop - rows.start]))

    return Samples(samples.ids[place : place + 1], samples.labels[place : place + 1],
                   *(cut(sequences) for sequences in samples.modalities.values()))  # fmt: skip


def test_each_segment_is_seen_as_if_it_were_alone(trained, make_samples):
    """Batches are of segments of like length, so the order of the samples is not theirs."""
    samples = make_samples(9, 4)
    together = inspect(trained, samples)
    for place in range(len(samples)):
        alone = inspect(trained, only(samples, place))
        for field in fields(together):
            whole, one = getattr(together, field.name), getattr(alone, field.name)
            np.testing.assert_allclose(whole[:, place], one[:, 0], atol=1e-5, err_msg=field.name)


def test_it_is_what_the_model_itself_gives_on_the_scale_of_the_labels(trained, make_samples):
    samples = make_samples(5, 4)
    found = inspect(trained, samples)
    with torch.inference_mode():
        output = trained(prepare(trained, samples).batch(np.arange(5)))
        homo, hetero = trained.units(output)
    np.testing.assert_allclose(found.common_readings, 2 * output.homo_logits.numpy(), atol=1e-5)
    np.testing.assert_allclose(found.specific_readings, 2 * output.hetero_logits.numpy(), atol=1e-5)
    np.testing.assert_allclose(found.homo_edges, homo.edges.numpy(), atol=1e-6)
    np.testing.assert_allclose(found.hetero_edges, hetero.edges.numpy(), atol=1e-6)
    steps = output.sequences.present[0, 0].sum()
    np.testing.assert_allclose(found.common[0, 0], output.sequences.common[0, 0, :steps].mean(dim=0), atol=1e-5)
    np.testing.assert_allclose(found.specific[2, 0], output.sequences.specific[2, 0, :steps].mean(dim=0), atol=1e-5)


def test_a_modality_that_is_not_there_says_nothing(trained, make_samples):
    samples = make_samples(4, 4)
    vision = samples.vision
    empty = Sequences(vision.values[:0], np.zeros(5, np.int64))
    found = inspect(trained, Samples(samples.ids, samples.labels, samples.text, empty, samples.audio))
    for values in (found.common, found.specific, found.common_readings, found.specific_readings):
        assert np.isnan(values[1]).all() and np.isfinite(values[[0, 2]]).all()
