"""Work on a GPU as CUDA graphs: one launch instead of some thousands, which are what a small model costs there.

Shapes: N samples.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from dmd_model.batch import DeviceSamples
from dmd_model.model import Model
from dmd_model.prediction import placed_batches, predict_batches

Result = TypeVar("Result")
_WARM_UP = 3  # calls, as PyTorch's documentation advises: libraries set themselves up in the first ones


def capture(function: Callable[[], Result]) -> tuple[torch.cuda.CUDAGraph, Result]:
    """What ``function`` does on the GPU as a graph, and what it gives, which every replay overwrites.

    It is called a few times before. It never waits for the GPU, and draws no random numbers.
    """
    for _ in range(_WARM_UP):
        function()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
        result = function()
    return graph, result


def put(numbers: np.ndarray, there: Tensor) -> None:
    """Copy to the GPU without waiting for what was launched before: only from pinned memory is that possible."""
    there.copy_(torch.from_numpy(numbers).pin_memory(), non_blocking=True)


class GraphedPrediction:
    """What a model predicts of ``data``, [N] or [N, E] on the GPU, which is not waited for."""

    def __init__(self, model: Model, data: DeviceSamples):
        self.predict = partial(predict_batches, model, data, *placed_batches(data))
        self.captured: tuple[torch.cuda.CUDAGraph, Tensor] | None = None

    def __call__(self) -> Tensor:
        """The next prediction overwrites it."""
        self.captured = self.captured or capture(self.predict)
        graph, predictions = self.captured
        graph.replay()
        return predictions


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
