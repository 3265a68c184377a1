"""The house rules that a machine can hold: which room may import which, and that nothing is unpickled."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

MAY_IMPORT = {
    "flows": {"flows", "tasks", "storage", "dmd_model"},
    "tasks": {"tasks", "storage", "dmd_model"},
    "storage": {"storage"},
    "dmd_model": {"dmd_model"},
}
MODULES = [path for room in MAY_IMPORT for path in sorted((REPOSITORY / room).rglob("*.py"))]


def imported(path: Path) -> Iterator[str]:
    """Top-level package of every import of a module, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield node.module.split(".")[0]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_imports_run_from_flows_to_tasks_to_storage_and_model(path: Path):
    room = path.relative_to(REPOSITORY).parts[0]
    rooms = {name for name in imported(path) if name in MAY_IMPORT}
    assert rooms <= MAY_IMPORT[room]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_nothing_is_unpickled_but_where_the_unpickler_is_restricted(path: Path):
    if path == REPOSITORY / "storage" / "interchange" / "safe_pickle.py":
        return
    assert not {"pickle", "joblib", "dill", "cloudpickle", "shelve"} & set(imported(path))


@pytest.mark.parametrize(
    ("room", "foreign"),
    [
        ("storage", {"torch", "prefect", "dask", "distributed", "av", "librosa", "mediapipe"}),
        ("dmd_model", {"zarr", "icechunk", "prefect", "dask", "distributed"}),
        ("tasks/features", {"prefect", "dask", "distributed", "zarr", "icechunk"}),
    ],
)
def test_rooms_know_nothing_of_each_others_trade(room: str, foreign: set[str]):
    for path in (REPOSITORY / room).rglob("*.py"):
        assert not foreign & set(imported(path)), path
