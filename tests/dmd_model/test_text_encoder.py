"""A text encoder that is trained with a model: word vectors from pieces, and the whole protocol with it."""

import numpy as np
import pytest
import torch
from transformers import BertModel

from dmd_model import checkpoint
from dmd_model.batch import Batch, DataError
from dmd_model.dmd import DMD, DMDConfig
from dmd_model.fit import fit
from dmd_model.prediction import predict
from dmd_model.registry import configure, model_class
from dmd_model.text_encoder import FineTuned, TextEncoder, load_weights
from tests.dmd_model.made_up import make_samples, pieces

SMALL = {"d": 8, "heads": 2, "layers": 1, "memory_layers": 1, "max_epochs": 3}


@pytest.fixture
def splits():
    counts = {"train": 20, "valid": 8, "test": 8}
    return {split: pieces(make_samples(n, seed, split)) for seed, (split, n) in enumerate(counts.items())}


def test_a_word_has_the_mean_of_its_pieces_whatever_the_padding(small_bert):
    encoder = TextEncoder.at(small_bert).build()
    load_weights(encoder, small_bert)
    model = FineTuned(encoder, DMD(DMDConfig(d=8, heads=2, lengths=(3, 50, 50)), (12, 5, 4))).eval()
    text = torch.tensor([[[1, 0], [7, 1], [8, 2], [9, 2], [2, 0], [0, 0]],
                         [[1, 0], [5, 1], [6, 2], [7, 3], [8, 4], [2, 0]],
                         [[0, 0]] * 6], dtype=torch.float32)  # fmt: skip
    lengths = torch.tensor([[5, 6, 0], [1, 1, 1], [1, 1, 1]])
    batch = Batch(("a", "b", "c"), text, torch.randn(3, 1, 5), torch.randn(3, 1, 4), lengths, torch.zeros(3))
    encoded = model.encode(batch)
    states = BertModel.from_pretrained(small_bert)(torch.tensor([[1, 7, 8, 9, 2]])).last_hidden_state[0]
    expected = torch.stack([states[1], states[2:4].mean(dim=0), torch.zeros(12)])
    torch.testing.assert_close(encoded.text[0], expected, rtol=1e-4, atol=1e-5)
    assert encoded.lengths[0].tolist() == [2, 3, 0]  # the fourth word of the second is beyond what the model takes
    assert torch.isfinite(model(batch).prediction).all()


@pytest.mark.parametrize("name", ["dmd", "dmd@official-mosi", "mult", "ef-lstm"])
def test_encoder_and_model_are_trained_together(splits, small_bert, tmp_path, name):
    settings = {"max_epochs": 2, "text_learning_rate": 1e-3, "accumulate": 1, "lengths": [9, 9, 9]}
    result = fit(name, splits, seed=1, overrides=settings, text_encoder=small_bert, folder=tmp_path / "run")
    trained = checkpoint.load(tmp_path / "run")
    before = BertModel.from_pretrained(small_bert).state_dict()
    moved = {n for n, value in trained.encoder.state_dict().items() if not torch.equal(value, before[n])}
    assert "encoder.layer.0.attention.self.query.weight" in moved
    recorded = list(result.record["predictions"]["test"].values())
    np.testing.assert_allclose(predict(trained, splits["test"]), recorded, rtol=1e-5)
    assert model_class(name)(configure(name, {"lengths": [9, 9, 9]})[0], (12, 5, 4)).config == trained.model.config


def test_a_broken_off_run_goes_on_with_its_encoder(splits, small_bert, tmp_path, monkeypatch):
    monkeypatch.setattr("dmd_model.fit._SAVING_SHARE", float("inf"))

    class Interrupted(Exception):
        pass

    def interrupt(record):
        raise Interrupted

    whole = fit("dmd", splits, seed=1, overrides=SMALL, text_encoder=small_bert, folder=tmp_path / "whole")
    with pytest.raises(Interrupted):
        fit(
            "dmd", splits, seed=1, overrides=SMALL, text_encoder=small_bert, folder=tmp_path / "run", on_epoch=interrupt
        )
    again = fit("dmd", splits, seed=1, overrides=SMALL, text_encoder=small_bert, folder=tmp_path / "run")
    assert again.record["predictions"] == whole.record["predictions"]


def test_pieces_and_encoder_go_together(splits, small_bert, tmp_path):
    vectors = {split: make_samples(5, seed, split) for seed, split in enumerate(splits)}
    for samples, encoder in ((splits, None), (vectors, small_bert)):
        with pytest.raises(DataError, match="a text encoder reads word pieces"):
            fit("dmd", samples, seed=1, text_encoder=encoder, folder=tmp_path / "run")
    with pytest.raises(DataError, match="has no config.json: a text encoder is a folder"):
        fit("dmd", splits, seed=1, text_encoder=tmp_path, folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()
