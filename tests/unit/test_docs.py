"""The documentation agrees with the code."""

import re
from pathlib import Path

from modelpress.api import contract
from modelpress.api.conditions import ConditionType, Reason

REFERENCE = Path(__file__).parents[2] / "docs" / "reference.md"
_ROW = re.compile(r"^\| `([A-Za-z0-9_./-]+)` \| (.+) \|$", re.MULTILINE)


def _rows() -> dict[str, str]:
    return dict(_ROW.findall(REFERENCE.read_text()))


def test_every_reason_stands_in_the_reference_with_its_meaning() -> None:
    rows = _rows()
    assert {reason.value: rows.get(reason.value) for reason in Reason} == {
        reason.value: reason.meaning for reason in Reason
    }


def test_every_condition_type_stands_in_the_reference() -> None:
    assert {kind.value for kind in ConditionType} <= set(_rows()) | {"Available"}


def test_every_variable_of_a_container_stands_in_the_reference() -> None:
    variables = {value for value in vars(contract).values() if str(value).startswith("MODELPRESS_")}
    assert variables == {name for name in _rows() if name.startswith("MODELPRESS_")}
