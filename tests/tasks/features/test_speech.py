"""Hidden states of tiny networks with random weights, made here: the real classes, without the real training."""

import json

import numpy as np
import pytest

from tasks.assets import AssetError
from tasks.features import speech
from tasks.features.media import MediaError
from tasks.features.speech import SpeechEncoder
from tasks.hub_models import model_folder

SIZE = 16


@pytest.fixture(scope="module", params=["Wav2Vec2", "Hubert"])
def encoder(request, tmp_path_factory) -> SpeechEncoder:
    import torch
    import transformers

    folder = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(0)
    config = getattr(transformers, f"{request.param}Config")(
        hidden_size=SIZE, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, conv_dim=(8,) * 7,
        num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    getattr(transformers, f"{request.param}Model")(config).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    return SpeechEncoder(str(folder))


def noise(seconds: float) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, round(16_000 * seconds)).astype(np.float32)


def test_frames_are_fifty_a_second_at_their_centres(encoder):
    frames = encoder.of_waveform(noise(2.0))
    assert len(encoder.columns) == SIZE and frames.values.shape == (99, SIZE) and frames.values.dtype == np.float32
    np.testing.assert_allclose(frames.times[:2], [0.0125, 0.0325])
    assert frames.mask.all() and np.isfinite(frames.values).all()


def test_states_are_those_of_the_network_called_in_the_plainest_way(encoder):
    import torch
    import transformers

    samples = noise(1.0)
    model = transformers.AutoModel.from_pretrained(encoder.encoder).eval()
    extract = transformers.Wav2Vec2FeatureExtractor.from_pretrained(encoder.encoder)
    with torch.inference_mode():
        inputs = extract(samples, sampling_rate=16_000, return_tensors="pt").input_values
        expected = model(inputs).last_hidden_state[0].numpy()
    np.testing.assert_allclose(encoder.of_waveform(samples).values, expected, atol=1e-5)


def test_long_sound_is_heard_in_windows_that_join_without_a_gap(encoder, monkeypatch):
    """Frames of the inner of a window hear all that they would hear of the whole but far attention."""
    whole = encoder.of_waveform(noise(3.0))
    monkeypatch.setattr(speech, "WINDOW", 60)
    parts = encoder.of_waveform(noise(3.0))
    np.testing.assert_array_equal(parts.times, whole.times)
    assert parts.values.shape == whole.values.shape
    likeness = [np.corrcoef(a, b)[0, 1] for a, b in zip(parts.values, whole.values, strict=True)]
    assert min(likeness) > 0.9


def test_the_shortest_sound_has_a_frame(encoder):
    assert encoder.of_waveform(noise(0.01)).values.shape == (1, SIZE)


def test_a_recording_is_measured_and_silence_refused(encoder, record, tone):
    assert encoder.measure(record(sound=tone), 1.0, 2.0).values.shape == (49, SIZE)
    with pytest.raises(MediaError) as caught:
        encoder.measure(record("silent.mp4", sound=np.zeros(44_100, np.float32)))
    assert caught.value.reason == "silent"


def test_recipes_tell_models_apart(encoder):
    assert encoder.recipe()["sha256"] == SpeechEncoder(encoder.encoder).recipe()["sha256"]
    assert encoder.recipe()["encoder"] == encoder.encoder


def test_a_model_that_cannot_be_had_or_hears_nothing_is_said(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(AssetError, match="facebook/wav2vec2-none is no folder here and cannot be had from the hub"):
        SpeechEncoder("facebook/wav2vec2-none").recipe()
    with pytest.raises(AssetError, match="no encoder of waveforms, such as HuBERT: its config has no conv_kernel"):
        _ = SpeechEncoder("all-MiniLM-L6-v2").columns


def test_a_model_that_does_not_say_how_sound_is_normalised_is_refused(encoder, tmp_path):
    for path in model_folder(encoder.encoder).iterdir():
        if path.name != "preprocessor_config.json":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    assert json.loads((tmp_path / "config.json").read_text())["hidden_size"] == SIZE
    with pytest.raises(AssetError, match="has no preprocessor_config.json"):
        SpeechEncoder(str(tmp_path)).of_waveform(noise(0.5))
