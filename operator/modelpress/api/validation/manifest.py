"""Reads and checks manifests without a cluster: the verdict of `kubectl apply` where our CRD is installed.

The steps are those of the API server: decode, refuse unknown fields, fill in defaults, check types and
bounds, then, where that left nothing of the wrong shape, the CEL rules.
"""

import difflib
import itertools
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Self

from modelpress.api import names
from modelpress.api.crd import root_schema
from modelpress.api.text import printable
from modelpress.api.validation import cel, kubeyaml, metadata, structural

Body = dict[str, Any]

_STAND_IN = "https://local/"  # a URI that the CRD accepts, in place of a path of this machine
_NOT_CHECKED = "some validation rules were not checked because the object was invalid"
_LINES = 50  # errors shown for one manifest
_LINE = 2000  # characters of one of them: it may quote a value


@dataclass(frozen=True)
class Verdict:
    """What the API server would say: one line for each error, `spec.path: message`, and what it would add."""

    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @classmethod
    def of(cls, errors: Iterable[str], warnings: Iterable[str] = ()) -> Self:
        """Return a verdict of printable lines, as many as a person reads, whatever the manifest holds."""
        return cls(tuple(_readable(errors)), tuple(_readable(warnings)))


def load(text: str) -> list[Body]:
    """Return the YAML documents of `text` as kubectl reads them. Raises UsageError for bad YAML."""
    return kubeyaml.parse(text)


def check(body: Body, *, local: bool = False) -> Verdict:
    """Return the API server's verdict on creating `body`; `local` also accepts this machine's paths."""
    refused = _kind_error(body)
    if refused:
        return Verdict.of([refused])
    meta = body.get("metadata")
    undecodable = tuple(metadata.decoding_errors({} if meta is None else meta))
    if undecodable:
        return Verdict.of(undecodable)
    schema = root_schema()
    unknown = tuple(_unknown_fields(body, schema))
    if unknown:
        hints = (hint for path in unknown for hint in _suggestion(path, schema))
        return Verdict.of((f'unknown field "{path}"' for path in unknown), hints)
    if local:
        body = _with_stand_ins(body)
    return _validate(body, schema)


def apply_defaults(body: Body) -> Body:
    """Return a copy of `body` with nulls dropped and the CRD's defaults filled in, as the server reads it."""
    filled: Body = structural.with_defaults(body, root_schema())
    return filled


def is_local_path(uri: str) -> bool:
    """Return whether a URI names a file of this machine: file:// or a path without a scheme."""
    return uri.startswith("file://") or (uri != "" and "://" not in uri)


def _kind_error(body: Body) -> str | None:
    version, kind = body.get("apiVersion"), body.get("kind")
    if not version:
        return "apiVersion not set"
    if not kind:
        return "kind not set"
    if (version, kind) != (names.API_VERSION, names.KIND):
        return f'no matches for kind "{kind}" in version "{version}"'
    return None


def _unknown_fields(body: Body, schema: structural.Schema) -> Iterator[str]:
    meta = body.get("metadata") or {}
    yield from sorted(f"metadata.{key}" for key in meta if key not in metadata.FIELDS)
    rest = {key: value for key, value in body.items() if key != "metadata"}
    yield from structural.unknown_fields(rest, schema)


def _suggestion(path: str, schema: structural.Schema) -> Iterator[str]:
    """Yield a hint where a known field of the same object is spelled nearly the same."""
    *parents, name = path.replace("[", ".[").split(".")
    for parent in parents:
        below = schema.get("items") if parent.startswith("[") else structural.child_schema(schema, parent)
        schema = below or {}
    known = list(schema.get("properties", {}))
    for match in difflib.get_close_matches(name, known, n=1):
        yield f"{path}: did you mean {match}?"


def _validate(body: Body, schema: structural.Schema) -> Verdict:
    fresh = {key: value for key, value in body.items() if key != "status"}  # a create drops the status
    filled = structural.with_defaults(fresh, schema)
    filled.pop("status", None)
    filled["metadata"] = _with_generated_name(filled.get("metadata") or {})
    found = list(metadata.errors(filled["metadata"]))
    found += structural.errors(filled, schema)
    warnings: tuple[str, ...] = ()
    if any(error.blocking for error in found):
        warnings = (_NOT_CHECKED,)
    else:
        found += cel.errors(filled, schema)
    return Verdict.of(dict.fromkeys(str(error) for error in found), warnings)


def _readable(lines: Iterable[str]) -> Iterator[str]:
    remaining = iter(lines)
    yield from (printable(line, limit=_LINE) for line in itertools.islice(remaining, _LINES))
    left = sum(1 for _ in remaining)
    if left:
        yield f"and {left} more"


def _with_generated_name(meta: Body) -> Body:
    """Return the metadata with the name that the server would make of generateName: five characters more."""
    prefix = meta.get("generateName")
    return meta if meta.get("name") or not prefix else {**meta, "name": f"{prefix[:58]}00000"}


def _with_stand_ins(body: Body) -> Body:
    """Return a copy in which the model's and data sets' local paths are replaced by a URI the CRD accepts."""
    copy = deepcopy(body)
    spec = copy.get("spec")
    if isinstance(spec, Mapping):
        data = spec.get("data")
        sources = [spec.get("model"), *(data.values() if isinstance(data, Mapping) else ())]
        for source in sources:
            uri = source.get("uri") if isinstance(source, dict) else None
            if isinstance(uri, str) and is_local_path(uri):
                source["uri"] = _STAND_IN
    return copy
