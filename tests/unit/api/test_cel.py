"""CEL as the API server evaluates it: where cel-python alone would differ."""

from typing import Any

import pytest

from modelpress.api.validation import cel


def errors(rule: str, value: Any, **schema: Any) -> list[str]:
    described = {"x-kubernetes-validations": [{"rule": rule, "message": "no"}], **schema}
    return [str(error) for error in cel.errors(value, described, "spec")]


@pytest.mark.parametrize(
    ("rule", "value", "holds"),
    [
        ("self == '0%'", 0, False),
        ("self != '0%'", 0, True),
        ("self == 0", "0%", False),
        ("self == 1", 1, True),
        ("self == 1.0", 1, True),
        ("self == 'a'", "a", True),
        ("isQuantity(self)", "1.5Gi", True),
        ("isQuantity(self)", "1e3", True),
        ("isQuantity(self)", "20MB", False),
        ("isQuantity(self)", "Mi", False),
        ("isQuantity(self)", "", False),
        ("self.matches('^a$')", "a\n", False),
        ("has(self.x)", {}, False),
        ("has(self.x) && self.x.y == 1", {"x": {"y": 1}}, True),
    ],
)
def test_rules(rule: str, value: Any, holds: bool) -> None:
    assert errors(rule, value) == ([] if holds else ['spec: Invalid value: "": no'])


def test_a_rule_without_an_answer_refuses_the_value() -> None:
    (said,) = errors("1 / self == 1", 0, type="integer")
    assert said.startswith('spec: Invalid value: "integer": ')
    assert said.endswith("evaluating rule: no")


def test_a_false_side_wins_over_an_error() -> None:
    assert errors("double(self) > 0.0 && self.matches('^[0-9]')", "x") == ['spec: Invalid value: "": no']


def test_rules_of_absent_values_are_not_evaluated() -> None:
    broken = {"type": "string", "x-kubernetes-validations": [{"rule": "false", "message": "no"}]}
    schema = {"type": "object", "properties": {"a": broken}}
    assert list(cel.errors({}, schema)) == []
    assert list(cel.errors({"a": None}, schema)) == []
    assert [str(error) for error in cel.errors({"a": "x"}, schema)] == ['a: Invalid value: "string": no']


def test_rules_below_lists_and_maps_name_the_place() -> None:
    broken = {"type": "string", "x-kubernetes-validations": [{"rule": "self != 'x'", "message": "no"}]}
    schema = {
        "properties": {
            "list": {"type": "array", "items": broken},
            "map": {"type": "object", "additionalProperties": broken},
        }
    }
    value = {"list": ["y", "x"], "map": {"k": "x"}}
    assert [error.path for error in cel.errors(value, schema)] == ["list[1]", "map.k"]


def test_an_error_is_shown_at_the_field_path() -> None:
    rule = {"rule": "false", "message": "no", "fieldPath": ".a.b"}
    schema = {"type": "object", "x-kubernetes-validations": [rule]}
    assert [error.path for error in cel.errors({}, schema, "spec")] == ["spec.a.b"]
