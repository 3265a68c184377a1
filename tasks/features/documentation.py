"""The tables of ``docs/features.md``, made of the columns that the code has.

python -m tasks.features.documentation     writes the tables anew
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tasks.features import audio, vision
from tasks.features.columns import Column

PAGE = Path(__file__).parents[2] / "docs" / "features.md"
TABLES = {"vision": vision.COLUMNS, "audio": audio.COLUMNS}


def table(columns: Sequence[Column]) -> str:
    """A Markdown table with a row a column."""
    rows = [("column", "unit", "values", "what it measures", "made from"), ("---",) * 5]
    rows += [(f"`{c.name}`", c.unit, _ends(c), c.meaning, c.source) for c in columns]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def with_tables(page: str) -> str:
    """The page with what is between the marks of each table replaced by the table."""
    for name, columns in TABLES.items():
        before, found, after = page.partition(f"<!-- {name} -->\n")
        page = before + found + table(columns) + "\n" + after[after.index("<!-- end -->") :]
    return page


def _ends(column: Column) -> str:
    return "" if column.range is None else f"{column.range[0]:g} to {column.range[1]:g}"


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
