"""Evaluates the CRD's CEL rules as the API server does, with cel-python.

A rule is evaluated wherever its value is present, each on its own: the ones of an object and the ones of its
fields. cel-python differs from the API server in three points, which are bridged or avoided here and in the
rules: it has no `isQuantity`, it refuses to compare an int with a string, and it does not check types before
evaluation, so that rules must also be proven on an API server. It is imported on first use: an operator that
never checks manifests does not need it.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

from modelpress.api.conditions import Reason
from modelpress.api.crd import RULES
from modelpress.api.errors import UsageError
from modelpress.api.validation.fields import FieldError, invalid
from modelpress.api.validation.structural import Schema, child_schema

# k8s.io/apimachinery/pkg/api/resource: sign, digits, then a binary, decimal or exponent suffix
_QUANTITY = re.compile(r"[+-]?([0-9]+([.][0-9]*)?|[.][0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?")


class RuleFault(Exception):
    """A rule has no answer for a value, such as a division by zero; the API server then refuses the value."""


def errors(value: Any, schema: Schema, path: str = "") -> Iterator[FieldError]:
    """Yield one error for each rule of the schema that the value breaks."""
    if value is None:
        return
    for rule in schema.get(RULES, ()):
        yield from _rule_errors(rule, value, schema, path)
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from errors(item, schema.get("items", {}), f"{path}[{index}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            at = f"{path}.{key}" if path else key
            yield from errors(item, child_schema(schema, key) or {}, at)


def _rule_errors(rule: Mapping[str, str], value: Any, schema: Schema, path: str) -> Iterator[FieldError]:
    kind = schema.get("type", "")
    try:
        holds = _program(rule["rule"])(value)
    except RuleFault as fault:
        yield invalid(path, kind, f"{fault} evaluating rule: {rule['message']}")
        return
    if not holds:
        yield invalid((path + rule.get("fieldPath", "")).lstrip("."), kind, rule["message"])


@cache
def _program(expression: str) -> Callable[[Any], bool]:
    """Compile a rule; the result takes `self` and raises RuleFault."""
    celpy = _celpy()
    environment = celpy.Environment()
    functions = {"isQuantity": _is_quantity, "_==_": _equal, "_!=_": _unequal}
    runner = environment.program(environment.compile(expression), functions=functions)

    def evaluate(value: Any) -> bool:
        try:
            return bool(runner.evaluate({"self": celpy.json_to_cel(value)}))
        except celpy.CELEvalError as error:
            raise RuleFault(error.args[0]) from error

    return evaluate


@cache
def _celpy() -> Any:
    try:
        import celpy  # noqa: PLC0415 - takes half a second, and only checks need it
    except ImportError as error:
        raise UsageError(
            Reason.INVALID_SPEC,
            "checking a manifest needs cel-python: install it with pip install 'modelpress[local]'",
        ) from error
    return celpy


def _is_quantity(text: Any) -> Any:
    return _celpy().celtypes.BoolType(_QUANTITY.fullmatch(str(text)) is not None)


def _equal(left: Any, right: Any) -> Any:
    """Equality of CEL: values of two types differ, but numbers compare by value; errors pass through."""
    celpy = _celpy()
    for side in (left, right):
        if isinstance(side, celpy.CELEvalError):
            return side
    types = celpy.celtypes
    numbers = (types.IntType, types.UintType, types.DoubleType)
    if type(left) is type(right):
        return types.BoolType(left == right)
    both = isinstance(left, numbers) and isinstance(right, numbers)
    return types.BoolType(both and float(left) == float(right))


def _unequal(left: Any, right: Any) -> Any:
    equal = _equal(left, right)
    return equal if isinstance(equal, _celpy().CELEvalError) else _celpy().celtypes.BoolType(not equal)
