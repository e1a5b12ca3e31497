"""The table of formats in docs/compression.md."""

from tests.support.models import formats_table, page_tables


def test_the_table_in_the_documentation_is_the_one_of_these_expectations() -> None:
    text = page_tables.PAGE.read_text(encoding="utf-8")
    assert formats_table.rewritten(text) == text, "run `make formats`"
