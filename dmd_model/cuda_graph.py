"""Training as CUDA graphs: a launch instead of some thousands, which on a GPU are what a step of a small model costs.

Shapes: B batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

Step = Callable[[Tensor, Tensor], tuple[dict[str, Tensor], Tensor]]
_WARM_UP = 3  # steps, as PyTorch's documentation advises: libraries set themselves up in the first ones


class GraphedStep:
    """A step of ``parameters``' gradients that is captured once for each size of a batch, and replayed.

    ``step`` takes indices int64 [B] and a divisor, both on the GPU, adds to the gradients and gives tensors, which the
    next call overwrites. It never waits for the GPU, and keeps nothing from one batch for the next. Gradients are set
    to zero by the caller, never to None.
    """

    def __init__(self, step: Step, parameters: Sequence[nn.Parameter]):
        self.step, self.parameters = step, parameters
        self.pool = torch.cuda.graph_pool_handle()
        self.captured: dict[int, tuple] = {}

    def __call__(self, indices: np.ndarray, divisor: int) -> tuple[dict[str, Tensor], Tensor]:
        """What ``step`` gives."""
        if len(indices) not in self.captured:
            self.captured[len(indices)] = self._capture(len(indices))
        graph, (chosen, divided_by), outputs = self.captured[len(indices)]
        chosen.copy_(torch.from_numpy(indices), non_blocking=True)
        divided_by.fill_(divisor)
        graph.replay()
        return outputs

    def _capture(self, size: int) -> tuple:
        """Gradients and random numbers are as before when it is done."""
        device = self.parameters[0].device
        before = [None if p.grad is None else p.grad.clone() for p in self.parameters]
        random = torch.cuda.get_rng_state(device)
        inputs = torch.arange(size, device=device), torch.ones((), device=device)
        graph = torch.cuda.CUDAGraph()
        for _ in range(_WARM_UP):
            self.step(*inputs)
        with torch.cuda.graph(graph, pool=self.pool, stream=torch.cuda.current_stream(device)):
            outputs = self.step(*inputs)
        torch.cuda.set_rng_state(random, device)
        for parameter, gradient in zip(self.parameters, before, strict=True):
            if parameter.grad is not None:
                parameter.grad.copy_(gradient) if gradient is not None else parameter.grad.zero_()
        return graph, inputs, outputs


class GraphedUpdate:
    """A change in place whose first call makes all that later ones use; the second is captured, and replayed from then.

    It never waits for the GPU.
    """

    def __init__(self, update: Callable[[], None]):
        self.update, self.calls, self.graph = update, 0, torch.cuda.CUDAGraph()

    def __call__(self) -> None:
        self.calls += 1
        if self.calls == 1:
            return self.update()
        if self.calls == 2:
            with torch.cuda.graph(self.graph, stream=torch.cuda.current_stream()):
                self.update()
        self.graph.replay()
