"""A disk that is full, and a store that is taken away: a sentence, nothing half-written, and the next run goes on."""

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
