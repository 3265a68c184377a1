"""The likeliest path is the likeliest of all paths, and words lie where their letters do."""

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.assets import AssetError
from tasks.features.ctc import CtcAligner, viterbi
from tasks.features.words import AlignmentError
from tasks.hub_models import model_sha256

SECONDS = 3
HOP = 0.02
"""Of wav2vec2, seconds."""


def collapsed(path, blank: int) -> list[int]:
    """What a path of symbols spells in CTC: runs are one symbol, then blanks go."""
    return [symbol for symbol, _ in itertools.groupby(path) if symbol != blank]


@given(
    frames=st.integers(1, 6),
    labels=st.lists(st.integers(1, 2), min_size=1, max_size=4),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_path_is_the_likeliest_of_all_that_spell_the_labels(frames, labels, seed):
    log_probabilities = np.log(np.random.default_rng(seed).dirichlet(np.ones(3), frames))
    found = viterbi(log_probabilities, labels, blank=0)
    paths = [path for path in itertools.product(range(3), repeat=frames) if collapsed(path, 0) == labels]
    if not paths:
        assert found is None
        return
    symbols = [0 if place < 0 else labels[place] for place in found]
    assert collapsed(symbols, 0) == labels
    assert [place for place, _ in itertools.groupby(p for p in found if p >= 0)] == list(range(len(labels)))
    scores = [sum(log_probabilities[frame, symbol] for frame, symbol in enumerate(path)) for path in paths]
    assert sum(log_probabilities[frame, symbol] for frame, symbol in enumerate(symbols)) == pytest.approx(max(scores))


def test_a_long_text_is_no_other_case():
    labels = [1 + number % 2 for number in range(300)]
    likely = np.full((600, 3), 0.05)
    likely[np.arange(600), np.repeat(labels, 2)] = 0.9
    np.testing.assert_array_equal(viterbi(np.log(likely), labels, blank=0), np.repeat(np.arange(300), 2))


@pytest.fixture(scope="session")
def model(ctc_model) -> str:
    return str(ctc_model)


@pytest.fixture(scope="session")
def noise() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, SECONDS * 16_000).astype(np.float32)


def test_every_token_has_a_time_in_order(model, noise):
    tokens = ["Don't", "say", "$3.50", "--", "hello"]
    words = CtcAligner(model).align(noise, tokens)
    assert [word.text for word in words] == tokens
    assert [word.source for word in words] == ["aligned"] * 3 + ["interpolated", "aligned"]
    times = np.array([(word.start, word.end) for word in words])
    assert (np.diff(times.reshape(-1)) >= 0).all() and times[0, 0] >= 0 and times[-1, 1] <= SECONDS + HOP
    np.testing.assert_allclose(times[[0, 1, 2, 4]] / HOP, np.rint(times[[0, 1, 2, 4]] / HOP), atol=1e-9)
    assert all(0 < word.confidence < 1 for word in words if word.source == "aligned")
    assert CtcAligner(model).align(noise, tokens) == words


def test_words_lie_where_their_letters_are_likely(model, noise, monkeypatch):
    """With the model's probabilities replaced by those of a known path, the times are known."""
    vocabulary = json.loads(Path(model, "vocab.json").read_text())
    frames = ["<pad>"] * 10 + list("HHI") + ["<pad>", "|", "<pad>"] + list("YOO<U")
    frames = [vocabulary[{"<": "<pad>"}.get(symbol, symbol)] for symbol in frames] + [0] * 5
    likely = np.full((len(frames), len(vocabulary)), 0.1 / (len(vocabulary) - 1))
    likely[np.arange(len(frames)), frames] = 0.9
    monkeypatch.setattr("tasks.features.ctc._emissions", lambda *_: (np.log(likely), HOP))
    words = CtcAligner(model).align(noise, ["hi,", "you"])
    np.testing.assert_allclose([(word.start / HOP, word.end / HOP) for word in words], [(10, 13), (16, 21)])
    assert [word.confidence for word in words] == pytest.approx([0.9, 0.9])


def test_a_long_segment_is_heard_in_windows_and_has_every_frame(model, monkeypatch):
    from tasks.features import ctc

    sound = np.random.default_rng(1).normal(0, 0.1, 70 * 320).astype(np.float32)
    whole, hop = ctc._emissions(model, sound)
    assert (whole.shape, hop) == ((71, 32), HOP)
    np.testing.assert_allclose(np.exp(whole).sum(axis=1), 1, rtol=1e-5)
    monkeypatch.setattr(ctc, "WINDOW", 16)
    parts, _ = ctc._emissions(model, sound)
    assert parts.shape == whole.shape and np.abs(parts - whole).max() < np.abs(whole - whole.mean(axis=0)).max()


def test_a_text_too_long_for_the_sound_is_refused(model, noise):
    with pytest.raises(AlignmentError, match="cannot be found in 0.20 s") as caught:
        CtcAligner(model).align(noise[:3200], ["antidisestablishmentarianism"])
    assert caught.value.reason == "alignment_failed"


def test_the_recipe_names_the_model_and_its_files(model, tmp_path):
    assert CtcAligner(model).recipe()["ctc"] == model
    other = shutil.copytree(model, tmp_path / "other")
    same = CtcAligner(str(other)).recipe()["sha256"]
    assert same == CtcAligner(model).recipe()["sha256"]
    model_sha256.cache_clear()
    (other / "preprocessor_config.json").write_text('{"do_normalize": false}')
    assert CtcAligner(str(other)).recipe()["sha256"] != same


def test_what_is_no_model_of_english_letters_is_a_sentence(model, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(AssetError, match="has no config.json and no model.safetensors"):
        CtcAligner(str(empty)).recipe()
    mute = shutil.copytree(model, tmp_path / "mute")
    (mute / "vocab.json").unlink()
    with pytest.raises(AssetError, match="has no vocab.json"):
        CtcAligner(str(mute)).recipe()
    headless = shutil.copytree(model, tmp_path / "headless")
    config = json.loads((headless / "config.json").read_text())
    (headless / "config.json").write_text(json.dumps(config | {"architectures": ["Wav2Vec2Model"]}))
    with pytest.raises(AssetError, match="not a Wav2Vec2ForCTC"):
        CtcAligner(str(headless)).recipe()
    wordless = shutil.copytree(model, tmp_path / "wordless")
    (wordless / "vocab.json").write_text(json.dumps({"<pad>": 0, "a": 1, "|": 2}))
    with pytest.raises(AssetError, match="no symbol for b c d"):
        CtcAligner(str(wordless)).recipe()
    with pytest.raises(AssetError, match="nowhere/none is no folder here and cannot be had from the hub"):
        CtcAligner("nowhere/none").recipe()
