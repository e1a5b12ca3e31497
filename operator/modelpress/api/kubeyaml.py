"""YAML as kubectl reads it, which is not as PyYAML reads it.

kubectl uses go-yaml v2 (YAML 1.1): `yes`, `on` and `y` are booleans, `1e-4` is a number, `012` is ten,
dates are strings, and a repeated key keeps its last value. Then it goes through JSON: keys become strings and
`1e3` becomes the integer 1000. Source: `go.yaml.in/yaml/v2` (resolve.go) and `sigs.k8s.io/yaml`.
"""

import math
import re
from typing import Any

import yaml

from modelpress.api.conditions import Reason
from modelpress.api.errors import UsageError

_PLAIN = "!plain"
_STRING = "tag:yaml.org,2002:str"
_SCALARS = {f"tag:yaml.org,2002:{name}" for name in ("bool", "int", "float", "null", "timestamp")}
_CONSTANTS: dict[str, Any] = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
}
_INTEGERS = (
    (re.compile(r"[+-]?0[xX][0-9a-fA-F]+"), 16),
    (re.compile(r"[+-]?0[bB][01]+"), 2),
    (re.compile(r"[+-]?0[oO]?[0-7]+"), 8),
    (re.compile(r"[+-]?(0|[1-9][0-9]*)"), 10),
)
_FLOAT = re.compile(r"[-+]?([.][0-9]+|[0-9]+([.][0-9]*)?)([eE][-+]?[0-9]+)?")
_NODES = 200_000  # of one file: an alias bomb ends here


class _Loader(yaml.SafeLoader):
    """Leaves plain scalars unresolved, so that `_scalar` decides."""

    yaml_implicit_resolvers = {None: [(_PLAIN, re.compile(""))]}  # noqa: RUF012 - PyYAML's interface


def parse(text: str) -> list[dict[str, Any]]:
    """Return the documents of `text` that are not empty. Raises UsageError, with the line, for bad YAML."""
    documents: list[dict[str, Any]] = []
    converter = _Converter()
    try:
        for number, node in enumerate(yaml.compose_all(text, Loader=_Loader), start=1):
            value = converter.value(node)
            if isinstance(value, dict):
                documents.append(value)
            elif value is not None:
                raise _refused(
                    f"document {number} must be a mapping with apiVersion, kind, metadata and spec"
                )
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}: " if mark else ""
        raise _refused(f"{where}{error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise _refused(" ".join(str(error).split())) from error
    return documents


def _refused(detail: str) -> UsageError:
    return UsageError(Reason.INVALID_SPEC, f"not a YAML manifest: {detail}")


class _Converter:
    """Turns YAML nodes into JSON values; counts them, and knows which are open (a node may hold itself)."""

    def __init__(self) -> None:
        self._left = _NODES
        self._open: set[int] = set()

    def value(self, node: yaml.Node) -> Any:
        """Return the JSON value of a node."""
        line = node.start_mark.line + 1
        self._left -= 1
        if self._left < 0:
            raise _refused(f"line {line}: more than {_NODES} values")
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node)
        if id(node) in self._open:
            raise _refused(f"line {line}: an anchor contains itself")
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                return [self.value(item) for item in node.value]
            return self._mapping(node)
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: yaml.Node) -> dict[str, Any]:
        own: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key, item in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag == _PLAIN and key.value == "<<":
                sources = item.value if isinstance(item, yaml.SequenceNode) else [item]
                for source in sources:
                    merged = {**self._mapping_of(source), **merged}
            else:
                own[_key(key)] = self.value(item)
        return {**merged, **own}

    def _mapping_of(self, node: yaml.Node) -> dict[str, Any]:
        value = self.value(node)
        if not isinstance(value, dict):
            raise _refused(f"line {node.start_mark.line + 1}: << needs a mapping")
        return value


def _key(node: yaml.Node) -> str:
    value = _scalar(node) if isinstance(node, yaml.ScalarNode) else None
    if value is None:
        raise _refused(f"line {node.start_mark.line + 1}: a key must be a string")
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _scalar(node: yaml.ScalarNode) -> Any:
    if node.tag == _STRING:
        return node.value
    line = node.start_mark.line + 1
    if node.tag != _PLAIN and node.tag not in _SCALARS:
        raise _refused(f"line {line}: the tag {node.tag} is not supported")
    value = _resolve(node.value)
    if isinstance(value, float) and not math.isfinite(value):
        raise _refused(f"line {line}: {node.value} is not a JSON number")
    return value


def _resolve(text: str) -> Any:
    """Return what go-yaml makes of a plain scalar, after its way through JSON."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    plain = text.replace("_", "") if text[0] in "0123456789+-" else text
    for pattern, base in _INTEGERS:
        if pattern.fullmatch(plain):
            digits = plain.lower().replace("0o", "0") if base == 8 else plain
            return _number(int(digits, base))
    return _number(float(plain)) if _FLOAT.fullmatch(plain) else text


def _number(value: float) -> float:
    """Return an integer where the API server reads one: whole and within 64 bits."""
    fits = -(2**63) <= value < 2**63
    if isinstance(value, int):
        return value if fits else float(value)
    return int(value) if fits and value.is_integer() else value
