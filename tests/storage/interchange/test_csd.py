"""Computational sequences: the real labels are read right; what is broken or hostile is refused by file and key."""

import pickle

import h5py
import numpy as np
import pytest

from storage.interchange.csd import read_csd
from storage.schema import StoreError
from tests.storage.interchange.csd_files import write_csd


@pytest.mark.real_data
def test_the_real_labels_of_mosi(shared_data):
    sequence = read_csd(shared_data / "mosi" / "CMU_MOSI_Opinion_Labels.csd")
    assert sequence.name == "Opinion Segment Labels" and sequence.columns == ("sentiment score",)
    assert len(sequence.features) == 93 and sum(map(len, sequence.features.values())) == 2199
    assert sequence.features["03bSnISJMiM"].dtype == np.float32
    np.testing.assert_allclose(sequence.features["03bSnISJMiM"][:2, 0], [2.4, -0.8], rtol=1e-6)
    np.testing.assert_allclose(sequence.intervals["03bSnISJMiM"][0], [51.904533, 55.94535], rtol=1e-6)


SECONDS = np.array([[0, 0.5], [0.5, 1.25]])


def test_numbers_and_words(tmp_path):
    numbers = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    sequence = read_csd(write_csd(tmp_path / "a.csd", {"v": (SECONDS, numbers)}, columns=["f0", "h1", "h2"]))
    np.testing.assert_array_equal(sequence.features["v"], numbers, strict=True)
    np.testing.assert_array_equal(sequence.intervals["v"], SECONDS, strict=True)
    assert sequence.name == "acoustic" and sequence.columns == ("f0", "h1", "h2")

    told = np.array([["sp"], ["wörd"]])
    for words in (np.char.encode(told, "utf-8"), told.astype(h5py.string_dtype())):
        sequence = read_csd(write_csd(tmp_path / "w.csd", {"v": (SECONDS, words)}, name="words"))
        assert sequence.features["v"].dtype.kind == "U"
        np.testing.assert_array_equal(sequence.features["v"], told)


def test_names_of_columns_that_do_not_fit_are_none(tmp_path):
    numbers = np.ones((2, 3))
    for columns in (["one"], "text", [1, 2, 3], None):
        assert read_csd(write_csd(tmp_path / "a.csd", {"v": (SECONDS, numbers)}, columns=columns)).columns == ()


def test_a_video_without_intervals(tmp_path):
    videos = {"v": (np.zeros((0, 2)), np.zeros((0, 3))), "w": (SECONDS, np.ones((2, 3)))}
    assert read_csd(write_csd(tmp_path / "a.csd", videos)).features["v"].shape == (0, 3)


@pytest.mark.parametrize(
    ("intervals", "features"),
    [
        (SECONDS, np.ones((3, 3))),
        (SECONDS[:, :1], np.ones((2, 3))),
        (np.array([[0, np.nan], [1, 2]]), np.ones((2, 3))),
        (np.array([[b"a", b"b"], [b"a", b"b"]]), np.ones((2, 3))),
        (SECONDS, np.ones((2, 3), np.complex64)),
        (SECONDS, np.array([[b"\xff\xfe"], [b"a"]])),
    ],
)
def test_a_bad_video_is_named(tmp_path, intervals, features):
    with pytest.raises(StoreError, match=r"b\.csd.*/acoustic/data/v"):
        read_csd(write_csd(tmp_path / "b.csd", {"v": (intervals, features)}))


def test_videos_of_unlike_widths(tmp_path):
    videos = {"v": (SECONDS, np.ones((2, 3))), "w": (SECONDS, np.ones((2, 4)))}
    with pytest.raises(StoreError, match=r"unlike.*\[3, 4\]"):
        read_csd(write_csd(tmp_path / "b.csd", videos))


def test_no_other_file_is_opened(tmp_path):
    """External links, soft links, external and virtual storage."""
    other = write_csd(tmp_path / "other.csd", {"v": (SECONDS, np.ones((2, 3)))})
    (tmp_path / "secret").write_bytes(bytes(100))
    layout = h5py.VirtualLayout((2, 3), np.float64)
    layout[:] = h5py.VirtualSource(other, "acoustic/data/v/features", shape=(2, 3))

    def link(entry):
        entry["features"] = h5py.ExternalLink(str(other), "acoustic/data/v/features")

    def soft_link(entry):
        entry["features"] = h5py.SoftLink("/acoustic/data/v/intervals")

    def storage(entry):
        entry.create_dataset("features", (2, 3), "f8", external=[(tmp_path / "secret", 0, 48)])

    def virtual(entry):
        entry.create_virtual_dataset("features", layout)

    for hostile in (link, soft_link, storage, virtual):
        path = write_csd(tmp_path / "h.csd", {"v": (SECONDS, np.ones((2, 3)))})
        with h5py.File(path, "a") as file:
            del file["acoustic/data/v/features"]
            hostile(file["acoustic/data/v"])
        with pytest.raises(StoreError, match=r"h\.csd.*features"):
            read_csd(path)


def test_more_is_claimed_than_there_is(tmp_path):
    """A terabyte of nothing is refused before it is read."""
    path = write_csd(tmp_path / "h.csd", {"v": (SECONDS, np.ones((2, 3)))})
    with h5py.File(path, "a") as file:
        del file["acoustic/data/v/features"]
        file["acoustic/data/v"].create_dataset("features", (2**37, 1), "f8", chunks=(1024, 1))
    with pytest.raises(StoreError, match="claims 1099511627776 bytes"):
        read_csd(path)


class Canary:
    def __reduce__(self):
        return print, ("unpickled",)


def test_an_object_is_never_unpickled(tmp_path, capsys):
    path = write_csd(tmp_path / "h.csd", {"v": (SECONDS, np.ones((2, 3)))})
    with h5py.File(path, "a") as file:
        del file["acoustic/data/v/features"]
        file["acoustic/data/v/features"] = np.array([np.void(pickle.dumps(Canary()))] * 2)
    with pytest.raises(StoreError, match="numbers or words expected"):
        read_csd(path)
    assert capsys.readouterr().out == ""


def test_files_that_are_none(tmp_path):
    whole = write_csd(tmp_path / "a.csd", {"v": (np.zeros((900, 2)), np.random.default_rng(0).normal(size=(900, 9)))})
    content = whole.read_bytes()
    for bad in (b"", b"not HDF5", content[: len(content) // 2], content[:100]):
        (tmp_path / "b.csd").write_bytes(bad)
        with pytest.raises(StoreError, match=r"b\.csd"):
            read_csd(tmp_path / "b.csd")
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(StoreError, match="is not a computational sequence"):
            read_csd(folder)
    with h5py.File(whole, "a") as file:
        file.create_group("second")
    with pytest.raises(StoreError, match="one group expected, not 2"):
        read_csd(whole)
