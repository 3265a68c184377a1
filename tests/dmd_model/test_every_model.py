"""What every model of the registry keeps: it learns, all of it trains, and padding and absent modalities do no harm."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from dmd_model.batch import Batch, DataError, DeviceSamples, Sequences
from dmd_model.fit import fit
from dmd_model.registry import MODELS, configure, model_class

COLUMNS = (6, 5, 4)
WORD_BY_WORD = {"ef-lstm", "raven", "mfm"}


def without_dropout(config) -> dict[str, object]:
    """Zero for every dropout of a config, whether it is one number or one for each modality."""
    return {
        field.name: [0.0] * len(value) if isinstance(value := getattr(config, field.name), tuple) else 0.0
        for field in fields(config)
        if "dropout" in field.name
    }


@pytest.fixture(params=MODELS)
def name(request) -> str:
    return request.param


@pytest.fixture
def model(name):
    torch.manual_seed(0)
    return model_class(name)(configure(name)[0], COLUMNS)


@pytest.fixture
def samples(make_samples):
    return make_samples(5)


def batch_of(samples) -> Batch:
    return DeviceSamples(samples, (50, 50, 50), False, torch.device("cpu")).batch(np.arange(len(samples)))


def test_it_overfits_32_samples(name, make_samples, tmp_path):
    config, training = configure(name)
    train = make_samples(32, 1, "train")
    settings = {**without_dropout(config), "weight_decay": 0.0, "max_epochs": 300, "early_stop": 300, "batch_size": 8,
                "learning_rate": max(2e-3, training.learning_rate), "accumulate": 1, "average_decay": 0.9,
                "plateau_patience": 20}  # fmt: skip
    splits = {"train": train, "valid": replace(train, ids=tuple(f"v{i}" for i in train.ids)), "test": make_samples(3)}

    class Learnt(Exception):
        pass

    def stop(record):
        if record["valid_error"] < 0.1:
            raise Learnt

    with pytest.raises(Learnt):
        fit(name, splits, seed=1, overrides=settings, folder=tmp_path / "run", on_epoch=stop)


def test_every_parameter_gets_a_gradient(model, samples):
    batch = batch_of(samples)
    model.losses(model(batch), batch.labels)["total"].backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_more_padding_and_other_samples_in_the_batch_change_no_prediction(model, samples):
    model.eval()
    batch = batch_of(samples)
    together = model(batch).prediction
    padded = {m: torch.nn.functional.pad(getattr(batch, m), (0, 0, 0, 3)) for m in ("text", "vision", "audio")}
    torch.testing.assert_close(model(replace(batch, **padded)).prediction, together, rtol=1e-4, atol=1e-5)
    for i in range(len(samples)):
        alone = Batch(batch.ids[i : i + 1], *(x[i : i + 1] for x in batch.sequences), batch.lengths[:, i : i + 1],
                      batch.labels[i : i + 1])  # fmt: skip
        torch.testing.assert_close(model(alone).prediction[0], together[i], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("absent", [("vision", "audio"), ("audio",), ("text",)])
def test_absent_modalities_are_no_matter(name, model, samples, absent):
    """Absent in every segment: losses and gradients are finite, and the prediction still depends on the others."""
    samples = replace(samples, **{m: Sequences(getattr(samples, m).values[:0], np.zeros(6, int)) for m in absent})
    batch = batch_of(samples)
    terms = model.losses(model(batch), batch.labels)
    terms["total"].backward()
    assert all(torch.isfinite(value).all() for value in terms.values())
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    if not (name == "mctn" and "text" in absent):  # MCTN predicts from text alone
        assert model.eval()(batch).prediction.std() > 0


def test_unaligned_sequences_are_taken_or_refused_by_name(name, model, samples):
    """Faces and voices have more steps than there are words: only models that go word by word cannot read them."""
    many = {m: np.repeat(getattr(samples, m).values, n, axis=0) for m, n in (("vision", 3), ("audio", 5))}
    longer = {
        m: Sequences(values, samples.text.offsets * n) for (m, values), n in zip(many.items(), (3, 5), strict=True)
    }
    batch = batch_of(replace(samples, **longer))
    if name in WORD_BY_WORD:
        with pytest.raises(DataError, match="needs word-aligned data"):
            model(batch)
    else:
        total = model.losses(model(batch), batch.labels)["total"]
        total.backward()
        assert torch.isfinite(total)


def test_a_modality_absent_in_one_segment_leaves_the_others_alone(model, samples):
    model.eval()
    whole = batch_of(samples)
    lengths = whole.lengths.clone()
    lengths[1, 2] = 0
    vision = whole.vision.clone()
    vision[2] = 0
    part = model(replace(whole, lengths=lengths, vision=vision)).prediction
    others = [0, 1, 3, 4]
    torch.testing.assert_close(part[others], model(whole).prediction[others], rtol=1e-4, atol=1e-5)
    assert torch.isfinite(part[2])


def test_a_single_sample_of_one_word_can_be_trained_on(model):
    model.train()
    sequences = (torch.randn(1, 1, width) for width in COLUMNS)
    one = Batch(("a",), *sequences, torch.ones(3, 1, dtype=torch.int64), torch.tensor([1.0]))
    total = model.losses(model(one), one.labels)["total"]
    total.backward()
    assert torch.isfinite(total)
