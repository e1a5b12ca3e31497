"""Bodies that break one bound of the CRD's schema each, made from the schema itself."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from modelpress.api.crd import root_schema

Schema = Mapping[str, Any]

REQUIRED = {"uri": "s3://b/o", "min": "-1", "max": "1", "scheme": "Float16", "epochs": 1, "name": "n"}
STORAGE_URI = "oci://registry.example.com/models"


@dataclass(frozen=True)
class Breach:
    """A body that breaks one bound, and the line that says so."""

    bound: str  # spec.path and the bound's name
    body: dict[str, Any]
    error: str


def breaches() -> list[Breach]:
    """Return one breach for each bound of each field of the spec, and one for each required field."""
    spec = root_schema()["properties"]["spec"]
    return [
        Breach(f"{dotted(path)} {bound}", _body(spec, path, value), error)
        for path, schema in _fields(spec, ())
        for bound, value, error in _violations(dotted(path), schema)
    ]


def dotted(path: tuple[str, ...]) -> str:
    """Return a path as the API server writes it."""
    return ".".join(("spec", *path)).replace(".[0]", "[0]")


def _fields(schema: Schema, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Schema]]:
    for name, field in schema.get("properties", {}).items():
        yield (*path, name), field
        yield from _fields(field, (*path, name))
    items = schema.get("items", {})
    if items.get("properties"):
        yield from _fields(items, (*path, "[0]"))


def _violations(path: str, schema: Schema) -> Iterator[tuple[str, Any, str]]:
    """Yield the bound's name, a value beyond it, and the API server's line."""
    in_body = f"{path} in body should be"
    if "minimum" in schema:
        low = schema["minimum"] - 1
        text = f"{in_body} greater than or equal to {schema['minimum']}"
        yield "minimum", low, f"{path}: Invalid value: {low}: {text}"
    if "maximum" in schema:
        high = schema["maximum"] + 1
        text = f"{in_body} less than or equal to {schema['maximum']}"
        yield "maximum", high, f"{path}: Invalid value: {high}: {text}"
    if "maxLength" in schema:
        limit = schema["maxLength"]
        yield "maxLength", "a" * (limit + 1), f"{path}: Too long: may not be more than {limit} bytes"
    if schema.get("minLength"):
        text = f"{in_body} at least {schema['minLength']} chars long"
        yield "minLength", "", f'{path}: Invalid value: "": {text}'
    for bound, make in (("maxItems", _list), ("maxProperties", _map)):
        if bound in schema:
            count = schema[bound] + 1
            error = f"{path}: Too many: {count}: must have at most {schema[bound]} items"
            yield bound, make(count, schema), error


def _list(count: int, schema: Schema) -> list[Any]:
    return [dict.fromkeys(schema["items"].get("required", ()), "n") for _ in range(count)]


def _map(count: int, _schema: Schema) -> dict[str, str]:
    return {f"key{number}": "value" for number in range(count)}


def _body(spec: Schema, path: tuple[str, ...], value: Any) -> dict[str, Any]:
    filled = _with(spec, path, value)
    filled.setdefault("devices", {"type": "CPU"})
    return {
        "apiVersion": "modelpress.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "digits"},
        "spec": filled,
    }


def _with(schema: Schema, path: tuple[str, ...], value: Any) -> Any:
    """Return the smallest value of the schema that has `value` at `path`."""
    if not path:
        return value
    step, *rest = path
    if step == "[0]":
        return [_with(schema["items"], tuple(rest), value)]
    names = {*schema.get("required", ()), step}
    fields = schema["properties"]
    return {
        name: _with(fields[name], tuple(rest), value) if name == step else _smallest(name, fields[name])
        for name in sorted(names)
    }


def _smallest(name: str, schema: Schema) -> Any:
    if "properties" in schema:
        return {below: _smallest(below, schema["properties"][below]) for below in schema.get("required", ())}
    return STORAGE_URI if "oci://" in schema.get("description", "") else REQUIRED[name]
