"""PMR has the size of its description, is what it says sample by sample, and its filter shuts and opens."""

import pytest
import torch

from dmd_model.baselines.pmr import PMR, PMRConfig, Reinforcement
from dmd_model.transformer import normalise, positions
from tests.dmd_model.baselines.banks import parameters, randomise, stream, unpadded


def test_size():
    columns, d, layers, kernel = (768, 20, 5), 40, 4, 3
    norm = 2 * d
    attention = 4 * (d * d + d)
    feedforward = norm + (4 * d * d + 4 * d) + (4 * d * d + d)
    gate = 2 * d * d + d
    reinforcement = 3 * (2 * norm + 2 * attention + gate + feedforward)  # norms of the modality and of the hub
    update = 3 * (2 * norm + attention) + feedforward
    head = 2 * ((3 * d) ** 2 + 3 * d) + (3 * d + 1)
    expected = sum(columns) * kernel * d + layers * reinforcement + (layers - 1) * update + 3 * norm + head
    assert parameters(PMR(PMR.PRESETS["mosi"][0], columns)) == expected


def test_it_is_hub_and_modalities_in_turn_without_padding(unaligned):
    torch.manual_seed(0)
    model = randomise(PMR(PMRConfig(d=8, heads=2, layers=3, kernels=(3, 1, 5)), (6, 5, 4)))
    together = model(unaligned).prediction
    for sample in range(3):
        x = [y * 8**0.5 + positions(y) for y in unpadded(unaligned, model, sample)]  # each [1, 1, T_m, d]
        seen = [torch.ones(y.shape[:3], dtype=torch.bool) for y in x]
        hub, hub_seen = torch.cat(x, dim=2), torch.cat(seen, dim=2)
        for number in range(3):
            if number > 0:
                update = model.updates[number - 1]
                heard = 0
                for m in range(3):
                    norm, source_norm = stream(update.norm, m), stream(update.source_norm, m)
                    attention = stream(update.attention, m)
                    heard = heard + attention(norm(normalise(hub)), source_norm(normalise(x[m])), seen[m])
                hub = update.feedforward(hub + heard)
            layer = model.reinforcements[number]
            x = [stream(layer, m)(x[m], hub, seen[m], hub_seen) for m in range(3)]
        last = torch.cat([stream(model.final_norm, m)(normalise(x[m][:, :, -1:])).flatten() for m in range(3)])
        torch.testing.assert_close(together[sample : sample + 1], model.head(last[None])[2], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("bias", "from_hub"), [(-1e4, False), (1e4, True)])
def test_the_filter_shuts_and_opens(bias, from_hub):
    """Shut, a modality hears only itself; open, only the hub, whatever else the two attentions say."""
    torch.manual_seed(0)
    layer = randomise(Reinforcement(PMRConfig(d=8, heads=2)))
    layer.filter.bias.data.fill_(bias)
    x, present = torch.randn(3, 2, 4, 8), torch.ones(3, 2, 4, dtype=torch.bool)
    hub, hub_present = torch.randn(1, 2, 12, 8), torch.ones(1, 2, 12, dtype=torch.bool)
    normed = layer.norm(normalise(x))
    heard = (
        layer.heard(normed, layer.hub_norm(normalise(hub)), hub_present) if from_hub
        else layer.own(normed, normed, present)
    )  # fmt: skip
    torch.testing.assert_close(layer(x, hub, present, hub_present), layer.feedforward(x + heard))
