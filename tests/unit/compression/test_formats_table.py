"""The tables of formats and layers in docs/compression.md."""

from tests.support.models import formats_table, page_tables
from tests.support.models.keras_2 import layers_table


def test_the_tables_in_the_documentation_are_those_of_these_expectations() -> None:
    text = page_tables.PAGE.read_text(encoding="utf-8")
    assert formats_table.rewritten(text) == text, "run `make formats`"
    assert layers_table.rewritten(text) == text, "run `make formats`"
