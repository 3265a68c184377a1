"""How fast DMD trains: the plain form beside the bank of streams, in one run, and that both compute the same.

``python -m benchmarks.training [--threads 2] [--rounds 9]``. Official preset, batches of 16, aligned MOSI shapes,
GloVe, dropout on, on a CPU (``benchmarks.training_on_gpu`` is for the other). The plain form is the tests' oracle: one
module for each modality and encoder, as the official code has them.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import torch
from torch import nn

from dmd_model import parallel
from dmd_model.batch import Batch, Samples, Sequences
from dmd_model.config import DMDConfig
from dmd_model.dmd import DMD
from dmd_model.official import from_official_state_dict, official_unit_parameters
from tests.dmd_model.plain import PlainDMD, graph_units, plain_losses

BATCH, COLUMNS = 16, (300, 20, 5)
MOSEI_COLUMNS, MOSEI_BATCHES = (300, 35, 74), 16326 / BATCH
Step = Callable[[], None]


class Plain:
    """The plain form, with its loss and its evaluation."""

    def __init__(self, config: DMDConfig, columns: tuple[int, int, int], device: torch.device):
        self.model = PlainDMD(config, columns).to(device)
        self.units = nn.ModuleList(graph_units(config)).to(device)
        self.modules = nn.ModuleList([self.model, self.units])

    def loss(self, batch: Batch) -> torch.Tensor:
        return plain_losses(*self.units, self.model(*batch.sequences), batch.labels)["combined_loss"]

    def predict(self, batch: Batch) -> torch.Tensor:
        return self.model(*batch.sequences)["output_logit"].squeeze(1)


class Bank:
    """The package's model; with the weights of a plain one, if it is given."""

    def __init__(
        self, config: DMDConfig, columns: tuple[int, int, int], device: torch.device, like: Plain | None = None
    ):
        self.model = self.modules = DMD(config, columns).to(device)
        if like is not None:
            from_official_state_dict(self.model, like.model.state_dict())
            for ours, theirs in zip((self.model.homo_unit, self.model.hetero_unit), like.units, strict=True):
                for name, parameter in official_unit_parameters(ours).items():
                    parameter.data.copy_(theirs.get_parameter(name))

    def loss(self, batch: Batch) -> torch.Tensor:
        return self.model.losses(self.model(batch), batch.labels)["total"]

    def predict(self, batch: Batch) -> torch.Tensor:
        return self.model(batch).prediction


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9, help="timed rounds, each of one step of either form")
    parser.add_argument("--only", choices=("plain", "bank"), help="train a few steps and print the largest memory")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device("cpu")
    config = DMDConfig.official("mosi")
    if options.only:
        return print_memory(options.only, config, device)
    torch.manual_seed(0)
    batch = random_batch(config, COLUMNS, device)
    plain = Plain(config, COLUMNS, device)
    bank = Bank(config, COLUMNS, device, like=plain)
    print(f"CPU, {options.threads} threads, torch {torch.__version__}, batches of {BATCH}, {options.rounds} rounds in "
          "turn (medians)\n")  # fmt: skip
    show_equality(plain, bank, batch)
    show_ratio(
        "training (forward, losses, backward, clip)", training(plain, batch), training(bank, batch), options.rounds
    )
    show_ratio("evaluation (forward)", evaluation(plain, batch), evaluation(bank, batch), options.rounds)
    show_optimiser(plain, bank, options.rounds)
    show_mosei(device, options.rounds)
    show_seeds()
    for form in ("plain", "bank"):
        subprocess.run([sys.executable, "-m", "benchmarks.training", "--only", form], check=True)


def random_batch(config: DMDConfig, columns: tuple[int, int, int], device: torch.device) -> Batch:
    sequences = [torch.randn(BATCH, t, c, device=device) for t, c in zip(config.lengths, columns, strict=True)]
    lengths = torch.tensor(config.lengths, device=device)[:, None].expand(3, BATCH)
    labels = (6 * torch.rand(BATCH, device=device) - 3).mul(5).round() / 5
    return Batch(("",) * BATCH, *sequences, lengths, labels)


def show_equality(plain: Plain, bank: Bank, batch: Batch) -> None:
    """With dropout off, both forms give the same loss, predictions and (summed) gradients."""
    found = []
    for form in (plain, bank):
        form.modules.eval()
        form.modules.zero_grad()
        loss = form.loss(batch)
        loss.backward()
        squares = sum(p.grad.square().sum() for p in form.modules.parameters() if p.grad is not None)
        found.append((loss.item(), form.predict(batch).detach(), squares.sqrt().item()))
        form.modules.train()
    (loss, prediction, norm), (loss_2, prediction_2, norm_2) = found
    worst = ((prediction - prediction_2).abs().max() / prediction.abs().max()).item()
    print(f"the same maths, dropout off: losses differ by {abs(loss - loss_2) / loss:.1e}, predictions by {worst:.1e}, "
          f"gradient norms by {abs(norm - norm_2) / norm:.1e} (relative)")  # fmt: skip


def training(form: Plain | Bank, batch: Batch) -> Step:
    def step() -> None:
        with threads_of(form):
            form.modules.zero_grad()
            form.loss(batch).backward()
            nn.utils.clip_grad_value_(form.modules.parameters(), 0.6)

    return step


def evaluation(form: Plain | Bank, batch: Batch) -> Step:
    @torch.inference_mode()
    def step() -> None:
        form.modules.eval()
        with threads_of(form):
            form.predict(batch)
        form.modules.train()

    return step


def threads_of(form: Plain | Bank) -> AbstractContextManager:
    """The bank shares out encoders to threads, as ``fit`` has it; for the plain form PyTorch does what it does."""
    return parallel.threads(torch.get_num_threads()) if isinstance(form, Bank) else nullcontext()


def show_ratio(what: str, plain: Step, bank: Step, rounds: int, names: tuple[str, str] = ("plain", "bank")) -> None:
    """Both in turn; the ratio of each round, so that a drift of the machine's speed does not matter."""
    plain(), bank()
    times = [(timed(plain), timed(bank)) for _ in range(rounds)]
    ratio = statistics.median(a / b for a, b in times)
    plain_ms, bank_ms = (1e3 * statistics.median(column) for column in zip(*times, strict=True))
    print(f"{what}: {names[0]} {plain_ms:.1f} ms, {names[1]} {bank_ms:.1f} ms, {ratio:.2f} x")


def timed(step: Step) -> float:
    synchronise()
    began = time.perf_counter()
    step()
    synchronise()
    return time.perf_counter() - began


def synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def show_optimiser(plain: Plain, bank: Bank, rounds: int) -> None:
    """A step of Adam: as PyTorch makes it by default for the plain form, fused for the bank, as in ``fit.py``."""
    unfused = torch.optim.Adam(plain.modules.parameters(), 1e-4, fused=False)
    fused = torch.optim.Adam(bank.modules.parameters(), 1e-4, fused=True)
    show_ratio("an optimiser step", unfused.step, fused.step, rounds)


def show_mosei(device: torch.device, rounds: int) -> None:
    """Seconds an epoch of MOSEI's 16,326 samples, extrapolated from steps of the official and of our own preset."""
    for name, config in (("official", DMDConfig.official("mosei")), ("default", DMDConfig())):
        bank, batch = Bank(config, MOSEI_COLUMNS, device), random_batch(config, MOSEI_COLUMNS, device)
        step = training(bank, batch)
        step()
        seconds = MOSEI_BATCHES * statistics.median(timed(step) for _ in range(rounds))
        print(f"MOSEI shapes, preset {name}: {seconds:.0f} s an epoch, extrapolated")


def show_seeds() -> None:
    """Five seeds beside one, as ``dmd compare`` trains them: side by side."""
    from tasks.train import Job, train_jobs

    samples, settings, seconds = random_samples(640), {"max_epochs": 3, "average_decay": 0.0}, []
    for seeds in (1, 5):
        with tempfile.TemporaryDirectory() as folder:
            jobs = [Job("dmd@official-mosi", seed, Path(folder) / str(seed), settings) for seed in range(seeds)]
            began = time.perf_counter()
            train_jobs(jobs, samples, "cpu")
            seconds.append(time.perf_counter() - began)
    print(f"seeds (3 epochs of 640 segments, workers started): one {seconds[0]:.0f} s, five {seconds[1]:.0f} s, "
          f"{seconds[1] / seconds[0]:.2f} x")  # fmt: skip


def random_samples(count: int, columns: tuple[int, int, int] = COLUMNS) -> dict[str, Samples]:
    """So many training segments of 50 words, and a quarter as many for valid."""
    random, samples = np.random.default_rng(0), {}
    for split, size in (("train", count), ("valid", count // 4)):
        offsets = 50 * np.arange(size + 1)
        sequences = [
            Sequences(random.normal(size=(offsets[-1], width)).astype(np.float32), offsets) for width in columns
        ]
        labels = random.uniform(-3, 3, size).astype(np.float32)
        samples[split] = Samples(tuple(f"{split}{i}" for i in range(size)), labels, *sequences)
    return samples


def print_memory(form: str, config: DMDConfig, device: torch.device) -> None:
    """Peak memory of this process after 5 and after 25 steps."""
    made = (Plain if form == "plain" else Bank)(config, COLUMNS, device)
    optimiser = torch.optim.Adam(made.modules.parameters(), 1e-4, fused=form == "bank")
    peaks = []
    for steps in (5, 20):
        for _ in range(steps):
            training(made, random_batch(config, COLUMNS, device))()
            optimiser.step()
        peaks.append(int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024)
    print(f"peak memory of training, {form}: {peaks[0]:.0f} MiB after 5 steps, {peaks[1]:.0f} MiB after 25")


if __name__ == "__main__":
    main()
