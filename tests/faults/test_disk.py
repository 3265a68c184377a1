"""A disk that is full, slow, read-only or taken away: a sentence, nothing half-written, and the next run goes on."""

import json
import shutil
import subprocess
import sys

import pytest

from storage.feature_store import FeatureStore
from storage.schema import StoreError, fingerprint
from tests.conftest import REPOSITORY
from tests.storage.store_records import COLUMNS, RECIPE, some_frames, some_results, some_segments

FULL = """
import json, resource, signal, sys
from storage.feature_store import FeatureStore
from storage.schema import StoreError
from tests.storage.store_records import COLUMNS, RECIPE, some_frames
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = FeatureStore.open(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    store.append("vision", RECIPE, COLUMNS, {"long": some_frames(99, count=9000)})
except StoreError as error:
    print(json.dumps([error.reason, str(error)]))
"""


@pytest.mark.parametrize("room", [0, 100, 1000, 20_000])
def test_a_full_disk_keeps_what_was_committed_and_takes_the_rest_when_there_is_room(tmp_path, room):
    """Files may not grow beyond ``room`` bytes, so that the commit fails at another of its files each time."""
    url = str(tmp_path / "store")
    store = FeatureStore.open(url)
    store.append("vision", RECIPE, COLUMNS, some_results(0, 5))
    before = store.digest()
    done = subprocess.run(
        [sys.executable, "-c", FULL, url, str(room)], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    reason, sentence = json.loads(done.stdout)
    assert reason == "unwritable" and url in sentence and "\n" not in sentence
    again = FeatureStore.open(url, create=False)
    assert again.digest() == before and "long" not in again.done("vision", fingerprint(RECIPE))
    again.append("vision", RECIPE, COLUMNS, {"long": some_frames(99, count=9000)})
    assert again.done("vision", fingerprint(RECIPE))["long"] is None


def test_a_store_that_is_taken_away_is_missed(tmp_path):
    folder = tmp_path / "store"
    store = FeatureStore.open(str(folder))
    store.write_segments(some_segments(3))
    shutil.rmtree(folder)
    with pytest.raises(StoreError, match="unreadable"):
        store.segments()
    with pytest.raises(StoreError, match="unwritable"):
        store.append("vision", RECIPE, COLUMNS, some_results(0, 5))


@pytest.mark.parametrize(("limited", "step"), [("size", 32_768), ("nr_inodes", 4)])
def test_wherever_the_disk_is_full_the_next_run_goes_on(namespace, tmp_path, limited, step):
    """Of bytes, and of files: at ever later places of the work."""
    done = subprocess.run(
        [*namespace, sys.executable, "-m", "tests.faults.small_disk", str(tmp_path), limited, str(step)],
        cwd=REPOSITORY, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found["failures"]) > 5 and found["digests"] == [found["undisturbed"]]
    assert all("\n" not in sentence for _, sentence in found["failures"])
    assert {reason for reason, _ in found["failures"]} == {"unwritable"}


READ_ONLY = """
import sys
from storage.feature_store import FeatureStore
from storage.schema import StoreError
from tests.storage.store_records import COLUMNS, RECIPE, some_results
store = FeatureStore.open(sys.argv[1])
print(store.digest())
for write in (lambda: store.append("vision", RECIPE, COLUMNS, some_results(5, 9)),
              lambda: FeatureStore.open(sys.argv[1] + "-new")):
    try:
        write()
    except StoreError as error:
        print(error.reason, error)
"""


def test_a_read_only_disk_is_read_and_said_to_be_read_only(namespace, tmp_path):
    folder = tmp_path / "disk"
    store = FeatureStore.open(str(folder / "store"))
    store.append("vision", RECIPE, COLUMNS, some_results(0, 5))
    before = store.digest()
    closed = f"mount --bind {folder} {folder} && mount -o remount,ro,bind {folder}"

    def said(*command: str) -> subprocess.CompletedProcess:
        shell = f'{closed} && exec "$@"'
        return subprocess.run(
            [*namespace, "sh", "-c", shell, "-", sys.executable, *command],
            cwd=REPOSITORY, capture_output=True, text=True,
        )  # fmt: skip

    done = said("-c", READ_ONLY, str(folder / "store"))
    assert done.returncode == 0, done.stderr
    digest, *sentences = done.stdout.splitlines()
    assert digest == before and store.digest() == before
    assert len(sentences) == 2 and all("unwritable" in line and "Read-only" in line for line in sentences)


SLOW = """
import sys
from storage.feature_store import FeatureStore
from tests.storage.store_records import COLUMNS, RECIPE, some_results
store = FeatureStore.open(sys.argv[1])
for batch in range(6):
    store.append("vision", RECIPE, COLUMNS, some_results(batch * 5, batch * 5 + 5))
"""


def test_who_reads_while_a_slow_disk_is_written_sees_whole_commits(tmp_path):
    """Each file gets its name 40 ms later than it would."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    url = str(tmp_path / "store")
    store = FeatureStore.open(url)
    slow = "strace -f -qq -o /dev/null -e trace=rename,linkat -e inject=rename,linkat:delay_enter=40000".split()
    writer = subprocess.Popen([*slow, sys.executable, "-c", SLOW, url], cwd=REPOSITORY)
    seen = set()
    while writer.poll() is None:
        seen.add(tuple(store.done("vision", fingerprint(RECIPE))))
    assert writer.returncode == 0
    whole = [tuple(some_results(0, batch * 5)) for batch in range(7)]
    assert {tuple(sorted(keys)) for keys in seen} <= {tuple(sorted(keys)) for keys in whole} and len(seen) > 3
    undisturbed = FeatureStore.open(str(tmp_path / "undisturbed"))
    undisturbed.append("vision", RECIPE, COLUMNS, some_results(0, 30))
    assert store.digest() == undisturbed.digest()
