"""What the tests of faults share."""

import subprocess

import pytest

NAMESPACE = ("unshare", "--map-root-user", "--mount")
"""In front of a command: it may mount file systems, which nobody else sees."""


@pytest.fixture(scope="session")
def namespace(tmp_path_factory) -> tuple[str, ...]:
    folder = tmp_path_factory.mktemp("mount")
    try:
        tried = subprocess.run(
            [*NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", str(folder)], capture_output=True, text=True
        )
    except FileNotFoundError:
        pytest.skip("unshare (util-linux) is not installed")
    if tried.returncode:
        pytest.skip(f"file systems cannot be mounted here: {tried.stderr.strip()}")
    return NAMESPACE
