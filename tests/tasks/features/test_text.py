"""Each token has one row, whatever it looks like."""

import numpy as np
import pytest

from tasks.assets import fetch
from tasks.features.text import Bert, Glove, Pieces

GLOVE = Glove()
MINILM = Bert("all-MiniLM-L6-v2")


def vector(token: str) -> np.ndarray:
    frames = GLOVE.measure([token])
    assert frames.mask[0], token
    return frames.values[0]


def test_glove_vectors_are_the_published_ones():
    """The first numbers of "the" in glove.6B.50d.txt."""
    np.testing.assert_allclose(vector("the")[:4], [0.418, 0.24968, -0.41242, 0.1217], atol=1e-6)
    assert len(GLOVE.columns) == 50


def test_case_and_punctuation_do_not_matter():
    for token in ("MOVIE", "movie,", '"Movie!"', "(movie)"):
        np.testing.assert_array_equal(vector(token), vector("movie"))


@pytest.mark.parametrize("token", ["don't", "DONT", "don’t", "Don't,"])
def test_a_contraction_is_the_mean_of_its_parts(token):
    np.testing.assert_allclose(vector(token), (vector("do") + vector("n't")) / 2, atol=1e-6)


def test_possessives_and_hyphens_fall_back_to_their_parts():
    np.testing.assert_allclose(vector("actor's"), (vector("actor") + vector("'s")) / 2, atol=1e-6)
    np.testing.assert_allclose(vector("popcorn-movie"), (vector("popcorn") + vector("movie")) / 2, atol=1e-6)


def test_unknown_words_are_masked_and_keep_their_place():
    frames = GLOVE.measure(["good", "zzqxqzz", "movie"])
    np.testing.assert_array_equal(frames.mask, [True, False, True])
    np.testing.assert_array_equal(frames.values[1], np.zeros(50))
    np.testing.assert_array_equal(frames.times, [0, 1, 2])


def test_hidden_states_are_the_means_of_word_pieces():
    """Against the encoder called in the plainest way."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokens = ["I", "loved", "Galifianakis'", "film", "--"]
    folder = fetch("all-MiniLM-L6-v2")
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    pieces = tokenizer(" ".join(tokens), return_tensors="pt")
    with torch.inference_mode():
        states = AutoModel.from_pretrained(folder, local_files_only=True).eval()(**pieces).last_hidden_state[0].numpy()
    names = tokenizer.convert_ids_to_tokens(pieces["input_ids"][0].tolist())
    assert names[:4] == ["[CLS]", "i", "loved", "gal"] and names[-4:] == ["film", "-", "-", "[SEP]"]
    expected = [states[1], states[2], states[3:-4].mean(0), states[-4], states[-3:-1].mean(0)]

    frames = MINILM.measure(tokens)
    assert frames.values.dtype == np.float32 and frames.values.shape == (5, 384) and len(MINILM.columns) == 384
    np.testing.assert_allclose(frames.values, expected, atol=1e-5)
    assert frames.mask.all()


def test_context_changes_a_word_and_a_second_run_does_not():
    bank = [
        MINILM.measure(text.split()).values[-1] for text in ("the river bank", "the savings bank", "the river bank")
    ]
    assert np.abs(bank[0] - bank[1]).max() > 0.05
    np.testing.assert_array_equal(bank[0], bank[2])


def test_a_text_longer_than_the_encoder_keeps_every_word():
    """900 words of one piece each; the first window of 512 holds two marks and 510 of them, the second half of which
    the next window holds too."""
    tokens = ["very", "good", "film"] * 300
    frames = MINILM.measure(tokens)
    assert frames.values.shape == (900, 384) and frames.mask.all()
    np.testing.assert_allclose(frames.values[:250], MINILM.measure(tokens[:510]).values[:250], atol=1e-5)


def test_no_tokens_and_tokens_of_nothing_are_no_error():
    assert MINILM.measure([]).values.shape == (0, 384) and GLOVE.measure([]).values.shape == (0, 50)
    frames = MINILM.measure(["good", "\u200b"])
    np.testing.assert_array_equal(frames.mask, [True, False])
    np.testing.assert_array_equal(frames.values[1], np.zeros(384))


def test_word_pieces_are_those_that_an_encoder_is_trained_on():
    """Marks at both ends belong to no token; a token of several pieces has them all."""
    from dmd_model.batch import PIECES
    from tasks.features.text import tokenizer

    pieces = Pieces("all-MiniLM-L6-v2")
    frames = pieces.measure(["I", "loved", "Galifianakis'", "film"])
    assert pieces.columns == PIECES
    names = tokenizer("all-MiniLM-L6-v2").convert_ids_to_tokens(frames.values[:, 0].astype(int).tolist())
    assert names[:4] == ["[CLS]", "i", "loved", "gal"] and names[-2:] == ["film", "[SEP]"]
    words = frames.values[:, 1].astype(int).tolist()
    assert words[:4] == [0, 1, 2, 3] and set(words[3:-2]) == {3} and words[-2:] == [4, 0]
    assert frames.mask.all() and len(frames.times) == len(words)
    assert len(pieces.measure([]).values) == 2
    assert len(pieces.measure(["good"] * 900).values) == 902


def test_an_encoder_may_be_a_folder_of_ones_own():
    own = Bert(str(fetch("all-MiniLM-L6-v2")))
    np.testing.assert_array_equal(own.measure(["good"]).values, MINILM.measure(["good"]).values)
    assert own.columns == MINILM.columns and own.recipe()["sha256"] != ""


def test_recipes_name_the_model():
    assert GLOVE.recipe() != MINILM.recipe() != Pieces("all-MiniLM-L6-v2").recipe()
    assert MINILM.recipe()["encoder"] == "all-MiniLM-L6-v2"
