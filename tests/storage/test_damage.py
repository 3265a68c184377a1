"""No phantom data: whatever is lost, flipped or cut off on disk raises or is not there; it is never read as data."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from storage.feature_store import FeatureStore
from storage.schema import StoreError, Word, fingerprint
from tests.storage.store_records import COLUMNS, RECIPE, some_dataset, some_frames, some_results, some_segments


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("damage") / "store"
    store = FeatureStore.open(str(folder))
    store.write_segments(some_segments(6))
    store.append("vision", RECIPE, COLUMNS, some_results(0, 20) | {"long": some_frames(99, count=9000)})
    store.append_words(RECIPE, {f"key{number}": (Word("a film", 0, 0.5),) * 3 for number in range(8)})
    store.publish(store.write_aligned(RECIPE, some_dataset()))
    return folder


def content(folder: Path) -> str:
    """Everything read and checked, as a process would that opens the store afresh."""
    return FeatureStore.open(str(folder), create=False).digest("main")


def test_a_missing_chunk_raises(whole):
    before = content(whole)
    for chunk in sorted((whole / "chunks").iterdir()):
        kept = chunk.rename(chunk.with_suffix(".gone"))
        try:
            with pytest.raises(StoreError, match=r"unreadable .*restore it"):
                content(whole)
        finally:
            kept.rename(chunk)
    assert content(whole) == before


@pytest.mark.parametrize(("folder", "flips"), [("chunks", 40), ("manifests", 15), ("snapshots", 10), ("refs", 5)])
def test_a_flipped_bit_raises_or_changes_nothing(whole, folder, flips):
    """A bit that matters raises; every bit of a chunk does. (Icechunk's own files have bits that nobody reads.)"""
    before = content(whole)
    dice = random.Random(0)
    main = FeatureStore.open(str(whole)).published().snapshot
    files = sorted(
        path for path in (whole / folder).rglob("*") if path.is_file() and folder != "snapshots" or path.name == main
    )
    noticed = 0
    for _ in range(flips):
        path = dice.choice(files)
        sound = path.read_bytes()
        flipped = bytearray(sound)
        bit = dice.randrange(8 * len(sound))
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            assert content(whole) == before
        except StoreError:
            noticed += 1
        finally:
            path.write_bytes(sound)
    assert noticed == flips if folder == "chunks" else noticed > 0


@pytest.mark.parametrize("seed", range(3))
def test_sigkill_leaves_whole_commits_only(tmp_path, seed):
    """Killed at any moment of a series of appends, the store holds the first n batches, and goes on from there."""
    folder, size, batches = tmp_path / "store", 7, 40
    program = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
from store_records import COLUMNS, RECIPE, some_results
from storage.feature_store import FeatureStore
store = FeatureStore.open({str(folder)!r})
print("open", flush=True)
for batch in range({batches}):
    store.append("vision", RECIPE, COLUMNS, some_results(batch * {size}, (batch + 1) * {size}))
"""
    child = subprocess.Popen([sys.executable, "-c", program], stdout=-1, text=True)
    assert child.stdout.readline() == "open\n"
    time.sleep(random.Random(seed).uniform(0, 0.6))
    child.kill()
    child.communicate()

    store = FeatureStore.open(str(folder), create=False)
    done = store.done("vision", fingerprint(RECIPE))
    count, rest = divmod(len(done), size)
    assert rest == 0 and set(done) == set(some_results(0, count * size))
    store.append("vision", RECIPE, COLUMNS, some_results(count * size, batches * size))

    undisturbed = FeatureStore.open(str(tmp_path / "undisturbed"))
    undisturbed.append("vision", RECIPE, COLUMNS, some_results(0, batches * size))
    assert store.digest() == undisturbed.digest()


@pytest.mark.parametrize("seed", range(3))
def test_sigkill_while_a_store_is_made_leaves_one_that_opens(tmp_path, seed):
    url = str(tmp_path / "store")
    program = f"import storage.feature_store as f; print(flush=True); f.FeatureStore.open({url!r})"
    child = subprocess.Popen([sys.executable, "-c", program], stdout=-1, text=True)
    child.stdout.readline()
    time.sleep(random.Random(seed).uniform(0, 0.03))
    child.kill()
    child.communicate()
    store = FeatureStore.open(url)
    store.write_segments(some_segments(2))
    assert len(FeatureStore.open(url, create=False).segments()) == 2
