"""The table of combinations in docs/compression.md."""

from tests.support.models import combinations, combinations_table, page_tables


def test_the_table_of_the_documentation_is_that_of_the_code() -> None:
    text = page_tables.PAGE.read_text(encoding="utf-8")
    assert text == combinations_table.rewritten(text), "run `make formats`"


def test_the_declared_schemes_are_those_of_the_api() -> None:
    assert len(combinations.SCHEMES) == len(set(combinations.SCHEMES)) == 9
