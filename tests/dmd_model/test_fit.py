"""The protocol: it learns, it is deterministic, it can be broken off at any point, and bad input is named."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

import numpy as np
import pytest
import torch

from dmd_model import checkpoint
from dmd_model.batch import DataError
from dmd_model.checkpoint import CheckpointError
from dmd_model.fit import DivergenceError, _Fit, fit, fit_in_turns, read_result
from dmd_model.prediction import predict
from dmd_model.seed_stack import SeedStack

REPOSITORY = Path(__file__).resolve().parents[2]


class Interrupted(Exception):
    pass


def interrupt_after(epoch: int):
    def on_epoch(record):
        if record["epoch"] == epoch:
            raise Interrupted

    return on_epoch


def without_times(result) -> tuple[dict, list]:
    record = {key: value for key, value in result.record.items() if key != "seconds"}
    return record, [{key: value for key, value in epoch.items() if key != "seconds"} for epoch in result.history]


def weights(result) -> bytes:
    return (result.folder / "model.safetensors").read_bytes()


@pytest.fixture(autouse=True)
def every_epoch_is_saved(monkeypatch):
    """However quick it is."""
    monkeypatch.setattr("dmd_model.fit._SAVING_SHARE", float("inf"))


@pytest.fixture
def unbroken(splits, small, tmp_path):
    return fit("dmd", splits, seed=7, overrides=small, folder=tmp_path / "unbroken")


def test_a_seed_decides_everything(splits, small, unbroken, tmp_path):
    again = fit("dmd", splits, seed=7, overrides=small, folder=tmp_path / "again")
    other = fit("dmd", splits, seed=8, overrides=small, folder=tmp_path / "other")
    assert without_times(again) == without_times(unbroken) and weights(again) == weights(unbroken)
    assert weights(other) != weights(unbroken)


def test_training_leaves_the_random_state_of_its_caller_alone(splits, small, tmp_path):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    fit("dmd", splits, seed=7, overrides=small, folder=tmp_path / "run")
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize("epoch", [1, 3])
def test_a_run_that_was_broken_off_ends_as_if_it_had_not_been(splits, small, unbroken, tmp_path, epoch):
    with pytest.raises(Interrupted):
        fit("dmd", splits, seed=7, overrides=small, folder=tmp_path / "run", on_epoch=interrupt_after(epoch))
    trained = []
    resumed = fit("dmd", splits, seed=7, overrides=small, folder=tmp_path / "run", on_epoch=trained.append)
    assert [record["epoch"] for record in trained] == list(range(epoch + 1, 5))
    assert without_times(resumed) == without_times(unbroken) and weights(resumed) == weights(unbroken)


def test_trainings_that_take_turns_end_as_if_each_were_alone(splits, small, unbroken, tmp_path):
    def turns(seed: int, name: str):
        settings = {"seed": seed, "overrides": small, "text_encoder": None, "device": "cpu", "on_epoch": None}
        settings["stack"] = SeedStack(3)
        return fit_in_turns("dmd", splits, folder=tmp_path / name, **settings)

    rounds = list(zip_longest(turns(7, "one"), turns(8, "two"), turns(7, "again")))
    assert len(rounds) > 4
    one, two, again = (read_result(tmp_path / name) for name in ("one", "two", "again"))
    assert without_times(one) == without_times(again) == without_times(unbroken)
    assert weights(one) == weights(again) == weights(unbroken) != weights(two)


@pytest.mark.parametrize("interval, batches, resumed_at", [(1e9, 3, 0), (-1.0, 1, 1), (-1.0, 3, 3)])
def test_a_run_that_was_killed_ends_as_if_it_had_not_been(
    splits, small, unbroken, tmp_path, monkeypatch, interval, batches, resumed_at
):
    """SIGKILL in the middle of the third epoch, in another process; the test process goes on from what is on disk: the
    second epoch's end, or the batch of the third that was saved last."""
    script = f"""
import os, signal, sys
sys.path.insert(0, {str(REPOSITORY)!r})
import torch
from tests.dmd_model.made_up import make_samples as make
from dmd_model import fit
torch.set_num_threads(1)
save = fit._Fit._save_if_due
def dying(self, seconds):
    save(self, seconds)
    if len(self.history) == 2 and self.batches_done == {batches}:
        os.kill(os.getpid(), signal.SIGKILL)
fit._SAVE_WITHIN_EPOCH, fit._SAVING_SHARE = {interval}, float("inf")
fit._Fit._save_if_due = dying
splits = {{"train": make(37, 1, "train"), "valid": make(11, 2, "valid"), "test": make(13, 3, "test")}}
fit.fit("dmd", splits, seed=7, overrides={small!r}, folder={str(tmp_path / "run")!r})
"""
    killed = subprocess.run([sys.executable, "-c", script], env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
    assert killed.returncode == -signal.SIGKILL
    first, train_epoch = [], _Fit._train_epoch
    monkeypatch.setattr(_Fit, "_train_epoch", lambda self: first.append(self.batches_done) or train_epoch(self))
    trained = []
    resumed = fit("dmd", splits, seed=7, overrides=small, folder=tmp_path / "run", on_epoch=trained.append)
    assert [record["epoch"] for record in trained] == [3, 4] and first[0] == resumed_at
    assert without_times(resumed) == without_times(unbroken) and weights(resumed) == weights(unbroken)


def test_a_torn_checkpoint_falls_back_to_the_one_before_it(splits, small, unbroken, tmp_path, caplog):
    with pytest.raises(Interrupted):
        fit("dmd", splits, seed=7, overrides=small, folder=tmp_path / "run", on_epoch=interrupt_after(3))
    newest = max((tmp_path / "run").glob("state-*"))
    newest.write_bytes(newest.read_bytes()[:-10])
    trained = []
    resumed = fit("dmd", splits, seed=7, overrides=small, folder=tmp_path / "run", on_epoch=trained.append)
    assert [record["epoch"] for record in trained] == [3, 4] and "is damaged" in caplog.text
    assert without_times(resumed) == without_times(unbroken) and weights(resumed) == weights(unbroken)


def test_a_finished_run_is_read_and_not_trained_again(splits, small, unbroken):
    trained = []
    again = fit("dmd", splits, seed=7, overrides=small, folder=unbroken.folder, on_epoch=trained.append)
    assert trained == [] and again.record == unbroken.record
    assert {path.name for path in unbroken.folder.iterdir()} == {
        "config.json", "history.json", "model.safetensors", "result.json"
    }  # fmt: skip


def test_the_folder_of_another_run_is_left_alone(splits, small, unbroken):
    before = {path: path.read_bytes() for path in unbroken.folder.iterdir()}
    with pytest.raises(CheckpointError, match=r"differs in config.d \(8, not 4\), seed \(7, not 9\)"):
        fit("dmd", splits, seed=9, overrides={**small, "d": 4}, folder=unbroken.folder)
    assert {path: path.read_bytes() for path in unbroken.folder.iterdir()} == before


def test_the_best_epoch_on_valid_is_what_is_kept_and_tested(splits, unbroken):
    """The model read back from disk gives the recorded predictions, and the lowest valid MAE of the history."""
    trained = checkpoint.load(unbroken.folder)
    for split in ("valid", "test"):
        predictions = predict(trained, splits[split])
        recorded = unbroken.record["predictions"][split]
        np.testing.assert_allclose(predictions, [recorded[i] for i in splits[split].ids], rtol=1e-6)
        error = np.abs(predictions - splits[split].labels).mean()
        assert unbroken.metrics[split]["mae"] == pytest.approx(error, rel=1e-5)
    best = min(unbroken.history, key=lambda record: record["valid_error"])
    assert unbroken.record["best_epoch"] == best["epoch"]
    assert unbroken.metrics["valid"]["mae"] == pytest.approx(best["valid_error"], rel=1e-6)


def test_the_history_holds_every_term_and_the_edges_of_both_units(unbroken):
    for record in json.loads((unbroken.folder / "history.json").read_text()):
        terms = record["train"]
        assert {"total", "task", "auxiliary", "reconstruction", "cycle", "orthogonality", "margin"} <= set(terms)
        assert sum(terms["edges_homo"]) == pytest.approx(3, abs=1e-4) and len(terms["edges_hetero"]) == 6


def test_without_a_test_split_nothing_is_tested(splits, small, unbroken, tmp_path):
    result = fit("dmd", {split: splits[split] for split in ("train", "valid")}, seed=7, overrides=small,
                 folder=tmp_path / "run")  # fmt: skip
    assert set(result.metrics) == {"valid"} and result.metrics["valid"] == unbroken.metrics["valid"]
    assert weights(result) == weights(unbroken)


def test_test_data_selects_nothing(splits, small, unbroken, tmp_path):
    """Other test labels change the test metrics and not one weight."""
    other = {**splits, "test": replace(splits["test"], labels=-splits["test"].labels)}
    result = fit("dmd", other, seed=7, overrides=small, folder=tmp_path / "other")
    assert weights(result) == weights(unbroken)
    assert result.metrics["test"] != unbroken.metrics["test"]


@pytest.mark.parametrize(
    "settings",
    [
        {"accumulate": 3},
        {"accumulate": 3, "mean_over_group": False, "step_leftover_group": False},
        {
            "mask_padding": False,
            "time_reduction": "flatten",
            "causal": True,
            "lengths": [9, 9, 9],
            "standardise": False,
        },
    ],
)
def test_the_other_settings_of_the_protocol_train(splits, small, tmp_path, settings):
    result = fit("dmd", splits, seed=7, overrides={**small, **settings}, folder=tmp_path / "run")
    first, *_, last = (record["train"]["total"] for record in result.history)
    assert last < first


def test_dmd_overfits_32_samples(make_samples, tmp_path):
    train = make_samples(32, 1, "train")
    settings = {"max_epochs": 50, "batch_size": 8, "learning_rate": 3e-3, "average_decay": 0.9, "d": 16, "layers": 1,
                "input_dropout": [0.0, 0.0, 0.0], "attention_dropout": [0.0, 0.0, 0.0], "memory_attention_dropout": 0.0,
                "embed_dropout": 0.0, "residual_dropout": 0.0, "output_dropout": 0.0}  # fmt: skip
    splits = {
        "train": train,
        "valid": replace(train, ids=tuple(f"v{i}" for i in train.ids)),
        "test": make_samples(5, 9),
    }
    result = fit("dmd", splits, seed=1, overrides=settings, folder=tmp_path / "run")
    assert result.metrics["valid"]["mae"] < 0.1


def test_dmd_beats_the_mean_on_segments_it_has_not_seen(make_samples, tmp_path):
    splits = {"train": make_samples(120, 1, "a"), "valid": make_samples(40, 2, "b"), "test": make_samples(60, 3, "c")}
    result = fit("dmd", splits, seed=1, overrides={"max_epochs": 8, "d": 16, "batch_size": 8}, folder=tmp_path / "run")
    of_mean = np.abs(splits["test"].labels - splits["train"].labels.mean()).mean()
    assert result.metrics["test"]["mae"] < 0.5 * of_mean
    assert result.metrics["test"]["corr"] > 0.8


def test_a_loss_that_is_not_finite_names_the_term_and_the_segments(splits, small, tmp_path):
    """Values that are finite, but whose squares are not."""
    splits["train"].text.values[:] *= 1e30
    with pytest.raises(DivergenceError, match=r"epoch 1: .*task.* not finite for segments train\d+, "):
        fit("dmd", splits, seed=7, overrides={**small, "standardise": False}, folder=tmp_path / "run")
    with pytest.raises(CheckpointError, match="no finished run"):
        read_result(tmp_path / "run")


def test_a_protocol_that_would_never_take_a_step_is_refused(splits, small, tmp_path):
    with pytest.raises(ValueError, match="37 training segments make 5 batches, fewer than accumulate = 10"):
        fit("dmd", splits, seed=7, overrides={**small, "accumulate": 10, "step_leftover_group": False},
            folder=tmp_path / "run")  # fmt: skip


@pytest.mark.parametrize(
    "change, sentence",
    [
        (lambda s: s.pop("valid"), "splits are train, valid, test; given: train, test"),
        (
            lambda s: s.update(valid=replace(s["valid"], ids=s["train"].ids[:11])),
            "train0 is twice in the data: in train",
        ),
        (lambda s: s.update(test=replace(s["test"], audio=s["test"].vision)), "the test split has other columns"),
        (lambda s: s["test"].vision.values.__setitem__((0, 0), np.nan), "nan in segment test0, column 0"),
        (lambda s: s["valid"].labels.__setitem__(1, np.nan), "segment valid1 has label nan"),
    ],
)
def test_bad_samples_are_refused_before_anything_is_written(splits, small, tmp_path, change, sentence):
    change(splits)
    with pytest.raises(DataError, match=sentence):
        fit("dmd", splits, seed=7, overrides=small, folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_labels_of_another_range_train_the_same_model(splits, small, unbroken, tmp_path):
    """Percent instead of -3 to 3: the weights are the same, predictions and MAE are in percent."""
    percent = {split: replace(part, labels=(part.labels + 3) / 6 * 100) for split, part in splits.items()}
    with pytest.raises(DataError, match="label_range says -3 to 3"):
        fit("dmd", percent, seed=7, overrides=small, folder=tmp_path / "run")
    result = fit("dmd", percent, seed=7, overrides={**small, "label_range": [0, 100]}, folder=tmp_path / "run")
    ours, standard = result.metrics["test"], unbroken.metrics["test"]
    assert ours["mae"] == pytest.approx(standard["mae"] * 100 / 6, rel=1e-4)
    assert (ours["acc7"], ours["acc2_nonzero"]) == (standard["acc7"], standard["acc2_nonzero"])
    recorded = np.array(list(result.record["predictions"]["test"].values()))
    expected = (np.array(list(unbroken.record["predictions"]["test"].values())) + 3) / 6 * 100
    np.testing.assert_allclose(recorded, expected, rtol=1e-4)
    np.testing.assert_allclose(predict(checkpoint.load(tmp_path / "run"), percent["test"]), recorded, rtol=1e-5)


def test_emotions_are_told_apart(make_samples, small, tmp_path):
    """Two emotions, one for each sign of the sentiment: their presence is predicted, as probabilities."""

    def emotional(samples):
        return replace(samples, labels=np.stack([samples.labels > 0.3, samples.labels < -0.3], 1).astype(np.float32))

    splits = {"train": make_samples(120, 1, "a"), "valid": make_samples(40, 2, "b"), "test": make_samples(60, 3, "c")}
    splits = {split: emotional(part) for split, part in splits.items()}
    settings = {**small, "d": 16, "emotions": ["happy", "sad"], "max_epochs": 8}
    result = fit("dmd", splits, seed=1, overrides=settings, folder=tmp_path / "run")
    assert result.metrics["test"]["happy_wacc"] > 0.75 and result.metrics["test"]["sad_f1"] > 0.75
    shares = predict(checkpoint.load(tmp_path / "run"), splits["test"])
    np.testing.assert_allclose(shares, list(result.record["predictions"]["test"].values()), rtol=1e-5)
    assert shares.shape == (60, 2) and 0 < shares.min() < 0.3 < 0.7 < shares.max() < 1
    with pytest.raises(DataError, match=r"labels of shape \(120, 2\); the model predicts a sentiment"):
        fit("dmd", splits, seed=1, overrides=small, folder=tmp_path / "other")


def test_prediction_needs_the_columns_of_training_and_no_labels(splits, unbroken):
    trained = checkpoint.load(unbroken.folder)
    unlabelled = replace(splits["test"], labels=np.full(13, np.nan, np.float32))
    assert np.isfinite(predict(trained, unlabelled)).all()
    with pytest.raises(DataError, match="audio: the columns are not those"):
        predict(trained, replace(unlabelled, audio=unlabelled.vision))


def test_a_folder_without_a_trained_model_is_named(tmp_path, unbroken):
    with pytest.raises(CheckpointError, match="has no config.json"):
        checkpoint.load(tmp_path)
    (unbroken.folder / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(CheckpointError, match="is not a model of its config.json"):
        checkpoint.load(unbroken.folder)
