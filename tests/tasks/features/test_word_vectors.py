"""Vectors of any dimension are read from GloVe's own format, once, and are those of the file."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from tasks import assets
from tasks.assets import AssetError
from tasks.features import word_vectors
from tasks.features.text import Glove

LINES = "the 0.1 0.2 -0.3\nof 1 2 3\n. . . 4 5 6\ncafé 7e-1 8 9\nthe 9 9 9\n"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("DMD_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DMD_ASSETS", raising=False)
    word_vectors.word_vectors.cache_clear()
    yield tmp_path / "cache"
    word_vectors.word_vectors.cache_clear()


@pytest.fixture
def text(tmp_path) -> Path:
    path = tmp_path / "mine.txt"
    path.write_text(LINES, encoding="utf-8")
    return path


def test_a_text_file_of_ones_own_is_read(text):
    glove = Glove(str(text))
    assert glove.columns == ("glove0", "glove1", "glove2")
    frames = glove.measure(["The", "of", "CAFÉ", "unknown"])
    np.testing.assert_allclose(frames.values, [[0.1, 0.2, -0.3], [1, 2, 3], [0.7, 8, 9], [0, 0, 0]], atol=1e-6)
    np.testing.assert_array_equal(frames.mask, [True, True, True, False])


def test_a_word_may_hold_spaces_and_of_equal_words_the_first_counts(text):
    rows, vectors = word_vectors.word_vectors(str(text))
    assert rows == {"the": 0, "of": 1, ". . .": 2, "café": 3}
    np.testing.assert_array_equal(vectors[rows[". . ."]], [4, 5, 6])


def test_a_file_is_read_once_and_a_changed_one_again(text, cache):
    before = Glove(str(text)).recipe()
    word_vectors.word_vectors(str(text))
    (made,) = [path for path in (cache / "word_vectors").iterdir() if path.is_dir()]
    written = made.stat().st_mtime_ns
    word_vectors.word_vectors.cache_clear()
    word_vectors.word_vectors(str(text))
    assert made.stat().st_mtime_ns == written
    text.write_text("good 1 2\n")
    word_vectors.word_vectors.cache_clear()
    assert Glove(str(text)).measure(["good"]).values.tolist() == [[1, 2]]
    assert Glove(str(text)).recipe() != before


def test_vectors_of_ones_own_are_known_by_their_recipe_when_the_file_is_gone(text):
    glove = Glove(str(text))
    recipe, values = glove.recipe(), glove.measure(["the", "café"]).values
    assert recipe.keys() == {"code", "mine.txt"}
    text.unlink()
    again = Glove(word_vectors.known_as("mine.txt", recipe["mine.txt"]))
    assert again.recipe() == recipe and again.columns == glove.columns
    np.testing.assert_array_equal(again.measure(["the", "café"]).values, values)


def test_vectors_that_were_never_read_here_are_said():
    assert word_vectors.known_as("glove.840B.300d", "0" * 64) == "glove.840B.300d"
    with pytest.raises(AssetError, match=r"word vectors mine.txt with SHA-256 0{16}… .* never read here"):
        word_vectors.known_as("mine.txt", "0" * 64)


def test_official_names_are_found_in_the_archive_beside_others(tmp_path, monkeypatch):
    """The archive as Stanford packs it, in a folder of one's own."""
    monkeypatch.setenv("DMD_ASSETS", str(tmp_path / "own"))
    (tmp_path / "own").mkdir()
    with zipfile.ZipFile(tmp_path / "own" / "glove.6B.zip", "w") as archive:
        archive.writestr("glove.6B.100d.txt", "good " + " ".join(["1"] * 100))
        archive.writestr("glove.6B.300d.txt", "good " + " ".join(["3"] * 300))
    for dimension in (100, 300):
        glove = Glove(f"glove.6B.{dimension}d")
        assert len(glove.columns) == dimension and glove.measure(["good"]).values.sum() == dimension * dimension / 100
    with pytest.raises(AssetError, match="glove.6B.zip holds glove.6B.100d.txt, glove.6B.300d.txt"):
        Glove("glove.6B.200d").measure(["good"])


def test_a_line_that_is_no_vector_is_named_and_leaves_nothing(text, cache):
    text.write_text("good 1 2 3\nbad 1 x 3\n")
    with pytest.raises(AssetError, match="Line 2 of .*mine.txt is not a word and 3 numbers"):
        word_vectors.word_vectors(str(text))
    assert not [path for path in (cache / "word_vectors").iterdir() if path.is_dir()]


def test_what_is_neither_a_name_nor_a_file_is_said():
    with pytest.raises(AssetError, match="no word vectors 'word2vec': name one of glove.6B.50d, glove.6B.100d"):
        Glove("word2vec").recipe()


def test_every_archive_is_a_model_file():
    assert set(word_vectors.ARCHIVES.values()) <= assets.ASSETS.keys()
