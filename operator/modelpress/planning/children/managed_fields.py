"""Who set which fields of an object: the API server's own record, metadata.managedFields.

A set of fields is a tree: "f:NAME" is a field, 'k:{"name": "x"}' the item of a list with such keys, "v:VALUE"
the item of a set, "." the item or field itself. A list or object that is owned as one has nothing below it.
The record tells a person from an admission webhook: what a webhook adds to a request, or changes in it, is
recorded for nobody, since the server writes the record before it asks webhooks.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from modelpress.api.names import FIELD_MANAGER
from modelpress.planning.children import objects
from modelpress.planning.types import Body

Tree = Mapping[str, Any]
Path = tuple[str, ...]

REPLICAS: Path = ("f:spec", "f:replicas")

_APPLY = "Apply"
# The name that the server gives to all fields of an object that had no record when it was first applied.
_UNKNOWN = "before-first-apply"
_ABSENT = object()


def slim(entries: Any) -> list[dict[str, Any]]:
    """Return what of a record is asked for here: it is kept for every object that we apply."""
    kept = ("manager", "operation", "subresource", "fieldsV1")
    return [
        {key: entry[key] for key in kept if key in entry}
        for entry in entries or ()
        if set(entry.get("fieldsV1", ())) - {"f:status"}
    ]


def are_known(body: Body) -> bool:
    """Return whether an object has a record; local mode keeps none."""
    return "managedFields" in body["metadata"]


def applied(body: Body) -> Tree | None:
    """Return the fields that we applied and that nobody else has changed since, or None without any."""
    entries = objects.items(body, "metadata", "managedFields")
    own = (entry for entry in entries if _is_ours(entry) and entry.get("operation") == _APPLY)
    return next((entry["fieldsV1"] for entry in own), None)


def of_others(body: Body) -> tuple[Tree, ...]:
    """Return the fields of each other manager."""
    entries = objects.items(body, "metadata", "managedFields")
    return tuple(entry["fieldsV1"] for entry in entries if not _is_ours(entry) and entry.get("fieldsV1"))


def scaled_by(body: Body) -> str | None:
    """Return who set spec.replicas through the subresource /scale, as autoscalers and `kubectl scale` do."""
    entries = objects.items(body, "metadata", "managedFields")
    found = (
        entry
        for entry in entries
        if entry.get("subresource") == "scale" and objects.dig(entry, "fieldsV1", *REPLICAS) is not None
    )
    return next((str(entry.get("manager")) for entry in found), None)


def _is_ours(entry: Body) -> bool:
    return entry.get("manager") in (FIELD_MANAGER, _UNKNOWN)


def lacking(tree: Tree, desired: Any, found: Any, at: Path = ()) -> Iterator[Path]:
    """Yield the fields of `desired` that a set of fields lacks.

    One that is empty, and empty in the object found, is left out by the API server and has no owner.
    """
    for step, value in _steps(tree, desired):
        below, inner = tree.get(step), child(found, step)
        if below is None:
            if not (is_empty(value) and (inner is _ABSENT or is_empty(inner))):
                yield (*at, step)
        elif below:
            yield from lacking(below, value, inner, (*at, step))


def beyond(tree: Tree, desired: Any, at: Path = ()) -> Iterator[Path]:
    """Yield the fields of a set that `desired` does not name: of each branch the first."""
    for step, below in tree.items():
        if step == ".":
            continue
        inner = child(desired, step)
        if inner is _ABSENT:
            yield (*at, step)
        else:
            yield from beyond(below, inner, (*at, step))


def holds(body: Any, path: Path) -> bool:
    """Return whether an object has a field."""
    for step in path:
        body = child(body, step)
    return body is not _ABSENT


def without(body: Any, path: Path) -> Any:
    """Return an object without a field; another is not changed."""
    step, rest = path[0], path[1:]
    inner = child(body, step)
    if inner is _ABSENT:
        return body
    kept = without(inner, rest) if rest else _ABSENT
    if isinstance(body, Mapping):
        name = step[2:]
        return {
            key: kept if key == name else value
            for key, value in body.items()
            if key != name or kept is not _ABSENT
        }
    return [kept if item is inner else item for item in body if item is not inner or kept is not _ABSENT]


def selected(tree: Tree, body: Any) -> Any:
    """Return only what a set of fields names of an object."""
    if not set(tree) - {"."}:
        return body
    if isinstance(body, Mapping):
        return {key: selected(tree[f"f:{key}"], value) for key, value in body.items() if f"f:{key}" in tree}
    chosen = [(child(body, step), below) for step, below in tree.items() if step != "."]
    found = [(item, below) for item, below in chosen if item is not _ABSENT]
    return [selected(below, item) for item, below in sorted(found, key=lambda pair: _position(body, pair[0]))]


def released(entries: Iterable[Body], path: Path) -> list[dict[str, Any]]:
    """Return a record in which no other manager owns a field or what is below it.

    A default that somebody names stays theirs, whatever is written.
    """
    made = [
        {**entry, "fieldsV1": entry["fieldsV1"] if _is_ours(entry) else _cut(entry["fieldsV1"], path)}
        for entry in entries
    ]
    return [entry for entry in made if entry["fieldsV1"]]


def child(body: Any, step: str) -> Any:
    """Return what a step leads to; what that is not is no part of any object."""
    kind, _, text = step.partition(":")
    if kind == "f":
        return body.get(text, _ABSENT) if isinstance(body, Mapping) else _ABSENT
    if not isinstance(body, list | tuple):
        return _ABSENT
    if kind == "i":
        return body[int(text)] if int(text) < len(body) else _ABSENT
    key = json.loads(text)
    if kind == "v":
        return next((item for item in body if item == key), _ABSENT)
    return next((item for item in body if _has_key(item, key)), _ABSENT)


def shown(path: Path) -> str:
    """Return a path as a person writes it: spec.template.spec.containers[worker].image."""
    text = ""
    for step in path:
        kind, _, rest = step.partition(":")
        if kind == "f":
            text += f"[{rest}]" if "." in rest or "/" in rest else f".{rest}"
        else:
            key = json.loads(rest)
            values = key.values() if isinstance(key, Mapping) else (key,)
            text += f"[{'/'.join(str(value) for value in values)}]"
    return text.removeprefix(".")


def is_empty(value: Any) -> bool:
    """Return whether the API server leaves a value out; an empty object below is left out too."""
    if isinstance(value, Mapping):
        return all(is_empty(item) for item in value.values())
    return not value


def _steps(tree: Tree, desired: Any) -> Iterator[tuple[str, Any]]:
    """Yield each field or item of `desired` with its step in a set of fields."""
    if isinstance(desired, Mapping):
        for name, value in desired.items():
            yield f"f:{name}", value
    elif isinstance(desired, list | tuple):
        keys = [step for step in tree if step != "."]
        for number, item in enumerate(desired):
            named = (step for step in keys if child([item], step) is item)
            yield next(named, f"i:{number}"), item


def _has_key(item: Any, key: Mapping[str, Any]) -> bool:
    """Return whether a list's item has these keys; one that it leaves out has its default."""
    return isinstance(item, Mapping) and all(item.get(name, value) == value for name, value in key.items())


def _position(body: Any, item: Any) -> int:
    return next(number for number, other in enumerate(body) if other is item)


def _cut(tree: Tree, path: Path) -> dict[str, Any]:
    """Return a set without a field; what is empty then goes, too."""
    step, rest = path[0], path[1:]
    if step not in tree:
        return dict(tree)
    below = _cut(tree[step], rest) if rest else {}
    kept = {step: below} if set(below) - {"."} else {}
    return {key: value for key, value in tree.items() if key != step} | kept
