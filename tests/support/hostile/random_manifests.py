"""Random bodies along the CRD's schema, mostly plausible: food for comparing two checkers."""

import random
from collections.abc import Mapping
from typing import Any

from modelpress.api.crd import root_schema

Schema = Mapping[str, Any]

STRINGS = (
    *("s3://models/m", "file:///m", "oci://registry.example.com/models", "a", "", "0" * 64, "x" * 300),
    *("50%", "0%", "100%", "-3.5%", "101%", "92"),
    *("1", "-1", "0", ".5", "1e-4", "1e99", "1e999", "nan", "+2.", "20Mi", "1.5G", "20MB"),
    *("nvidia.com/gpu", "nvidia.com/mig-1g.5gb", "ä" * 20, "two\nlines"),
)
GOOD = {  # by the field's name: else hardly a body would be accepted
    "uri": "s3://models/m",
    "sha256": "0" * 64,
    "sparsity": "50%",
    "l0Penalty": "1e-4",
    "learningRate": "0.01",
    "min": "-1",
    "max": "1",
    "minScore": "92%",
    "maxDrop": "0.5%",
    "maxSize": "20Mi",
    "maxRequestBytes": "64Mi",
    "maxSurge": "25%",
    "maxUnavailable": 1,
    "resourceName": "nvidia.com/mig-1g.5gb",
}
NUMBERS = (0, 1, 2, 3, 4, 7, 8, 16, 17, -1, 600, 10000, 10001, 2**31, 2**63 - 1, 0.5, 1e30)
STRANGE: tuple[Any, ...] = (None, True, "text", 5, 0.25, [], {}, ["a"], {"a": "b"})


def body(source: random.Random) -> dict[str, Any]:
    """Return one ModelDeployment; few fields are of a wrong type or unknown."""
    spec = _value(source, root_schema()["properties"]["spec"])
    if isinstance(spec, dict):
        spec.setdefault("model", {"uri": "s3://models/m"})
    return {
        "apiVersion": "modelpress.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": source.choice(["digits"] * 9 + ["a" * 41])},
        "spec": spec,
    }


def _value(source: random.Random, schema: Schema) -> Any:
    if source.random() < 0.01:
        return source.choice(STRANGE)
    if "enum" in schema:
        return source.choice([*schema["enum"] * 5, "Other"])
    kind = schema.get("type", source.choice(("integer", "string")))
    if kind == "object":
        return _object(source, schema)
    if kind == "array":
        return [_value(source, schema["items"]) for _ in range(source.randrange(3))]
    usual = [schema[key] for key in ("minimum", "maximum", "default") if key in schema]
    pools = {"boolean": [True, False], "integer": [*usual * 9, *NUMBERS], "string": ["a"] * 99 + [*STRINGS]}
    return source.choice(pools[kind])


def _object(source: random.Random, schema: Schema) -> dict[str, Any]:
    fields = schema.get("properties", {})
    required = schema.get("required", ())
    chosen = {
        name: _good(name, field) if name in GOOD and source.random() < 0.9 else _value(source, field)
        for name, field in fields.items()
        if source.random() < (0.99 if name in required else 0.3)
    }
    if source.random() < (0.003 if fields else 0.5):
        chosen["unknown"] = "value"
    return chosen


def _good(name: str, field: Schema) -> Any:
    return "oci://registry.example.com/models" if "oci://" in field["description"] else GOOD[name]
