"""Ragged arrays give back what was appended, however it was cut into appends, and notice any other rows."""

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from storage import ragged
from storage.schema import Failure, StoreError
from tests.storage.store_records import batches, failures

EMPTY = {"values": np.zeros((0, 2), np.float32), "mask": np.zeros(0, bool)}


@st.composite
def rows(draw):
    # a few thousand rows now and then, so that segments cross the borders of chunks
    count = draw(st.integers(0, 6) | st.sampled_from([1023, 2048, 4096, 5000]))
    first = draw(st.integers(0, 1000))
    values = np.arange(first, first + 2 * count, dtype=np.float32).reshape(count, 2)
    return {"values": values, "mask": values[:, 0] % 3 == 0}


def fresh_group() -> zarr.Group:
    group = zarr.create_group(zarr.storage.MemoryStore())
    ragged.create(group, EMPTY, {"recipe": {"a": 1}})
    return group


@settings(max_examples=15)
@given(batches(rows() | failures), st.randoms(use_true_random=False))
def test_round_trip_in_any_batches_and_any_order_of_reading(parts, random):
    group = fresh_group()
    for part in parts:
        ragged.append(group, part)
    written = {key: result for part in parts for key, result in part.items()}
    index = ragged.read_index(group)
    failed = {key: result for key, result in written.items() if isinstance(result, Failure)}
    assert index.results() == {key: failed.get(key) for key in written}

    keys = [key for key in written if key not in failed]
    random.shuffle(keys)
    asked = keys[: random.randint(0, len(keys))]
    found = ragged.read(group, index, asked)
    assert list(found) == asked
    for key, own in found.items():
        for name, values in own.items():
            np.testing.assert_array_equal(values, written[key][name], strict=True)


@settings(max_examples=15)
@given(batches(rows() | failures), st.randoms(use_true_random=False))
def test_digest_does_not_depend_on_batches_or_order(parts, random):
    cut, whole = fresh_group(), fresh_group()
    for part in parts:
        ragged.append(cut, part)
    together = [item for part in parts for item in part.items()]
    random.shuffle(together)
    ragged.append(whole, dict(together))
    assert ragged.digest(cut) == ragged.digest(whole)
    ragged.append(whole, {"one more, longer than any": Failure("silent", "")})
    assert ragged.digest(cut) != ragged.digest(whole)


@settings(max_examples=15)
@given(batches(rows() | failures))
def test_forgotten_failures_leave_the_rows(parts):
    group = fresh_group()
    for part in parts:
        ragged.append(group, part)
    written = {key: result for part in parts for key, result in part.items()}
    failed = {key: result for key, result in written.items() if isinstance(result, Failure)}
    ragged.forget_failures(group)
    index = ragged.read_index(group)
    assert index.results() == {key: None for key in written if key not in failed}
    ragged.append(group, failed)
    ragged.read(group, index, index.key)
    assert set(ragged.read_index(group).results()) == set(written)


@pytest.mark.parametrize("name", ["values", "mask", "index/key", "index/length", "index/sha256", "index/reason"])
def test_rows_that_were_not_appended_are_noticed(name):
    group = fresh_group()
    values = np.ones((5, 2), np.float32)
    ragged.append(group, {"a": {"values": values, "mask": np.ones(5, bool)}, "b": Failure("silent", "no sound")})
    array = group[name]
    array[0] = {"U": "x", "T": "x"}.get(array.dtype.char, 0)
    with pytest.raises(StoreError, match="not (the one|those) that (was|were) written") as raised:
        ragged.read(group, ragged.read_index(group), ["a"])
    assert raised.value.reason == "damaged"
