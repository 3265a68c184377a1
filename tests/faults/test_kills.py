"""Nothing is lost and nothing is done twice, wherever in the store's code a process dies."""

import json
import os
import subprocess
import sys

from tests.conftest import REPOSITORY


def test_sigkill_at_every_line_of_the_store_leaves_what_an_undisturbed_run_does(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.kill_at_every_line", str(tmp_path)],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["lines"] > 60 and found["kills"] == found["lines"]
    assert found["digests"] == [found["undisturbed"]]
