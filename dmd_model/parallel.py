"""Calls side by side on the cores of a CPU, backward too.

PyTorch shares out every operation to its threads, which gains little where operations are small, and goes back through
a graph on one thread. Here each thread goes through whole calls, one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache, partial
from itertools import accumulate, chain, pairwise

import torch
from torch import Tensor

from dmd_model import kernels

Function = Callable[..., Tensor]
Arguments = tuple[Tensor | None, ...]
_threads: ContextVar[int] = ContextVar("threads", default=1)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """``calls`` within are shared out to so many threads, and PyTorch shares out no operation.

    It would do that to threads of its own, which then wait for the next by keeping a core busy.
    """
    before, token = torch.get_num_threads(), _threads.set(count)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        _threads.reset(token)
        torch.set_num_threads(before)


def calls(functions: Sequence[Function], arguments: Sequence[Arguments]) -> list[Tensor]:
    """What each function gives for its tensors, worked out on one thread, or as many as ``threads`` says.

    Each call has random numbers of its own, so the threads change no result (but gradients of a tensor that several
    calls share may be summed in another order).
    """
    functions = [partial(_with_seed, kernels.draw_seed(), function) for function in functions]
    count = _threads.get()
    if count == 1:
        return [function(*tensors) for function, tensors in zip(functions, arguments, strict=True)]
    if torch.is_grad_enabled():
        lengths = [len(tensors) for tensors in arguments]
        return list(_Calls.apply(_pool(count), functions, lengths, *chain(*arguments)))
    inference = torch.is_inference_mode_enabled()

    def call(function: Function, tensors: Arguments) -> Tensor:
        with torch.inference_mode(inference), torch.no_grad():
            return function(*tensors)

    return list(_pool(count).map(call, functions, arguments))


def _with_seed(seed: int, function: Function, *tensors: Tensor | None) -> Tensor:
    with kernels.seeded(seed):
        return function(*tensors)


@lru_cache(maxsize=1)
def _pool(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="calls")


class _Calls(torch.autograd.Function):
    """All calls as one function that autograd knows. Each has a graph of its own."""

    @staticmethod
    def forward(ctx, pool: ThreadPoolExecutor, functions: list[Function], lengths: list[int], *tensors: Tensor | None):
        """What ``functions`` give for tensors that lie one after the other, so many each as ``lengths`` say."""

        def call(function: Function, bounds: tuple[int, int]) -> tuple[list[Tensor | None], Tensor]:
            own = [tensor if tensor is None else tensor.detach() for tensor in tensors[slice(*bounds)]]
            for tensor, needed in zip(own, ctx.needs_input_grad[3:][slice(*bounds)], strict=True):
                if needed:
                    tensor.requires_grad_()
            return own, function(*own)

        bounds = list(pairwise(accumulate(lengths, initial=0)))
        ctx.pool, ctx.graphs = pool, list(pool.map(call, functions, bounds))
        return tuple(result.detach() for _, result in ctx.graphs)

    @staticmethod
    def backward(ctx, *grads: Tensor):
        """Gradients of the tensors, each call's worked out by one thread."""

        def back(graph: tuple[list[Tensor | None], Tensor], grad: Tensor) -> list[Tensor | None]:
            own, result = graph
            result.backward(grad)
            return [None if tensor is None else tensor.grad for tensor in own]

        return None, None, None, *chain(*ctx.pool.map(back, ctx.graphs, grads))
