"""The page on features says what the code does."""

from tasks.features.documentation import PAGE, TABLES, with_tables


def test_the_tables_of_the_page_are_those_of_the_code():
    page = PAGE.read_text(encoding="utf-8")
    assert with_tables(page) == page, "python -m tasks.features.documentation writes them anew"
    assert all(f"| `{column.name}` |" in page for columns in TABLES.values() for column in columns)


def test_every_column_says_what_it_measures_and_from_what():
    for columns in TABLES.values():
        assert all(column.meaning and column.source for column in columns)
        assert all(column.range is None or column.range[0] < column.range[1] for column in columns)
