"""What a pickle of arrays holds is read, of every protocol and numpy; what it asks to be run is refused and not run."""

import builtins
import codecs
import os
import pickle
import subprocess
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stnp

from storage.interchange.safe_pickle import Array, load
from storage.schema import StoreError

PLAIN = {
    "text": ["ä", "b"],
    "bytes": b"\x00\xff",
    "none": b"",
    "numbers": (1, -2.5, True, None),
    "order": OrderedDict(a=1),
}
ARRAYS = {
    "floats": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big endian": np.arange(3, dtype=">i4"),
    "bools": np.array([True, False]),
    "half": np.ones(2, np.float16),
    "text": np.array(["a", "bcd", "ä"]),
    "bytes": np.array([b"a", b"bc"]),
    "none": np.zeros((0, 5)),
    "scalar array": np.array(3),
}


def saved(path, content, protocol=4, numpy1=False):
    data = pickle.dumps(content, protocol)
    if numpy1:
        data = data.replace(
            b"numpy._core", b"numpy.core"
        )  # as numpy 1 wrote it, where the name has no length before it
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_arrays_and_plain_containers_of_every_protocol(tmp_path, protocol):
    found = load(saved(tmp_path / "a.pkl", PLAIN | {"arrays": ARRAYS}, protocol))
    assert {key: found[key] for key in PLAIN} == PLAIN
    for name, array in ARRAYS.items():
        assert isinstance(found["arrays"][name], Array)
        np.testing.assert_array_equal(found["arrays"][name].values, array, strict=True)


@pytest.mark.parametrize("protocol", [2, 3])
def test_arrays_of_numpy_1(tmp_path, protocol):
    found = load(saved(tmp_path / "a.pkl", ARRAYS, protocol, numpy1=True))
    np.testing.assert_array_equal(found["floats"].values, ARRAYS["floats"], strict=True)


def test_scalars_become_numbers_and_objects_stay_lists_of_arrays(tmp_path):
    ragged = np.empty(2, object)
    ragged[:] = [np.ones(2), "text"]
    found = load(saved(tmp_path / "a.pkl", [np.float64(1.5), np.int32(-3), np.str_("ä"), np.bytes_(b"x"), ragged]))
    assert found[:4] == [1.5, -3, "ä", b"x"]
    np.testing.assert_array_equal(found[4].values[0].values, np.ones(2))
    assert found[4].values[1] == "text"


def test_text_of_python_2(tmp_path):
    """Its strings are bytes, and an array's content is one."""
    data = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x02\x85"
        b"cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x10"
        + np.array([1.5, -2]).tobytes()
        + b"tb."
    )
    (tmp_path / "a.pkl").write_bytes(data)
    assert load(tmp_path / "a.pkl").values.tolist() == [1.5, -2]


@given(stnp.arrays(st.sampled_from([np.float32, np.float64, np.int64, bool, "<U3"]), stnp.array_shapes(min_side=0)))
def test_any_array(tmp_path_factory, array):
    path = tmp_path_factory.mktemp("pickles") / "a.pkl"
    np.testing.assert_array_equal(load(saved(path, array)).values, array, strict=True)


class Calls:
    """What it pickles as is a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize(
    ("function", "name"),
    [
        (os.system, "system"),
        (subprocess.Popen, "Popen"),
        (builtins.eval, "eval"),
        (builtins.getattr, "getattr"),
        (np.fromfile, "fromfile"),
        (np.load, "load"),
        (codecs.decode, "decode"),
        (open, "open"),
    ],
)
def test_whatever_a_pickle_would_call_is_named_and_not_called(tmp_path, protocol, function, name):
    canary = tmp_path / "canary"
    path = saved(tmp_path / "a.pkl", {"train": Calls(function, f"touch {canary}")}, protocol)
    with pytest.raises(StoreError, match=rf"a\.pkl asks for .*{name}.*nothing in it is run") as caught:
        load(path)
    assert caught.value.reason == "hostile_pickle"
    assert not canary.exists()


def test_names_behind_dots_are_not_looked_up(tmp_path):
    """From protocol 4 on, a name may be a path through what it names: ``ndarray.tofile``."""
    (tmp_path / "a.pkl").write_bytes(b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.")
    with pytest.raises(StoreError, match=r"asks for numpy\.ndarray\.tofile"):
        load(tmp_path / "a.pkl")


def test_what_stands_in_for_numpy_takes_nothing_from_a_pickle(tmp_path):
    """Neither attributes of the classes nor of their instances, by the opcodes that set them."""
    setting = b"(\x8c\x08__init__\x8c\x01xd."  # a dict, then BUILD is put before the end
    for class_ in (b"\x8c\x05numpy\x8c\x05dtype\x93", b"\x8c\x07_codecs\x8c\x06encode\x93"):
        (tmp_path / "a.pkl").write_bytes(b"\x80\x04" + class_ + b"N" + setting[:-1] + b"\x86b.")
        with pytest.raises(StoreError, match=r"no pickle of arrays"):
            load(tmp_path / "a.pkl")
    assert load(saved(tmp_path / "b.pkl", np.ones(2))).values.tolist() == [1, 1]


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(2, [("a", "f4"), ("b", "i4")]),
        np.zeros(2, "datetime64[s]"),
        np.zeros(2, np.complex64),
        np.zeros(2, "V8"),
    ],
)
def test_other_types_of_arrays_are_refused(tmp_path, array):
    with pytest.raises(StoreError, match="neither of numbers nor of text"):
        load(saved(tmp_path / "a.pkl", array))


def array_of(shape, content, kind="f8", state=("<", None, None, None)):
    """A pickle of an array that says what it likes about itself."""

    class Dtype:
        def __reduce__(self):
            return np.dtype, (kind, False, True), (3, *state, -1, -1, 0)

    class Hostile:
        def __reduce__(self):
            make = np.zeros(0).__reduce__()[0]
            return make, (np.ndarray, (0,), b"b"), (1, shape, Dtype(), False, content)

    return Hostile()


@pytest.mark.parametrize(
    "hostile",
    [
        array_of((10**12,), b"12345678"),
        array_of((-1,), b""),
        array_of(("x", 10**10), b""),
        array_of((2,), [1, 2]),
        array_of((2,), [1], "O"),
        array_of((2,), b"1" * 16, "O"),
        array_of((1,), b"1" * 8, state=("<", None, ("a",), {"a": 1})),
        array_of((1,), b"1" * 8, state=("?", None, None, None)),
        array_of((1,), b"1" * 8, kind="f8,f8"),
        array_of((1,), b"1" * 8, kind="O4"),
    ],
)
def test_arrays_that_lie_about_themselves(tmp_path, hostile):
    with pytest.raises(StoreError, match="no pickle of arrays"):
        load(saved(tmp_path / "a.pkl", hostile, 4))


def test_files_that_are_none(tmp_path):
    whole = pickle.dumps(ARRAYS, 4)
    for content in (b"", b"\x80", b"\x80\x04", b"text", whole[:-1], whole[: len(whole) // 2], b"\x80\x04]\x94h\x00a."):
        (tmp_path / "a.pkl").write_bytes(content)
        if content.endswith(b"a."):
            assert isinstance(load(tmp_path / "a.pkl"), list)
            continue
        with pytest.raises(StoreError, match=r"a\.pkl"):
            load(tmp_path / "a.pkl")
    with pytest.raises(StoreError, match="cannot be read"):
        load(tmp_path)


@given(st.binary(max_size=60))
def test_bytes_of_any_kind_give_no_other_error(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("pickles") / "a.pkl"
    path.write_bytes(b"\x80\x04" + content)
    try:
        load(path)
    except StoreError:
        pass
