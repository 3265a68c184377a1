"""Word vectors by name or by file: GloVe's text files of any dimension, read once and kept ready for memory mapping."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
from filelock import FileLock
from tqdm import tqdm

from tasks.assets import ASSETS, AssetError, cache_folder, fetch, file_sha256

READY = "glove.6B.50d"
"""The asset that comes as arrays."""
ARCHIVES = {
    **{f"glove.6B.{dimension}d": "glove.6B.zip" for dimension in (100, 200, 300)},
    "glove.840B.300d": "glove.840B.300d.zip",
}
"""The asset that holds ``<name>.txt``, by name."""
_SOURCE = "source.json"


@cache
def word_vectors(name: str) -> tuple[dict[str, int], np.ndarray]:
    """(word -> row, vectors float32 [V, D]); the vectors stay on disk until they are used.

    ``name`` is ``glove.6B.50d``, one of ``ARCHIVES``, or the path of a text file with a word and its numbers a line, of
    a zip of one, or of a folder that ``known_as`` names. Raises ``AssetError`` where it cannot be had or is something
    else.
    """
    if name == READY:
        folder = fetch(READY)
        return _read(folder / "glove_6B_index.parquet", np.load(folder / "glove_6B_50d_emb.npy", mmap_mode="r"))
    folder = _converted(name)
    return _read(folder / "words.parquet", np.load(folder / "vectors.npy", mmap_mode="r"))


def vectors_source(name: str) -> tuple[str, str]:
    """Name and SHA-256 of the file or files that the vectors come from. Raises ``AssetError``."""
    if name == READY:
        return READY, ASSETS[READY].sha256
    if (said := Path(name) / _SOURCE).is_file():
        source = json.loads(said.read_text(encoding="utf-8"))
        return source["name"], source["sha256"]
    return Path(name).name, file_sha256(_source(name))


def known_as(source: str, sha256: str) -> str:
    """The ``name`` of the vectors that came from ``source``, whose file, if it was somebody's own, may be gone since.

    Raises ``AssetError`` where that file was never read here.
    """
    if source in (READY, *ARCHIVES):
        return source
    folder = _folder(source, sha256)
    if not folder.is_dir():
        raise AssetError(
            f"The word vectors {source} with SHA-256 {sha256[:16]}… are a file of somebody's own that was never read "
            "here: extract any data set with word_vectors set to that file."
        )
    return str(folder)


def _read(words: Path, vectors: np.ndarray) -> tuple[dict[str, int], np.ndarray]:
    import pyarrow.parquet

    named = pyarrow.parquet.read_table(words)["index"].to_pylist()
    return {word: row for row, word in reversed(list(enumerate(named)))}, vectors  # of equal words the first


def _source(name: str) -> Path:
    if name in ARCHIVES:
        return fetch(ARCHIVES[name])
    path = Path(name).expanduser()
    if not path.is_file():
        known = ", ".join((READY, *ARCHIVES))
        raise AssetError(f"There are no word vectors {name!r}: name one of {known}, or a file in GloVe's format.")
    return path


def _folder(source: str, sha256: str) -> Path:
    return cache_folder() / "word_vectors" / f"{sha256[:16]}-{source}"


def _converted(name: str) -> Path:
    """The folder with ``words.parquet`` and ``vectors.npy`` of a text file; made where it is not there yet."""
    source, sha256 = vectors_source(name)
    folder = _folder(source, sha256)
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        if not folder.is_dir():  # another process was faster
            part = folder.with_name(f".{folder.name}.part")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            try:
                _convert(name, part)
                (part / _SOURCE).write_text(json.dumps({"name": source, "sha256": sha256}), encoding="utf-8")
                os.replace(part, folder)
            finally:
                shutil.rmtree(part, ignore_errors=True)
    return folder


def _convert(name: str, folder: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    with _text(name) as lines:
        first = next(iter(lines), b"")
        dimension, count = len(first.split()) - 1, 1 + sum(1 for _ in lines)
    vectors = np.lib.format.open_memmap(folder / "vectors.npy", "w+", np.float32, (count, max(1, dimension)))
    words = []
    with _text(name) as lines:
        for row, line in enumerate(tqdm(lines, total=count, desc=f"read {Path(name).name}", unit="word")):
            # a word may hold spaces
            word, *numbers = line.decode("utf-8", "replace").rstrip().rsplit(" ", dimension)
            try:
                vectors[row] = np.array(numbers, np.float64)
            except ValueError as error:
                wanted = f"a word and {dimension} numbers, as in the first line"
                raise AssetError(f"Line {row + 1} of {name} is not {wanted}: {line[:40]!r}") from error
            words.append(word)
    vectors.flush()
    pyarrow.parquet.write_table(pyarrow.table({"index": words}), folder / "words.parquet")


@contextmanager
def _text(name: str) -> Iterator[BinaryIO]:
    """The lines of the text file, which may be in an archive."""
    path = _source(name)
    if not zipfile.is_zipfile(path):
        with path.open("rb") as lines:
            yield lines
        return
    with zipfile.ZipFile(path) as archive:
        texts = [member for member in archive.namelist() if member.endswith(".txt")]
        member = f"{name}.txt" if name in ARCHIVES else texts[0] if len(texts) == 1 else ""
        if member not in texts:
            raise AssetError(f"{path} holds {', '.join(texts) or 'no text file'}: name an archive of one text file.")
        with archive.open(member) as lines:
            yield lines
