"""MulT has the size of its description, and is its nine encoders one after the other sample by sample."""

import torch
import torch.nn.functional as F

from dmd_model.baselines.mult import MulT, MulTConfig
from tests.dmd_model.baselines.banks import encoder_parameters, parameters, randomise, stream, unpadded


def test_size():
    columns, d, layers, kernel = (768, 20, 5), 50, 4, 5
    convolutions = sum(columns) * kernel * d
    crossmodal = 6 * encoder_parameters(d, layers)
    memory = 3 * encoder_parameters(2 * d, layers)
    head = 2 * ((6 * d) ** 2 + 6 * d) + (6 * d + 1)
    model = MulT(MulT.PRESETS["mosi"][0], columns)
    assert parameters(model) == convolutions + crossmodal + memory + head


def test_it_is_its_encoders_one_by_one_without_padding(unaligned):
    torch.manual_seed(0)
    model = randomise(MulT(MulTConfig(d=8, heads=2, layers=2, kernels=(3, 1, 5)), (6, 5, 4)))
    together = model(unaligned).prediction
    others = {0: (2, 1), 1: (0, 2), 2: (0, 1)}  # which modalities a target hears, in order
    for sample in range(3):
        x = unpadded(unaligned, model, sample)  # each [1, 1, T_m, d]
        summaries = []
        for target, sources in others.items():
            heard = []
            own = x[target].shape[2]
            for place, source in enumerate(sources):
                encoder = stream(model.crossmodal, 2 * target + place)
                steps = max(own, x[source].shape[2])  # a bank has one time axis
                asking, asked = (F.pad(y, (0, 0, 0, steps - y.shape[2])) for y in (x[target], x[source]))
                seen = torch.arange(steps) < x[source].shape[2]
                heard.append(encoder(asking, asked, seen[None, None, None])[:, :, :own])
            memory = stream(model.memory.encoders, target)
            memory.own = 1
            everything = torch.ones(1, 1, 1, own, dtype=torch.bool)
            summaries.append(memory(torch.cat(heard, dim=-1), None, everything)[0, 0, -1])
        expected = model.memory.head(torch.cat(summaries)[None])[2]
        torch.testing.assert_close(together[sample : sample + 1], expected, rtol=1e-4, atol=1e-5)
