"""How fast DMD trains on a GPU: the plain form, the bank, and the bank as a CUDA graph, in one run; and seeds as one.

``python -m benchmarks.training_on_gpu [--compile]``. Official preset, batches of 16, aligned MOSI shapes,
GloVe, dropout on. ``--compile``: the bank by ``torch.compile`` as well, which takes minutes to compile.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
import time
from dataclasses import replace
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
from dmd_model.config import DMDConfig, Training
from dmd_model.fit import fit_in_turns
from dmd_model.prediction import place
from dmd_model.registry import configure
from dmd_model.seed_stack import SeedStack

GPU = torch.device("cuda")
ROUNDS = 15  # each of one step of either form
MOSI, EPOCHS = 1284, 6  # training segments; the first epoch is not timed, in which steps are captured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compile", action="store_true", help="time torch.compile, too")
    options = parser.parse_args()
    config = DMDConfig.official("mosi")
    torch.manual_seed(0)
    batch = random_batch(config, COLUMNS, GPU)
    plain = Plain(config, COLUMNS, GPU)
    bank = Bank(config, COLUMNS, GPU, like=plain)
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, batches of {BATCH}, {ROUNDS} rounds in "
          "turn (medians)\n")  # fmt: skip
    show_equality(plain, bank, batch)
    steps = [training(plain, batch), training(bank, batch)]
    steps += [graphed(bank, COLUMNS), graphed(bank, COLUMNS, mixed_precision=True)]
    show_ratio("training, the bank", *steps[:2], ROUNDS)
    show_ratio("training, the bank as a CUDA graph", steps[0], steps[2], ROUNDS)
    show_ratio("the same, products in bfloat16", steps[0], steps[3], ROUNDS)
    show_ratio("evaluation (forward)", evaluation(plain, batch), evaluation(bank, batch), ROUNDS)
    show_optimiser(plain, bank, ROUNDS)
    print(f"GPU memory at most: {torch.cuda.max_memory_allocated() / 2**20:.0f} MiB, of all forms together")
    show_mosei()
    for model in ("dmd@official-mosi", "dmd"):
        show_seeds(model)
    if options.compile:
        show_ratio("training, the bank compiled", steps[0], compiled(bank, batch), ROUNDS)


def graphed(bank: Bank, columns: tuple[int, int, int], mixed_precision: bool = False, seeds: int = 1) -> Step:
    """A step of the bank, or of so many seeds, as ``fit`` replays it; with the choice of the samples."""
    training = replace(Training.official(), mixed_precision=mixed_precision)
    data = place(random_samples(MOSI, columns)["train"], bank.model, GPU)
    stream, stack, indices = torch.cuda.Stream(), SeedStack(seeds), np.arange(BATCH)
    with torch.cuda.stream(stream):
        members = [stack.join(copy.deepcopy(bank.model), data, training) for _ in range(seeds)]

    def step() -> None:
        with torch.cuda.stream(stream):
            for member in members:
                member.begin(indices, 1)
            for member in members:
                member.end()

    return step


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


def show_mosei() -> None:
    """Seconds an epoch of MOSEI's 16,326 samples, extrapolated from steps of the official and of our own preset."""
    for name, config in (("official", DMDConfig.official("mosei")), ("default", DMDConfig())):
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step = graphed(Bank(config, MOSEI_COLUMNS, GPU), MOSEI_COLUMNS)
        step()
        seconds = MOSEI_BATCHES * statistics.median(timed(step) for _ in range(ROUNDS))
        memory = (torch.cuda.max_memory_allocated() - before) / 2**20
        print(f"MOSEI shapes, preset {name}: {seconds:.1f} s an epoch, extrapolated; {memory:.0f} MiB at most")


def show_seeds(model: str) -> None:
    """Five seeds beside one, as ``dmd train`` trains them on a GPU: their steps and whole epochs."""
    config = configure(model)[0]
    one, five = (graphed(Bank(config, COLUMNS, GPU), COLUMNS, seeds=seeds) for seeds in (1, 5))
    show_ratio(f"{model}, a step of a stack", five, one, ROUNDS, ("five seeds", "one"))
    samples, seconds = random_samples(MOSI), []
    for seeds in (1, 5, 1):
        ends: list[float] = []
        stack = SeedStack(seeds)
        with tempfile.TemporaryDirectory() as folder:
            turns = [
                fit_in_turns(model, samples, seed=seed, folder=Path(folder) / str(seed),
                             overrides={"max_epochs": EPOCHS}, text_encoder=None, device="cuda", stack=stack,
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
