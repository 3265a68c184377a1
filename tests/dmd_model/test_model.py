"""A trained model leaves as a folder or as an ONNX file, and comes back the same."""

import json

import numpy as np
import pytest
import torch

from dmd_model import checkpoint
from dmd_model.baselines.lmf import LMF
from dmd_model.checkpoint import CheckpointError
from dmd_model.config import DMDConfig
from dmd_model.dmd import DMD
from dmd_model.fit import fit
from dmd_model.model import Model
from dmd_model.prediction import predict
from tests.dmd_model.made_up import make_samples

SMALL = {"d": 8, "heads": 2, "max_epochs": 2}


@pytest.fixture(scope="module")
def splits():
    return {split: make_samples(count, seed, split) for seed, (split, count) in
            enumerate({"train": 37, "valid": 11, "test": 13}.items())}  # fmt: skip


@pytest.fixture(scope="module")
def trained(splits, tmp_path_factory):
    return fit("dmd", splits, seed=1, overrides=SMALL, folder=tmp_path_factory.mktemp("dmd"))


def test_a_run_s_folder_is_a_pretrained_model(trained, splits):
    model = DMD.from_pretrained(trained.folder)
    recorded = list(trained.record["predictions"]["test"].values())
    np.testing.assert_allclose(predict(model, splits["test"]), recorded, rtol=1e-5)


def test_what_is_saved_comes_back_with_its_figures(trained, splits, tmp_path):
    model = DMD.from_pretrained(trained.folder)
    model.save_pretrained(tmp_path / "saved")
    again = Model.from_pretrained(tmp_path / "saved")
    assert type(again) is DMD and again.run.seed == 1 and again.result == trained.record
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    card = (tmp_path / "saved" / "README.md").read_text()
    assert f"| MAE | {trained.metrics['valid']['mae']:.3f} | {trained.metrics['test']['mae']:.3f} |" in card
    assert trained.record["data"] in card and "## Limits" in card


def test_another_class_or_an_untrained_model_is_refused(trained, tmp_path):
    with pytest.raises(CheckpointError, match="holds a model of class DMD, not LMF"):
        LMF.from_pretrained(trained.folder)
    with pytest.raises(CheckpointError, match="this DMD was not trained"):
        DMD(DMDConfig(d=8, heads=2), (3, 2, 1)).save_pretrained(tmp_path / "saved")
    assert not list((tmp_path / "saved").iterdir())


@pytest.mark.parametrize("name", ["dmd", "mult"])
def test_onnx_gives_the_same_predictions(name, splits, tmp_path):
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    from dmd_model.onnx_export import INPUTS, export_onnx

    run = fit(name, splits, seed=1, overrides={**SMALL, "layers": 1}, folder=tmp_path / "run")
    model = checkpoint.load(run.folder)
    export_onnx(model, tmp_path / "model.onnx")
    session = runtime.InferenceSession(tmp_path / "model.onnx")
    test = splits["test"]
    padded = {part: array.numpy() for part, array in zip(INPUTS, _padded(test), strict=True)}
    found = session.run(["prediction"], padded)[0]
    np.testing.assert_allclose(found, predict(model, test), atol=1e-4)
    one = {part: array[:, :1] if part == "lengths" else array[:1] for part, array in padded.items()}
    np.testing.assert_allclose(session.run(["prediction"], one)[0], found[:1], atol=1e-5)


def _padded(samples):
    """The inputs of an exported model, from features as they are."""
    features, measured, lengths = [], [], []
    for sequences in samples.modalities.values():
        rows = [slice(*pair) for pair in zip(sequences.offsets, sequences.offsets[1:], strict=False)]
        pad = torch.nn.utils.rnn.pad_sequence
        features.append(pad([torch.from_numpy(sequences.values[at]) for at in rows], batch_first=True))
        measured.append(pad([torch.from_numpy(sequences.measured[at]) for at in rows], batch_first=True))
        lengths.append(torch.from_numpy(np.diff(sequences.offsets)))
    return (*features, *measured, torch.stack(lengths))


def test_a_recurrent_model_is_not_exported(splits, tmp_path):
    from dmd_model.onnx_export import export_onnx

    run = fit("lf-lstm", splits, seed=1, overrides={"max_epochs": 1}, folder=tmp_path / "run")
    with pytest.raises(CheckpointError, match="lf-lstm cannot be exported: ONNX has no recurrence"):
        export_onnx(checkpoint.load(run.folder), tmp_path / "model.onnx")
    assert json.loads((run.folder / "config.json").read_text())["model"] == "lf-lstm"
    assert not (tmp_path / "model.onnx").exists()
