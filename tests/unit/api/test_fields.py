"""The table of values by which the tests of a real control plane edit every field: none is forgotten."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from modelpress.api import crd
from modelpress.api.spec import Spec
from tests.support.cluster.fields import FIELDS, spec_of


def leaves(schema: Mapping[str, Any], where: str = "") -> Iterator[str]:
    """Yield the path of each field without fields of its own."""
    properties = schema.get("properties")
    if not properties:
        yield where
    for name, each in (properties or {}).items():
        yield from leaves(each, f"{where}.{name}" if where else name)


def test_every_field_of_the_schema_has_two_values() -> None:
    assert sorted(FIELDS) == sorted(leaves(crd.root_schema()["properties"]["spec"]))


@pytest.mark.parametrize("field", FIELDS)
def test_the_values_of_a_field_make_different_specs(field: str) -> None:
    specs = [spec_of(field, value) for value in (FIELDS[field].first, FIELDS[field].second, None)]
    assert specs[0] not in specs[1:]
    for spec in specs:
        Spec.model_validate(spec)
