"""Workers find recordings in a folder of theirs or at an address, and say which of the two is wrong."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tasks.recordings import Recording, RecordingError, UnreachableError, measure_recording

NAME, CONTENT = "Raw/a video?/1 #2.mp4", b"moving pictures"


@pytest.fixture
def folder(tmp_path) -> Path:
    path = tmp_path / "raw" / NAME
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    return tmp_path / "raw"


@pytest.fixture
def address(folder, serve) -> str:
    return serve(folder)


def recording(root: str, name: str = NAME, content: bytes = CONTENT) -> Recording:
    return Recording(root, name, hashlib.sha256(content).hexdigest())


def test_a_file_in_a_folder_is_used_where_it_lies(folder):
    with recording(str(folder)).on_disk() as path:
        assert path == folder / NAME


def test_a_file_at_an_address_is_fetched_and_gone_again(address):
    seen: list[Path] = []

    def measure(path: Path, start: float) -> tuple[bytes, str, float]:
        seen.append(path)
        return path.read_bytes(), path.suffix, start

    assert measure_recording(measure, recording(address + "/"), 0.5) == (CONTENT, ".mp4", 0.5)
    assert not seen[0].parent.exists()


@pytest.mark.parametrize(
    ("name", "content", "reason"), [("Raw/none.mp4", CONTENT, "not_served"), (NAME, b"other pictures", "changed")]
)
def test_a_file_that_is_not_what_was_ingested_is_its_segments_failure(address, name, content, reason):
    with pytest.raises(RecordingError) as caught, recording(address, name, content).on_disk():
        pass
    assert caught.value.reason == reason and address in str(caught.value)


def test_raw_data_that_cannot_be_reached_is_no_segments_failure(tmp_path):
    with pytest.raises(UnreachableError, match=f"no folder {tmp_path / 'none'}"):
        measure_recording(lambda path: path, recording(str(tmp_path / "none")))
    with pytest.raises(UnreachableError, match="cannot be read from http://127.0.0.1:9/"):
        measure_recording(lambda path: path, recording("http://127.0.0.1:9"))
