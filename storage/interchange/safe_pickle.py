"""Pickles of numpy arrays and plain containers, written as any are, read without running what they name.

What a pickle may name is this table, and what it gets for it are classes of this module, which only take bytes and
lists apart. Arrays of records, of subclasses, or of objects other than text and arrays are refused.
"""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from storage.schema import StoreError

BROKEN = (
    pickle.UnpicklingError, EOFError, AttributeError, TypeError, ValueError, LookupError, MemoryError, OverflowError,
    RecursionError,
)  # fmt: skip
"""What damaged pickles raise, apart from ours."""


def load(path: Path) -> Any:
    """What the pickle holds: dicts, lists, tuples, strings, bytes, numbers, and ``Array`` for every array.

    Raises StoreError, which names what the pickle asked for, if it is not of these kinds.
    """
    try:
        with path.open("rb") as file:
            return _Unpickler(file, path).load()
    except OSError as cause:
        raise StoreError("unreadable", f"{path} cannot be read: {cause.strerror}") from cause
    except BROKEN as cause:
        raise StoreError("unreadable", f"{path} is no pickle of arrays and plain containers: {cause}") from cause


def dump(content: Any, path: Path) -> None:
    """Write a pickle of protocol 4, which Python reads from 3.4 on (numpy from 1.26 on)."""
    with path.open("wb") as file:
        pickle.dump(content, file, 4)


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: Any, path: Path) -> None:
        super().__init__(file, encoding="latin1")  # in which Python 2 wrote bytes
        self.path = path

    def find_class(self, module: str, name: str) -> Any:
        """What stands in for a name that the pickle asks for. Raises StoreError for any that is not on the list."""
        stand_in = STAND_INS.get((module.replace("numpy._core", "numpy.core"), name))
        if stand_in is None:
            raise StoreError(
                "hostile_pickle",
                f"{self.path} asks for {module}.{name}: only numpy arrays and plain containers are read from a pickle, "
                "and nothing in it is run",
            )
        return stand_in


class _StandIn:
    """No instance and no class of these takes attributes from a pickle."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError(f"{type(self).__name__.strip('_')} has no state")


class _Type(_StandIn):
    """A numpy type as a pickle describes it; ``numpy`` is the type."""

    __slots__ = ("numpy",)

    def __init__(self, code: str, *_: object) -> None:
        if not (isinstance(code, str) and re.fullmatch(r"[|<>=]?([biuf][1248]|[SU]\d{1,9}|O8?)", code)):
            raise pickle.UnpicklingError("an array is neither of numbers nor of text")
        self.numpy = np.dtype(code)

    def __setstate__(self, state: tuple) -> None:
        _, order, subarray, names, fields, *_ = state
        if (subarray, names, fields) != (None, None, None) or order not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError("an array is of records")
        self.numpy = self.numpy.newbyteorder(order)

    def array(self, content: object, shape: Sequence[int], fortran: bool) -> np.ndarray:
        """The array of this type that the content fills exactly. Raises UnpicklingError where it does not."""
        if not all(isinstance(size, int) and size >= 0 for size in shape):
            raise pickle.UnpicklingError("an array has no whole numbers for a shape")
        count = math.prod(shape)
        if self.numpy.kind == "O":
            if not isinstance(content, list) or len(content) != count:
                raise pickle.UnpicklingError("an array of objects is not as long as its shape says")
            values = np.empty(count, object)
            for place, value in enumerate(content):
                values[place] = value
        else:
            content = content.encode("latin1") if isinstance(content, str) else content
            if not isinstance(content, bytes | bytearray) or len(content) != count * self.numpy.itemsize:
                raise pickle.UnpicklingError("an array is not as long as its shape says")
            values = np.frombuffer(content, self.numpy) if len(content) else np.zeros(count, self.numpy)
        return values.reshape(shape, order="F" if fortran else "C")


class Array(_StandIn):
    """An array; of objects as the pickle lists them, that is, arrays in it are ``Array``."""

    __slots__ = ("values",)

    def __init__(self, *_: object) -> None:
        self.values = np.zeros(0)

    def __setstate__(self, state: tuple) -> None:
        _, shape, kind, fortran, content = state
        self.values = kind.array(content, shape, fortran)


class _ArrayOfBuffer(_StandIn):
    """What protocol 5 calls for an array: content, type, shape and order."""

    def __new__(cls, content: object, kind: _Type, shape: Sequence[int], order: str) -> Array:
        found = Array()
        found.values = kind.array(content, shape, order == "F")
        return found


class _Scalar(_StandIn):
    """A number or text of numpy's becomes one of Python's."""

    def __new__(cls, kind: _Type, content: object) -> Any:
        if kind.numpy.kind == "O":
            raise pickle.UnpicklingError("a scalar is an object")
        return kind.array(content, (), False).item()


class _Bytes(_StandIn):
    """Bytes, which protocol 2 writes as text to be encoded."""

    def __new__(cls, text: str = "", encoding: str = "latin1") -> bytes:
        if encoding != "latin1":
            raise pickle.UnpicklingError("bytes are not written as latin1")
        return text.encode("latin1")


STAND_INS = {
    ("numpy", "ndarray"): Array,
    ("numpy", "dtype"): _Type,
    ("numpy.core.multiarray", "_reconstruct"): Array,
    ("numpy.core.multiarray", "scalar"): _Scalar,
    ("numpy.core.numeric", "_frombuffer"): _ArrayOfBuffer,
    ("_codecs", "encode"): _Bytes,
    ("builtins", "bytes"): _Bytes,
    ("__builtin__", "bytes"): _Bytes,
    ("collections", "OrderedDict"): dict,
}
"""What is made of each name that a pickle may have, of numpy 1 and 2 and Python 2 and 3."""
