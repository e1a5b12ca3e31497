"""YAML as kubectl reads it, which is not as PyYAML reads it.

kubectl uses go-yaml v2 (YAML 1.1): `yes`, `on` and `y` are booleans, `1e-4` is a number, `012` is ten,
dates are strings, and a repeated key keeps its last value. Then it goes through JSON: keys become strings and
`1e3` becomes the integer 1000. Source: `go.yaml.in/yaml/v2` (resolve.go) and `sigs.k8s.io/yaml`.

A manifest may come from anybody: its bytes, documents, depth and values are counted before objects are made.
"""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import yaml

from modelpress.api.conditions import Reason
from modelpress.api.errors import UsageError
from modelpress.api.text import printable

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
_LONGEST_INTEGER = 70  # characters of 64 bits in base 2, with sign and prefix
_SURROGATE = re.compile("[\ud800-\udfff]")

# Limits of one file. The largest manifest of use is a Secret of 1 MiB, in base64.
MAX_BYTES = 2 * 2**20
_DOCUMENTS = 100
_LINE = 2000  # characters of an error message, which may quote a word of the file
_DEPTH = 100  # lists and maps within each other
_NODES = 20_000  # values, those behind aliases each time: an alias bomb ends here


class _Loader(yaml.SafeLoader):
    """Leaves plain scalars unresolved, so that `_scalar` decides; refuses what is too much while it reads."""

    yaml_implicit_resolvers = {None: [(_PLAIN, re.compile(""))]}  # noqa: RUF012 - PyYAML's interface

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._bounds = _Bounds()

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose a node, and what is below it."""
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        with self._bounds.within(event.start_mark):
            node: yaml.Node | None = super().compose_node(parent, index)
            return node


def parse(text: str) -> list[dict[str, Any]]:
    """Return the documents of `text` that are not empty. Raises UsageError, with the line, for bad YAML."""
    documents: list[dict[str, Any]] = []
    converter = _Converter()
    for number, node in enumerate(_compose(text), start=1):
        line = node.start_mark.line + 1
        if number > _DOCUMENTS:
            raise _refused(f"line {line}: more than {_DOCUMENTS} documents")
        value = converter.value(node)
        if isinstance(value, dict):
            documents.append(value)
        elif value is not None:
            raise _refused(
                f"line {line}: document {number} must be a mapping with apiVersion, kind, metadata and spec"
            )
    return documents


def _compose(text: str) -> Iterator[yaml.Node]:
    """Yield the node of each document."""
    if len(text) > MAX_BYTES:
        raise _refused(f"longer than {MAX_BYTES} bytes")
    loader = None
    try:
        loader = _Loader(text)
        while loader.check_node():
            node = loader.get_node()
            assert node is not None  # check_node said so
            yield node
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}: " if mark else ""
        raise _refused(f"{where}{error.problem or error.context}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _refused(f"line {line}: the character U+{error.character:04X} is not allowed") from error
    except (ValueError, OverflowError) as error:  # an escape such as \UFFFFFFFF, or a version of YAML
        line = loader.line + 1 if loader else 1
        raise _refused(f"line {line}: a number is too large for what it stands for") from error


def _refused(detail: str) -> UsageError:
    return UsageError(Reason.INVALID_SPEC, f"not a YAML manifest: {printable(detail, limit=_LINE)}")


class _Bounds:
    """Counts the values of a file, and how deep the one at hand lies."""

    def __init__(self) -> None:
        self._left = _NODES
        self._depth = 0

    @contextmanager
    def within(self, mark: yaml.Mark) -> Iterator[None]:
        """Enter a value. Raises UsageError where it is one too many or too deep."""
        self._left -= 1
        if self._left < 0:
            raise _refused(f"line {mark.line + 1}: more than {_NODES} values")
        if self._depth == _DEPTH:
            raise _refused(f"line {mark.line + 1}: more than {_DEPTH} lists and maps within each other")
        self._depth += 1
        yield
        self._depth -= 1


class _Converter:
    """Turns YAML nodes into JSON values; knows which of them are open (a node may hold itself)."""

    def __init__(self) -> None:
        self._bounds = _Bounds()
        self._open: set[int] = set()

    def value(self, node: yaml.Node) -> Any:
        """Return the JSON value of a node."""
        with self._bounds.within(node.start_mark):
            return self._value(node)

    def _value(self, node: yaml.Node) -> Any:
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node)
        if id(node) in self._open:
            raise _refused(f"line {node.start_mark.line + 1}: an anchor contains itself")
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
    line = node.start_mark.line + 1
    if _SURROGATE.search(node.value):
        raise _refused(f"line {line}: a text holds one half of a surrogate pair, which is no character")
    if node.tag == _STRING:
        return node.value
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
    integer = _integer(plain)
    if integer is not None:
        return _number(integer)
    value = float(plain) if _FLOAT.fullmatch(plain) else math.inf
    return _number(value) if math.isfinite(value) else text


def _integer(text: str) -> int | None:
    """Return an integer of at most 64 bits; go-yaml takes longer ones for floats or strings."""
    if len(text) > _LONGEST_INTEGER:
        return None
    for pattern, base in _INTEGERS:
        if pattern.fullmatch(text):
            value = int(text.lower().replace("0o", "0") if base == 8 else text, base)
            return value if -(2**63) <= value < 2**64 else None
    return None


def _number(value: float) -> float:
    """Return an integer where the API server reads one: whole and within 64 bits."""
    fits = -(2**63) <= value < 2**63
    if isinstance(value, int):
        return value if fits else float(value)
    return int(value) if fits and value.is_integer() else value
