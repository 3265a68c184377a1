"""What one column of a feature holds: its name, its unit, what it is made of, and where its values lie."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """``unit`` is empty for a number without one; ``source`` is what it is computed from.

    ``range`` are the least and the greatest value that a right measurement can have; None: any finite one.
    """

    name: str
    unit: str
    source: str
    meaning: str
    range: tuple[float, float] | None = None


def names(columns: tuple[Column, ...]) -> tuple[str, ...]:
    """The columns' names, in order."""
    return tuple(column.name for column in columns)
