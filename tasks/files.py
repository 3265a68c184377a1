"""Files that are there whole or not at all, and what names their content."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path


def write_text(path: Path, text: str) -> Path:
    """Write a text file atomically, its folder too where there is none; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
    return path


def digest(paths: Iterable[Path]) -> str:
    """Names the content of these files together: 16 hex digits of sha256."""
    sha256 = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            sha256.update(hashlib.file_digest(file, "sha256").digest())
    return sha256.hexdigest()[:16]
