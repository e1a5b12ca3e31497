"""Records of who set which fields, as an API server writes them."""

import json
from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]
_ATOMIC = (
    "selector",
    "podSelector",
    "ingress",
    "policyTypes",
    "command",
    "args",
    "tolerations",
    "add",
    "drop",
)
_KEYS = {
    "ports": ("containerPort", "port", "protocol"),
    "volumeMounts": ("mountPath",),
    "ownerReferences": ("uid",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
}


def tree(value: Any, name: str = "") -> Json:
    """Return the set of all fields of a value."""
    if name in _ATOMIC:
        return {}
    if isinstance(value, Mapping):
        return {f"f:{key}": tree(item, key) for key, item in value.items()}
    if isinstance(value, list) and all(isinstance(item, Mapping) for item in value):
        keys = _KEYS.get(name, ("name",))
        return {
            f"k:{json.dumps({key: item[key] for key in keys if key in item})}": {".": {}, **tree(item)}
            for item in value
        }
    return {}


def entry(manager: str, fields: Mapping[str, Any], operation: str = "Update") -> Json:
    """Return the record of one manager, who owns these parts of an object."""
    return {"manager": manager, "operation": operation, "fieldsV1": tree(fields)}


def recorded(body: Mapping[str, Any], *others: Json) -> Json:
    """Return an object that we applied as it is, and of which `others` own parts."""
    metadata = body["metadata"]
    owned = {
        "metadata": {key: metadata[key] for key in ("labels", "annotations", "ownerReferences")},
        "spec": body["spec"],
    }
    record = [entry("modelpress", owned, "Apply"), *others]
    return {**body, "metadata": {**metadata, "managedFields": record}}
