"""How fast DMD trains on a GPU: the plain form, the bank, and the bank as a CUDA graph, in one run; and five seeds.

``python -m benchmarks.training_on_gpu [--rounds 15] [--compile]``. Official preset, batches of 16, aligned MOSI shapes,
GloVe, dropout on. ``--compile``: the bank by ``torch.compile`` as well, which takes minutes to compile.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from itertools import zip_longest
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.training import (
    BATCH,
    COLUMNS,
    MOSEI_BATCHES,
    MOSEI_COLUMNS,
    Bank,
    Plain,
    Step,
    evaluation,
    random_batch,
    random_samples,
    show_equality,
    show_optimiser,
    show_ratio,
    timed,
    training,
)  # fmt: skip
from dmd_model.batch import Batch
from dmd_model.config import DMDConfig
from dmd_model.cuda_graph import GraphedStep
from dmd_model.fit import fit_in_turns

GPU = torch.device("cuda")
MOSI, EPOCHS = 1284, 6  # training segments; the first epoch is not timed, in which steps are captured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="timed rounds, each of one step of either form")
    parser.add_argument("--compile", action="store_true", help="time torch.compile, too")
    options = parser.parse_args()
    config = DMDConfig.official("mosi")
    torch.manual_seed(0)
    batch = random_batch(config, COLUMNS, GPU)
    plain = Plain(config, COLUMNS, GPU)
    bank = Bank(config, COLUMNS, GPU, like=plain)
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, batches of {BATCH}, {options.rounds} rounds in "
          "turn (medians)\n")  # fmt: skip
    show_equality(plain, bank, batch)
    steps = training(plain, batch), training(bank, batch), graphed(bank, batch), graphed(bank, batch, torch.bfloat16)
    show_ratio("training, the bank", *steps[:2], options.rounds)
    show_ratio("training, the bank as a CUDA graph", steps[0], steps[2], options.rounds)
    show_ratio("the same, products in bfloat16", steps[0], steps[3], options.rounds)
    show_ratio("evaluation (forward)", evaluation(plain, batch), evaluation(bank, batch), options.rounds)
    show_optimiser(plain, bank, options.rounds)
    print(f"GPU memory at most: {torch.cuda.max_memory_allocated() / 2**20:.0f} MiB, of all forms together")
    show_mosei(options.rounds)
    for model in ("dmd@official-mosi", "dmd"):
        show_seeds(model)
    if options.compile:
        show_ratio("training, the bank compiled", steps[0], compiled(bank, batch), options.rounds)


def graphed(bank: Bank, batch: Batch, numbers: torch.dtype | None = None) -> Step:
    """A step of the bank as ``fit.py`` has it on a GPU."""
    parameters = list(bank.modules.parameters())

    def step(*_: torch.Tensor) -> tuple:
        with torch.autocast("cuda", numbers, enabled=numbers is not None):
            loss = bank.loss(batch)
        loss.backward()
        nn.utils.clip_grad_value_(parameters, 0.6)
        return loss.detach(), torch.isfinite(
            nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        )

    replay, indices = GraphedStep(step, parameters), np.arange(BATCH)
    stream = torch.cuda.Stream()

    def graphed_step() -> None:
        with torch.cuda.stream(stream):
            bank.modules.zero_grad(set_to_none=False)
            replay(indices, 1)

    return graphed_step


def compiled(bank: Bank, batch: Batch) -> Step:
    loss = torch.compile(bank.loss, mode="reduce-overhead")

    def step() -> None:
        torch.compiler.cudagraph_mark_step_begin()
        bank.modules.zero_grad()
        loss(batch).backward()
        nn.utils.clip_grad_value_(bank.modules.parameters(), 0.6)

    for _ in range(3):
        step()
    return step


def show_mosei(rounds: int) -> None:
    """Seconds an epoch of MOSEI's 16,326 samples, extrapolated from steps of the official and of our own preset."""
    for name, config in (("official", DMDConfig.official("mosei")), ("default", DMDConfig())):
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step = graphed(Bank(config, MOSEI_COLUMNS, GPU), random_batch(config, MOSEI_COLUMNS, GPU))
        step()
        seconds = MOSEI_BATCHES * statistics.median(timed(step) for _ in range(rounds))
        memory = (torch.cuda.max_memory_allocated() - before) / 2**20
        print(f"MOSEI shapes, preset {name}: {seconds:.1f} s an epoch, extrapolated; {memory:.0f} MiB at most")


def show_seeds(model: str) -> None:
    """Five seeds beside one, as ``dmd train`` trains them on a GPU: in turns."""
    samples, seconds = random_samples(MOSI), []
    for seeds in (1, 5, 1):
        ends: list[float] = []
        with tempfile.TemporaryDirectory() as folder:
            turns = [
                fit_in_turns(model, samples, seed=seed, folder=Path(folder) / str(seed),
                             overrides={"max_epochs": EPOCHS}, text_encoder=None, device="cuda",
                             on_epoch=lambda _: ends.append(time.perf_counter()))  # noqa: B023
                for seed in range(seeds)
            ]  # fmt: skip
            for _ in zip_longest(*turns):
                pass
        seconds.append((ends[-1] - ends[seeds - 1]) / (EPOCHS - 1))
    one = (seconds[0] + seconds[2]) / 2
    print(
        f"{model}, an epoch of {MOSI} segments with its steps, averages and validation: one seed {one:.2f} s "
        f"({seconds[0]:.2f}, {seconds[2]:.2f}), five together {seconds[1]:.2f} s, {seconds[1] / one:.2f} x"
    )


if __name__ == "__main__":
    main()
