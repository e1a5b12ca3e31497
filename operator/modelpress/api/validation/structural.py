"""A body against the structural schema of the CRD: unknown fields, defaults, types and bounds.

Order and wording follow the API server 1.34: `apiextensions-apiserver/pkg/apiserver/schema` (its packages
pruning and defaulting) and `kube-openapi/pkg/validation/validate`. CEL rules are in `cel`.
This module is pure.
"""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

from modelpress.api.validation.fields import FieldError, invalid, required, too_long, too_many, unsupported

Schema = Mapping[str, Any]

_PRESERVE = "x-kubernetes-preserve-unknown-fields"
_INT64 = range(-(2**63), 2**63)
_DIGITS_OF_A_FLOAT = 6  # more than these are written with an exponent
_EXACT = 2.0**53  # a whole number beyond it is no integer to the API server


def unknown_fields(value: Any, schema: Schema, path: str = "") -> Iterator[str]:
    """Yield the paths of fields that the schema does not know."""
    if schema.get(_PRESERVE):
        return
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from unknown_fields(item, schema.get("items", {}), f"{path}[{index}]")
    if not isinstance(value, dict):
        return
    for key, below in value.items():
        at = f"{path}.{key}" if path else str(key)
        part = child_schema(schema, key)
        if part is None:
            yield at
        else:
            yield from unknown_fields(below, part, at)


def child_schema(schema: Schema, key: str) -> Schema | None:
    """Return the schema of a field of an object; None where the field is unknown."""
    known: Schema | None = schema.get("properties", {}).get(key, schema.get("additionalProperties"))
    return known


def with_defaults(value: Any, schema: Schema) -> Any:
    """Return a deep copy with nulls dropped and the schema's defaults filled in."""
    if schema.get(_PRESERVE):
        return deepcopy(value)
    if isinstance(value, list):
        return [with_defaults(item, schema.get("items", {})) for item in value]
    if not isinstance(value, dict):
        return value
    filled = {key: item for key, item in value.items() if item is not None}
    for key, part in schema.get("properties", {}).items():
        if "default" in part:
            filled.setdefault(key, part["default"])
    return {key: with_defaults(item, child_schema(schema, key) or {}) for key, item in filled.items()}


def errors(value: Any, schema: Schema, path: str = "") -> Iterator[FieldError]:
    """Yield what breaks the schema's types, enums, bounds and required fields."""
    kind = _kind(value)
    accepted = (
        ["integer", "string"] if schema.get("x-kubernetes-int-or-string") else [schema.get("type", kind)]
    )
    if kind not in accepted and not ("integer" in accepted and _whole(value)):
        detail = f'{path} in body must be of type {",".join(accepted)}: "{kind}"'
        yield invalid(path, kind, detail, blocking=True)
    if isinstance(value, str):
        yield from _string_errors(value, schema, path)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from _number_errors(value, schema, path)
    elif isinstance(value, list):
        yield from _list_errors(value, schema, path)
    if "enum" in schema and value not in schema["enum"]:
        yield unsupported(path, value, schema["enum"])
    if isinstance(value, dict):
        yield from _object_errors(value, schema, path)


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer" if value in _INT64 else "number"
    names = {float: "number", str: "string", list: "array", dict: "object", type(None): "null"}
    return names[type(value)]


def _whole(value: Any) -> bool:
    return isinstance(value, float) and value.is_integer() and abs(value) < _EXACT


def _string_errors(value: str, schema: Schema, path: str) -> Iterator[FieldError]:
    if len(value) > schema.get("maxLength", len(value)):
        yield too_long(path, schema["maxLength"])
    elif len(value) < schema.get("minLength", 0):
        yield invalid(path, value, f"{path} in body should be at least {schema['minLength']} chars long")


def _number_errors(value: float, schema: Schema, path: str) -> Iterator[FieldError]:
    if value > schema.get("maximum", value):
        bound = _bound(schema["maximum"], value)
        yield invalid(path, value, f"{path} in body should be less than or equal to {bound}")
    if value < schema.get("minimum", value):
        bound = _bound(schema["minimum"], value)
        yield invalid(path, value, f"{path} in body should be greater than or equal to {bound}")


def _bound(bound: int, value: float) -> str:
    """Return a bound as Go's %v writes it: beside a float it is one, with an exponent from a million on."""
    digits = str(bound)
    if _kind(value) == "integer" or len(digits) <= _DIGITS_OF_A_FLOAT:
        return digits
    first, rest = digits[0], digits[1:].rstrip("0")
    return f"{first}{'.' + rest if rest else ''}e+{len(digits) - 1:02d}"


def _list_errors(value: list[Any], schema: Schema, path: str) -> Iterator[FieldError]:
    for index, item in enumerate(value):
        yield from errors(item, schema.get("items", {}), f"{path}[{index}]")
    if len(value) > schema.get("maxItems", len(value)):
        yield too_many(path, len(value), schema["maxItems"])


def _object_errors(value: dict[str, Any], schema: Schema, path: str) -> Iterator[FieldError]:
    prefix = f"{path}." if path else ""
    if len(value) > schema.get("maxProperties", len(value)):
        yield too_many(path, len(value), schema["maxProperties"])
    for key, item in value.items():
        part = child_schema(schema, key)
        if part is not None:
            yield from errors(item, part, prefix + key)
    for key in schema.get("required", ()):
        if key not in value:
            yield required(prefix + key)
