"""Training: every model and seed once on one published data set, and no row of it in the wrong place."""

from __future__ import annotations

import json
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from dmd_model import checkpoint
from dmd_model.batch import DataError
from dmd_model.dmd import DMD
from dmd_model.registry import configure
from dmd_model.seed_stack import SeedStack
from storage.feature_store import FeatureStore
from storage.interchange.pickles import read_pickle, write_mmsa
from storage.schema import fingerprint
from tasks.assets import AssetError, fetch
from tasks.features.text import Pieces
from tasks.hub_models import model_sha256
from tasks.train import (
    Job,
    TrainingError,
    _in_turns,
    frame_lengths,
    split_samples,
    train,
    train_jobs,
    train_one,
    trained_encoder,
)  # fmt: skip
from tests.dmd_model.made_up import make_samples
from tests.tasks.labelled_data import WIDTHS, labelled_data, publish, unaligned_data


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """The model as it is, but small and for two epochs."""
    config, training = configure("dmd")
    small = replace(config, d=8, heads=2, layers=1, memory_layers=1), replace(training, max_epochs=2)
    monkeypatch.setattr(DMD, "PRESETS", {"default": small})


def run(store, published, folder: Path, seeds=(1, 2), text="glove") -> list[Path]:
    return train.fn(store, published, ["dmd"], list(seeds), text, "cpu", folder)


def results(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.glob("*/*/result.json")}


def test_every_seed_is_trained_once_on_data_that_its_folder_names(tmp_path):
    store, published = publish(tmp_path, labelled_data())
    runs = run(store, published, tmp_path / "models")
    assert len(set(runs)) == 2 and all(path.parent == tmp_path / "models" / "dmd" for path in runs)
    records = [json.loads((path / "result.json").read_text()) for path in runs]
    assert [(record["model"], record["seed"]) for record in records] == [("dmd", 1), ("dmd", 2)]
    for path in runs:
        data = json.loads((path / "data.json").read_text())
        assert len(data.pop("code")) == 16 and data == {**asdict(published), "text": "glove"}
    before = results(tmp_path / "models")
    assert run(store, published, tmp_path / "models") == runs
    assert results(tmp_path / "models") == before

    more = run(store, published, tmp_path / "models", seeds=(2, 3))
    assert more[0] == runs[1] and before.items() < results(tmp_path / "models").items()
    other = run(store, published, tmp_path / "models", seeds=(1,), text="bert")
    assert other[0] not in runs and len(results(tmp_path / "models")) == 4


def test_many_trainings_run_side_by_side_and_one_that_fails_costs_no_other(tmp_path, monkeypatch):
    """On workers in processes of their own, with the very results of a training here."""
    splits = {"train": make_samples(20, 1, "a"), "valid": make_samples(8, 2, "b"), "test": make_samples(8, 3, "c")}
    small = {"d": 8, "heads": 2, "layers": 1, "memory_layers": 1, "max_epochs": 2}
    jobs = [Job("dmd", seed, tmp_path / str(seed), small) for seed in (1, 2, 3)]
    jobs.append(Job("dmd", 4, tmp_path / "4", {**small, "learning_rate": 1e30}))
    monkeypatch.setattr("tasks.train._SMALL", 0)
    with pytest.raises(TrainingError, match="^dmd, seed 4: .*not finite"):
        train_jobs(jobs, splits, "cpu")
    train_jobs([replace(jobs[0], folder=tmp_path / "here")], splits, "cpu")
    one, here = (tmp_path / name / "model.safetensors" for name in ("1", "here"))
    assert one.read_bytes() == here.read_bytes()
    assert all((tmp_path / str(seed) / "result.json").exists() for seed in (2, 3))
    assert list((tmp_path / "2" / "tensorboard").glob("events*"))


def test_trainings_that_take_turns_as_on_a_gpu_are_those_that_were_asked_for(tmp_path, capfd):
    splits = {"train": make_samples(20, 1, "a"), "valid": make_samples(8, 2, "b"), "test": make_samples(8, 3, "c")}
    jobs = [Job("dmd", seed, tmp_path / str(seed), {"max_epochs": 2}) for seed in (1, 2, 3)]
    jobs.insert(1, Job("dmd", 4, tmp_path / "4", {"learning_rate": 1e30}))
    ((job, failure),) = _in_turns(jobs, splits, "cpu", SeedStack(2))
    assert job is jobs[1] and "not finite" in failure.message
    bars = capfd.readouterr().err
    assert all(f"train dmd, seed {seed}: 100%" in bars for seed in (1, 2, 3))
    train_one(replace(jobs[3], folder=tmp_path / "alone"), splits, "cpu", lambda epoch: None)
    one, alone = (tmp_path / name / "model.safetensors" for name in ("3", "alone"))
    assert one.read_bytes() == alone.read_bytes()


def test_two_that_train_the_same_at_once_train_it_once(tmp_path):
    """As two runs do that were started for one data set: the later one waits, and finds it done."""
    splits = {"train": make_samples(20, 1, "a"), "valid": make_samples(8, 2, "b"), "test": make_samples(8, 3, "c")}
    small = {"d": 8, "heads": 2, "layers": 1, "memory_layers": 1, "max_epochs": 3}
    epochs = []
    with ThreadPoolExecutor() as pool:
        job = Job("dmd", 1, tmp_path / "1", small)
        list(pool.map(lambda _: train_one(job, splits, "cpu", epochs.append), range(2)))
    assert [epoch["epoch"] for epoch in epochs] == [1, 2, 3]


def test_what_is_predicted_is_the_labelled_test_split(tmp_path):
    data = labelled_data()
    store, published = publish(tmp_path, data)
    (path,) = run(store, published, tmp_path / "models", seeds=(1,))
    tested = json.loads((path / "result.json").read_text())["predictions"]["test"]
    labelled = zip(data.ids, data.splits, data.labels, strict=True)
    assert set(tested) == {name for name, split, label in labelled if split == "test" and np.isfinite(label)}


def test_it_reads_what_was_published_though_main_has_moved_on(tmp_path):
    store, published = publish(tmp_path, labelled_data())
    store.publish(store.write_aligned({"made": "later"}, labelled_data(seed=9)))
    (path,) = run(store, published, tmp_path / "models", seeds=(1,))
    assert json.loads((path / "data.json").read_text())["snapshot"] == published.snapshot


def test_without_labels_nothing_is_trained_and_that_is_said(tmp_path, caplog):
    data = labelled_data()
    store, published = publish(tmp_path, replace(data, labels=np.full_like(data.labels, np.nan)))
    assert run(store, published, tmp_path / "models") == []
    assert not (tmp_path / "models").exists() and "the data set has no labels" in caplog.text


@pytest.mark.parametrize("text", ["glove", "bert"])
@pytest.mark.parametrize("data", [labelled_data(), unaligned_data()], ids=["aligned", "unaligned"])
def test_each_segment_has_its_own_rows_in_its_own_split(data, text):
    place = {name: index for index, name in enumerate(data.ids)}
    found = []
    for split in ("train", "valid", "test"):
        samples = split_samples(data, split, text)
        samples.check()
        found += samples.ids
        for modality, feature in {"text": text, "vision": "vision", "audio": "audio"}.items():
            sequences = getattr(samples, modality)
            assert sequences.values.shape[1] == WIDTHS[feature] and sequences.names == data.columns[feature]
            for index, name in enumerate(samples.ids):
                rows = slice(*sequences.offsets[index : index + 2])
                there = slice(*data.feature_offsets(feature)[place[name] : place[name] + 2])
                np.testing.assert_array_equal(sequences.values[rows], data.features[feature][there])
                np.testing.assert_array_equal(sequences.mask[rows], data.masks[feature][there])
        assert all(data.splits[place[name]] == split for name in samples.ids)
        np.testing.assert_array_equal(samples.labels, [data.labels[place[name]] for name in samples.ids])
    assert sorted(found) == sorted(np.array(data.ids)[np.isfinite(data.labels)])


def test_models_read_unaligned_sequences_as_long_as_they_are(tmp_path, monkeypatch):
    """Up to the most that any model reads; a model that goes word by word refuses them by name."""
    data = unaligned_data()
    longest = int(np.diff(data.frame_offsets["audio"]).max())
    assert frame_lengths(data, "glove")["lengths"] == [5, 5, longest] and longest > 5
    assert frame_lengths(labelled_data(), "glove") == {}
    with monkeypatch.context() as patch:
        patch.setattr("tasks.train.MOST_FRAMES", 4)
        assert frame_lengths(data, "glove")["lengths"] == [4, 4, 4]

    store, published = publish(tmp_path, data)
    (path,) = run(store, published, tmp_path / "models", seeds=(1,))
    assert json.loads((path / "config.json").read_text())["config"]["lengths"] == [5, 5, longest]
    with pytest.raises(DataError, match="this model needs word-aligned data"):
        train.fn(store, published, ["ef-lstm"], [1], "glove", "cpu", tmp_path / "models")


def test_an_encoder_is_fine_tuned_on_the_pieces_of_an_mmsa_file(tmp_path):
    import torch
    from transformers import BertConfig, BertModel

    random = np.random.default_rng(0)
    data = labelled_data()
    write_mmsa(data, tmp_path / "words.pkl", "glove")
    content = pickle.loads((tmp_path / "words.pkl").read_bytes())  # noqa: S301 written here
    for arrays in content.values():
        mask = np.arange(9) < random.integers(3, 10, len(arrays["id"]))[:, None]
        numbers = random.integers(3, 50, mask.shape) * mask
        arrays["text_bert"] = np.stack([numbers, mask, 0 * mask], axis=1).astype(np.float32)
    (tmp_path / "aligned_50.pkl").write_bytes(pickle.dumps(content))
    found = read_pickle(tmp_path / "aligned_50.pkl", "glove")
    torch.manual_seed(0)
    small = BertConfig(vocab_size=50, hidden_size=12, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
                       max_position_embeddings=32)  # fmt: skip
    BertModel(small).save_pretrained(tmp_path / "encoder")
    settings = {"max_epochs": 2, **frame_lengths(found, "pieces")}
    job = Job("dmd", 1, tmp_path / "run", settings, tmp_path / "encoder")
    train_jobs([job], {split: split_samples(found, split, "pieces") for split in ("train", "valid", "test")}, "cpu")
    predictions = json.loads((tmp_path / "run" / "result.json").read_text())["predictions"]["test"]
    assert np.isfinite(list(predictions.values())).all() and len(set(predictions.values())) > 1


@pytest.fixture
def encoder(tmp_path) -> Path:
    """A small BERT that reads the pieces of a real vocabulary."""
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(vocab_size=30522, hidden_size=12, num_hidden_layers=1, num_attention_heads=2,
                        intermediate_size=16, max_position_embeddings=64)  # fmt: skip
    BertModel(config).save_pretrained(tmp_path / "encoder")
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        shutil.copy(fetch("all-MiniLM-L6-v2") / name, tmp_path / "encoder")
    return tmp_path / "encoder"


def with_pieces(folder: Path, pieces: Pieces):
    """A published data set whose words were cut into pieces."""
    data, store = labelled_data(), FeatureStore.open(str(folder / "store"))
    spans = zip(data.offsets[:-1], data.offsets[1:], strict=True)
    found = {str(row): pieces.measure(data.words[first:stop]) for row, (first, stop) in enumerate(spans)}
    store.append("pieces", pieces.recipe(), pieces.columns, found)
    rows = np.concatenate([frames.values for frames in found.values()])
    data = replace(
        data,
        features=data.features | {"pieces": rows},
        masks=data.masks | {"pieces": np.ones(len(rows), bool)},
        columns=data.columns | {"pieces": pieces.columns},
        frame_offsets={"pieces": np.cumsum([0, *(len(frames.values) for frames in found.values())])},
        frame_times={"pieces": np.full(len(rows), np.nan)},
    )
    made_of = {"features": {"pieces": fingerprint(pieces.recipe())}}
    return store, store.publish(store.write_aligned(made_of, data))


def test_the_encoder_of_word_pieces_is_trained_with_the_model(tmp_path, encoder):
    store, published = with_pieces(tmp_path, Pieces(str(encoder)))
    (path,) = run(store, published, tmp_path / "models", seeds=(1,), text="pieces")
    assert json.loads((path / "config.json").read_text())["columns"]["text"] == ["piece", "word"]
    before = load_file(encoder / "model.safetensors")
    after = checkpoint.load(path).encoder.state_dict()
    changed = [name for name, weights in after.items() if not np.array_equal(weights.numpy(), before[name])]
    assert any("attention" in name for name in changed)


def test_an_encoder_that_changed_since_is_refused_and_so_are_data_without_pieces(tmp_path, encoder):
    store, published = with_pieces(tmp_path, Pieces(str(encoder)))
    assert trained_encoder(store, published, "glove") is None
    assert trained_encoder(store, published, "pieces") == encoder
    (encoder / "vocab.txt").write_text("other words")
    model_sha256.cache_clear()
    with pytest.raises(TrainingError, match="has changed: extract the data set again"):
        trained_encoder(store, published, "pieces")
    store, published = publish(tmp_path / "other", labelled_data())
    with pytest.raises(TrainingError, match="has no word pieces: extract it from raw video"):
        trained_encoder(store, published, "pieces")


def test_the_encoder_of_imported_word_pieces_is_the_one_that_the_import_names(tmp_path, encoder):
    store, published = with_pieces(tmp_path, Pieces(str(encoder)))
    data = store.aligned(published.fingerprint)
    for name, largest in (("right", 0), ("wrong", 40_000)):
        data.features["pieces"][0, 0] = max(largest, data.features["pieces"][0, 0])
        published = store.publish(store.write_aligned({"text_encoder": str(encoder), "content": name}, data))
        if name == "right":
            assert trained_encoder(store, published, "pieces") == encoder
    with pytest.raises(TrainingError, match="knows 30522 word pieces, and .* has more: import it again"):
        trained_encoder(store, published, "pieces")
    published = store.publish(store.write_aligned({"text_encoder": str(tmp_path / "nowhere")}, data))
    with pytest.raises(AssetError, match="nowhere is no folder here"):
        trained_encoder(store, published, "pieces")


def test_word_pieces_do_not_make_a_data_set_unaligned(tmp_path, encoder):
    store, published = with_pieces(tmp_path, Pieces(str(encoder)))
    assert frame_lengths(store.aligned(published.fingerprint), "pieces") == {}
    assert "pieces" not in frame_lengths(unaligned_data(), "pieces")
    assert frame_lengths(unaligned_data(), "pieces") == frame_lengths(unaligned_data(), "glove")
