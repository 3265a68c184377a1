"""A model of one's own is known by its files; what is none is said in one sentence."""

import pytest

from tasks.assets import ASSETS, AssetError
from tasks.hub_models import model_folder, model_sha256


@pytest.fixture
def folder(tmp_path):
    for name in ("config.json", "model.safetensors", "vocab.txt", "README.md"):
        (tmp_path / name).write_text(name)
    model_folder.cache_clear(), model_sha256.cache_clear()
    return tmp_path


def test_an_asset_is_known_by_its_own_digest():
    assert model_sha256("all-MiniLM-L6-v2") == ASSETS["all-MiniLM-L6-v2"].sha256


def test_a_folder_is_taken_as_it_is_and_known_by_what_is_read_of_it(folder):
    assert model_folder(str(folder)) == folder
    first = model_sha256(str(folder))
    (folder / "README.md").write_text("another")
    model_sha256.cache_clear()
    assert model_sha256(str(folder)) == first
    (folder / "vocab.txt").write_text("other words")
    model_sha256.cache_clear()
    assert model_sha256(str(folder)) != first


def test_a_folder_without_safe_weights_is_refused(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(AssetError, match="has no model.safetensors: name a folder that has"):
        model_folder(str(folder))


@pytest.mark.parametrize("name", ["no such/model/anywhere", "nobody/has-this-model"])
def test_a_model_that_cannot_be_had_is_one_sentence(name, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(AssetError, match="is no folder here and cannot be had from the hub") as caught:
        model_folder(name)
    assert "\n" not in str(caught.value) and "model.safetensors" in str(caught.value)
