"""MISA: its size, how it reads sequences, its losses by loops over samples, and what it does without a modality."""

import pytest
import torch

from dmd_model.baselines.misa import MISA, MISAConfig, SequenceEncoder
from dmd_model.discrepancy import central_moments, soft_orthogonality

COLUMNS = (6, 5, 4)


@pytest.fixture
def model() -> MISA:
    torch.manual_seed(0)
    return MISA(MISAConfig(d=8, feedforward=16), COLUMNS).eval()


def test_the_mosi_preset_has_the_size_of_its_architecture():
    text, vision, audio, d = 768, 20, 5, 128

    def linear(inputs: int, outputs: int) -> int:
        return outputs * (inputs + 1)

    def encoder(width: int) -> int:
        first, second = (2 * 4 * width * (inputs + width + 2) for inputs in (width, 2 * width))  # both directions
        return first + 2 * 2 * width + second  # a norm of 2D in between

    expected = encoder(vision) + encoder(audio)
    expected += sum(linear(width, d) + 2 * d for width in (text, 4 * vision, 4 * audio))  # with a norm
    expected += 3 * linear(d, d) + linear(d, d) + 3 * linear(d, d)  # private, shared, reconstruction
    expected += 4 * linear(d, d) + linear(d, 2048) + linear(2048, d) + 2 * 2 * d  # transformer layer
    expected += linear(6 * d, 3 * d) + linear(3 * d, 1)
    model = MISA(MISA.PRESETS["mosi"][0], (text, vision, audio))
    assert sum(p.numel() for p in model.parameters()) == expected


def test_a_sequence_is_the_final_states_of_both_lstms(unaligned):
    torch.manual_seed(0)
    encoder = SequenceEncoder(5)
    encoded = encoder(unaligned.vision, unaligned.lengths[1])
    for i, length in enumerate(unaligned.lengths[1].tolist()):
        states, (first, _) = encoder.first.lstm(unaligned.vision[i, :length])
        _, (second, _) = encoder.second.lstm(encoder.norm(states))
        torch.testing.assert_close(encoded[i], torch.cat([first.flatten(), second.flatten()]))


def test_text_is_the_mean_of_its_words(model, unaligned):
    means = torch.stack(
        [x[:length].mean(dim=0) for x, length in zip(unaligned.text, unaligned.lengths[0], strict=True)]
    )
    torch.testing.assert_close(model(unaligned).vectors[0], model.projections[0](means))


def test_losses_by_loops(model, unaligned):
    """With vision absent in one sample, audio in another, and text in all: text has no part in any auxiliary loss."""
    unaligned.lengths[0], unaligned.lengths[1, 0], unaligned.lengths[2, 2] = 0, 0, 0
    output = model(unaligned)
    terms = model.losses(output, unaligned.labels)
    private, shared = output.private, output.shared
    with_vision, with_audio, with_both = [1, 2], [0, 1], [1]

    difference = soft_orthogonality(private[1, with_vision], shared[1, with_vision])
    difference += soft_orthogonality(private[2, with_audio], shared[2, with_audio])
    difference += soft_orthogonality(private[1, with_both], private[2, with_both])
    similarity = central_moments(shared[1, with_both], shared[2, with_both]) / 3

    reconstruction = 0
    for m, samples in ((1, with_vision), (2, with_audio)):
        weight, bias = model.reconstruction.weight[m], model.reconstruction.bias[m]
        errors = [weight @ (private[m, i] + shared[m, i]) + bias - output.vectors[m, i] for i in samples]
        reconstruction += torch.stack(errors).square().mean() / 3
    task = sum((a - b) ** 2 for a, b in zip(output.prediction, unaligned.labels, strict=True)) / 3

    expected = {"task": task, "difference": difference, "similarity": similarity, "reconstruction": reconstruction}
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value)
    torch.testing.assert_close(terms["total"], task + 0.1 * difference + 0.3 * similarity + reconstruction)


def test_all_six_pairs_are_held_apart_and_all_three_drawn_together(model, unaligned):
    output = model(unaligned)
    terms = model.losses(output, unaligned.labels)
    (t, v, a), (text, vision, audio) = output.private, output.shared
    apart = [(t, text), (v, vision), (a, audio), (a, t), (a, v), (t, v)]
    torch.testing.assert_close(terms["difference"], sum(soft_orthogonality(*pair) for pair in apart))
    together = [(text, vision), (text, audio), (audio, vision)]
    torch.testing.assert_close(terms["similarity"], sum(central_moments(*pair) for pair in together) / 3)


def test_nothing_of_an_absent_modality_is_read(model, unaligned):
    unaligned.lengths[1] = 0
    model.losses(model(unaligned), unaligned.labels)["total"].backward()
    assert not any(p.grad.any() for p in [*model.vision.parameters(), *model.projections[1].parameters()])
    assert not any(p.grad[1].any() for p in [*model.private.parameters(), *model.reconstruction.parameters()])
    assert all(p.grad[0].any() for p in [*model.private.parameters(), *model.reconstruction.parameters()])
