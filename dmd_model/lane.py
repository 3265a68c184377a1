"""What a training has to itself, so that several can take turns on one device and each ends as if it were alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from dmd_model import parallel


class Lane:
    """Random numbers, a number of threads and, on a GPU, a stream.

    Work that was launched on one stream goes on while another lane is on its turn.
    """

    def __init__(self, device: torch.device, cpu_threads: int):
        self.device, self.cpu_threads = device, cpu_threads
        self.cpu_random = torch.get_rng_state()
        if device.type == "cuda":
            self.stream, self.gpu_random = torch.cuda.Stream(device), torch.Generator(device)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """What is done within is done on this lane; the state of the caller is left as it was."""
        random = torch.get_rng_state()
        torch.set_rng_state(self.cpu_random)
        try:
            with parallel.threads(self.cpu_threads), torch.backends.cudnn.flags(enabled=True, deterministic=True):
                if self.device.type == "cuda":
                    with self._on_gpu():
                        yield
                else:
                    yield
        finally:
            self.cpu_random = torch.get_rng_state()
            torch.set_rng_state(random)

    @contextmanager
    def _on_gpu(self) -> Iterator[None]:
        """The GPU's default generator stands for this lane's: a CUDA graph draws from the one it was captured with."""
        default = torch.cuda.default_generators[self.stream.device_index]
        random = default.graphsafe_get_state()
        default.graphsafe_set_state(self.gpu_random)
        try:
            with torch.cuda.stream(self.stream):
                yield
        finally:
            default.graphsafe_set_state(random)


class Answer:
    """Whether something is so, on its way from a device. Work that is launched later is not waited for."""

    def __init__(self, truth: Tensor):
        self.truth = truth.to("cpu", non_blocking=True)
        self.arrival = torch.get_device_module(truth.device).Event()
        self.arrival.record()

    def __bool__(self) -> bool:
        self.arrival.synchronize()
        return bool(self.truth)
