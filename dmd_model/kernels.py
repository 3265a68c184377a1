"""The loops of attention and dropout on a CPU, compiled by Numba and kept in its cache.

PyTorch's own write every matrix of attention weights, and a mask for every dropout, to memory and read them again in
the backward pass. Here a block of weights stays in the processor's cache, and what was dropped is a hash of its place
and of a seed, which the backward pass knows without having been told.

The innermost loops run over neighbouring numbers, so that they become vector instructions: in attention over the asking
steps going forward, over the heard ones going backward.

Shapes: S streams, B batch, T_q steps that ask, T_k steps that are heard, E width, H heads of D = E / H columns.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from numba import boolean, float32, int64, njit, uint32, void
from torch import Tensor

_LANES, _MOST_LANES = 16, 64  # a block's rows are a multiple of the first, and no longer than the second
_UNSEEN = np.float32(-1e30)  # as a score: its weight is nothing
_LOG2_E = np.float32(math.log2(math.e))
_LN_2 = np.float32(math.log(2))
_BIAS, _MANTISSA = np.float32(127), np.float32(2**23)  # of the bits of a float32
_SMALLEST_EXPONENT = np.float32(-126)  # of a float32 that is not denormal
_ALL = 4294967295.0  # the largest hash
_MATHS = {"nsz", "arcp", "contract", "afn", "reassoc"}  # what is not finite stays so, and is found
_LOOPS = {"nogil": True, "fastmath": _MATHS, "error_model": "numpy"}
_random: ContextVar[torch.Generator | None] = ContextVar("random", default=None)
_ROW, _ARRAY, _SEEN, _RANGE = float32[::1], float32[:, :, :, :], boolean[:, :, :, :], (int64, int64, int64)


def serve(x: Tensor) -> bool:
    """Whether these loops are for such tensors, and not the formulas of PyTorch that do the same."""
    return x.device.type == "cpu" and x.dtype == torch.float32 and not torch.compiler.is_compiling()


def draw_seed() -> int:
    """64 bits of PyTorch's own random numbers, or of those that this thread is ``seeded`` with."""
    return int(torch.empty((), dtype=torch.int64).random_(-(2**63), None, generator=_random.get()))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seeds that are drawn within follow from this one."""
    token = _random.set(torch.Generator().manual_seed(seed))
    try:
        yield
    finally:
        _random.reset(token)


def run(kernel: Callable[..., None], arrays: tuple[np.ndarray, ...], *scalars: float, count: int) -> None:
    """The kernel over ``count`` items, shared out to as many threads as PyTorch has; that changes no result."""
    threads = torch.get_num_threads()
    if threads == 1:
        return kernel(*arrays, *scalars, 0, count)
    bounds = [count * number // threads for number in range(threads + 1)]
    list(_pool(threads).map(lambda first, last: kernel(*arrays, *scalars, first, last), bounds, bounds[1:]))


@lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="kernel")


@lru_cache
def attention(columns: int, lanes: int) -> tuple[Callable[..., None], Callable[..., None]]:
    """The loops over samples, forward and backward, for heads of so many columns, and with rows of so many steps."""
    return _compiled(
        (_forward(columns, lanes), void(*[_ARRAY] * 3, _SEEN, _ROW, *[_ARRAY] * 3, *_RANGE)),
        (_backward(columns, lanes), void(*[_ARRAY] * 3, _SEEN, _ROW, *[_ARRAY] * 7, *_RANGE)),
    )


def lanes(steps: int) -> int:
    """How long the rows of a block are that goes through so many steps. Known to the compiler, it spares it a loop."""
    return min(_MOST_LANES, -(-steps // _LANES) * _LANES)


@lru_cache
def dropout() -> Callable[..., None]:
    """The loop of dropout over the elements of an array."""
    return _compiled((_dropout, void(_ROW, _ROW, float32, float32, *_RANGE)))[0]


def _compiled(*functions) -> tuple[Callable[..., None], ...]:
    """Functions for arguments of these types, each compiled once on a machine.

    Under a lock, for two processes that compile a function at the same moment leave a cache that none can read.
    """
    with FileLock(Path(tempfile.gettempdir()) / f"dmd-kernels-{os.getuid()}.lock"):
        return tuple(njit(types, cache=True, **_LOOPS)(function) for function, types in functions)


@njit(inline="always", **_LOOPS)
def _exp2(exponent):
    """Two to a power of at most 0: to the whole part by its bits, to the rest by a polynomial (to 2e-7)."""
    x = max(exponent, _SMALLEST_EXPONENT)
    whole = np.floor(x)
    rest = x - whole
    power = np.float32(1.8775767e-3)
    power = power * rest + np.float32(8.9893397e-3)
    power = power * rest + np.float32(5.5826318e-2)
    power = power * rest + np.float32(2.4015361e-1)
    power = power * rest + np.float32(6.9315308e-1)
    power = power * rest + np.float32(9.9999994e-1)
    power *= np.int32((whole + _BIAS) * _MANTISSA).view(np.float32)
    return power if exponent > _SMALLEST_EXPONENT else np.float32(0)  # denormal numbers are very slow


@njit(inline="always", **_LOOPS)
def _hash(place, seeds):
    """Of a place and a seed: Murmur3's last steps. What has too small a one is dropped."""
    bits = uint32(place ^ (place >> uint32(16)))
    bits = uint32(uint32(bits * uint32(0x85EBCA6B)) ^ seeds[1])
    bits = uint32(bits ^ (bits >> uint32(13)))
    bits = uint32(bits * uint32(0xC2B2AE35))
    return uint32(bits ^ (bits >> uint32(16)))


@njit(**_LOOPS)
def _drop(row, threshold, place, step, seeds):
    """Zero what is dropped of a row whose first number has this place, and the others every ``step`` more."""
    for i in range(row.shape[0]):
        row[i] = row[i] if _hash(uint32(place + uint32(i) * step), seeds) >= threshold else np.float32(0)


def _dropout(x, out, lowest, rate, seed, first, last):
    """From ``x`` to ``out``, rows of numbers: what is below ``lowest`` becomes that, and some are dropped."""
    seeds, threshold, share = (uint32(seed), uint32(seed >> 32)), uint32(rate * _ALL), np.float32(1 / (1 - rate))
    part, of_part, place = x[first:last], out[first:last], uint32(seeds[0] + first)
    for i in range(part.shape[0]):
        kept = share if _hash(uint32(place + uint32(i)), seeds) >= threshold else np.float32(0)
        of_part[i] = max(part[i], lowest) * kept


def _forward(columns: int, lanes: int):
    def forward(query, key, value, seen, rates, heard, largest, shares, seed, first, last):
        """Fill ``heard`` [S, B, T_q, E] of the samples from ``first`` on; ``seen`` is [S, B, T_q or 1, T_k].

        What is kept for the way back: the ``largest`` score of each step and head, and its ``shares``, one over the
        sum of the weights, both [S, B, H, T_q]. A step that hears nothing gets zeros, and no share.
        """
        batch, asking, steps, heads = query.shape[1], query.shape[2], key.shape[2], shares.shape[2]
        seeds, scale = (uint32(seed), uint32(seed >> 32)), np.float32(_LOG2_E / math.sqrt(columns))
        block, unseen = np.empty((steps, lanes), np.float32), np.zeros((steps, lanes), np.float32)
        asked, answer = np.zeros((columns, lanes), np.float32), np.empty((columns, lanes), np.float32)
        highest, total, hears = np.empty(lanes, np.float32), np.empty(lanes, np.float32), np.empty(lanes, np.bool_)
        for sample in range(first, last):
            s, b = sample // batch, sample % batch
            threshold, kept = uint32(rates[s] * _ALL), np.float32(1 / (1 - rates[s]))
            asks, keys, values, said = query[s, b], key[s, b], value[s, b], heard[s, b]
            for start in range(0, asking, lanes):
                count = min(lanes, asking - start)
                _see(seen[s, b], start, count, unseen, hears)
                for head in range(heads):
                    left = head * columns
                    for i in range(count):
                        for d in range(columns):
                            asked[d, i] = asks[start + i, left + d] * scale
                    for i in range(lanes):
                        highest[i], total[i] = _UNSEEN, 0
                    for d in range(columns):
                        for i in range(lanes):
                            answer[d, i] = 0
                    for j in range(steps):
                        for i in range(lanes):
                            score = unseen[j, i]
                            for d in range(columns):
                                score += keys[j, left + d] * asked[d, i]
                            block[j, i] = score
                            highest[i] = max(highest[i], score)
                    for j in range(steps):
                        for i in range(lanes):
                            weight = _exp2(block[j, i] - highest[i])
                            block[j, i] = weight
                            total[i] += weight
                        if threshold:
                            place = uint32(seeds[0] + ((sample * heads + head) * steps + j) * asking + start)
                            _drop(block[j], threshold, place, uint32(1), seeds)
                        for i in range(lanes):
                            weight = block[j, i]
                            for d in range(columns):
                                answer[d, i] += values[j, left + d] * weight
                    for i in range(count):
                        share = np.float32(1) / total[i] if hears[i] else np.float32(0)
                        largest[s, b, head, start + i], shares[s, b, head, start + i] = highest[i], share
                        for d in range(columns):
                            said[start + i, left + d] = answer[d, i] * (share * kept) if hears[i] else np.float32(0)

    return forward


@njit(**_LOOPS)
def _see(seen, start, count, unseen, hears):
    """What to add to the scores of ``count`` steps from ``start`` on, [T_k, lanes], and whether each hears anything."""
    hears[:] = False
    for j in range(seen.shape[1]):
        for i in range(count):
            sees = seen[min(start + i, seen.shape[0] - 1), j]
            unseen[j, i] = np.float32(0) if sees else _UNSEEN
            hears[i] |= sees


def _backward(columns: int, lanes: int):
    def backward(
        query, key, value, seen, rates, heard, largest, shares, grad, of_query, of_key, of_value, seed, first, last
    ):
        """Fill the gradients of query (zeros so far), key and value of the samples from ``first`` on."""
        batch, asking, steps, heads = query.shape[1], query.shape[2], key.shape[2], shares.shape[2]
        seeds, scale = (uint32(seed), uint32(seed >> 32)), np.float32(1 / math.sqrt(columns))
        unseen, kept = np.zeros((seen.shape[2], lanes), np.float32), np.empty(lanes, np.float32)
        weights, of_scores = np.empty(lanes, np.float32), np.empty(lanes, np.float32)
        keys, values = np.zeros((columns, lanes), np.float32), np.zeros((columns, lanes), np.float32)
        of_keys, of_values = np.empty((columns, lanes), np.float32), np.empty((columns, lanes), np.float32)
        asked, asks = np.empty((asking, columns), np.float32), np.empty((asking, columns), np.float32)
        expected = np.empty(asking, np.float32)
        for sample in range(first, last):
            s, b = sample // batch, sample % batch
            threshold, share = uint32(rates[s] * _ALL), np.float32(1 / (1 - rates[s]))
            for start in range(0, steps, lanes):
                count = min(lanes, steps - start)
                for i in range(seen.shape[2]):
                    for j in range(lanes):
                        sees = j < count and seen[s, b, i, start + j]
                        unseen[i, j] = np.float32(0) if sees else _UNSEEN
                for head in range(heads):
                    left = head * columns
                    for d in range(columns):
                        for j in range(count):
                            keys[d, j], values[d, j] = key[s, b, start + j, left + d], value[s, b, start + j, left + d]
                        for j in range(lanes):
                            of_keys[d, j], of_values[d, j] = 0, 0
                    for i in range(asking):
                        expected[i] = 0
                        for d in range(columns):
                            asked[i, d] = query[s, b, i, left + d] * (scale * _LOG2_E)
                            asks[i, d] = grad[s, b, i, left + d]
                            expected[i] += asks[i, d] * heard[s, b, i, left + d]
                    for i in range(asking):
                        row, highest, part = min(i, seen.shape[2] - 1), largest[s, b, head, i], shares[s, b, head, i]
                        for j in range(lanes):
                            score = unseen[row, j]
                            for d in range(columns):
                                score += keys[d, j] * asked[i, d]
                            weights[j] = _exp2(score - highest) * part
                            kept[j] = weights[j] * share
                        if threshold:
                            place = uint32(seeds[0] + ((sample * heads + head) * steps + start) * asking + i)
                            _drop(kept, threshold, place, uint32(asking), seeds)
                        for j in range(lanes):
                            wanted = np.float32(0)
                            for d in range(columns):
                                wanted += values[d, j] * asks[i, d]
                            of_scores[j] = kept[j] * wanted - weights[j] * expected[i]
                        for d in range(columns):
                            for j in range(lanes):
                                of_values[d, j] += asks[i, d] * kept[j]
                        for d in range(columns):
                            for j in range(lanes):
                                of_keys[d, j] += asked[i, d] * of_scores[j]
                        for d in range(columns):
                            change = np.float32(0)
                            for j in range(count):
                                change += of_scores[j] * keys[d, j]
                            of_query[s, b, i, left + d] += change * scale
                    for j in range(count):
                        for d in range(columns):
                            of_key[s, b, start + j, left + d] = of_keys[d, j] * _LN_2
                            of_value[s, b, start + j, left + d] = of_values[d, j]

    return backward
