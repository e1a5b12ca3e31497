"""The metadata of a manifest, checked as the API server checks that of every object.

Source of rules and wording: `k8s.io/apimachinery/pkg/util/validation` and `pkg/api/validation/objectmeta.go`.
The stricter rule on the name of a ModelDeployment is in the CRD. This module is pure.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from modelpress.api.validation.fields import FieldError, invalid, required

FIELDS = frozenset(
    (
        "annotations",
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "finalizers",
        "generateName",
        "generation",
        "labels",
        "managedFields",
        "name",
        "namespace",
        "ownerReferences",
        "resourceVersion",
        "selfLink",
        "uid",
    )
)
_STRINGS = ("name", "generateName", "namespace")
_MAPS = ("labels", "annotations")
_ANNOTATIONS_LIMIT = 256 * 1024  # bytes of all keys and values

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_NAME_PART = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_VALUE = f"({_NAME_PART})?"
_SUBDOMAIN_MESSAGE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must "
    "start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    f"'{_SUBDOMAIN}')"
)
_LABEL_MESSAGE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start "
    "and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    f"'{_LABEL}')"
)
_NAME_PART_MESSAGE = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    f"character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '{_NAME_PART}')"
)
_QUALIFIED_NAME_MESSAGE = (
    f"a qualified name {_NAME_PART_MESSAGE} with an optional DNS subdomain prefix and '/' "
    "(e.g. 'example.com/MyName')"
)
_VALUE_MESSAGE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must "
    "start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used "
    f"for validation is '{_VALUE}')"
)
_GO_KINDS = {bool: "bool", int: "number", float: "number", str: "string", list: "array", dict: "object"}


def decoding_errors(metadata: Any) -> Iterator[str]:
    """Yield what keeps kubectl from reading the metadata: values of a wrong type."""
    if not isinstance(metadata, dict):
        yield _cannot(metadata, "metadata", "v1.ObjectMeta")
        return
    for field in _STRINGS:
        value = metadata.get(field)
        if value is not None and not isinstance(value, str):
            yield _cannot(value, f"ObjectMeta.metadata.{field}", "string")
    for field in _MAPS:
        value = metadata.get(field)
        if value is None:
            continue
        if not isinstance(value, dict):
            yield _cannot(value, f"ObjectMeta.metadata.{field}", "map[string]string")
        elif strange := [item for item in value.values() if not isinstance(item, str | None)]:
            yield _cannot(strange[0], f"ObjectMeta.metadata.{field}", "string")


def _cannot(value: Any, field: str, kind: str) -> str:
    return f"json: cannot unmarshal {_GO_KINDS[type(value)]} into Go struct field {field} of type {kind}"


def errors(metadata: Mapping[str, Any]) -> Iterator[FieldError]:
    """Yield what is wrong with the name, namespace, labels and annotations."""
    name = metadata.get("name") or ""
    if not name:
        yield required("metadata.name", "name or generateName is required")
    else:
        yield from (invalid("metadata.name", name, problem) for problem in _subdomain_problems(name))
    namespace = metadata.get("namespace") or ""
    if namespace and not (len(namespace) <= 63 and re.fullmatch(_LABEL, namespace)):
        yield invalid("metadata.namespace", namespace, _LABEL_MESSAGE)
    yield from _label_errors(metadata.get("labels") or {})
    yield from _annotation_errors(metadata.get("annotations") or {})


def is_subdomain(value: str) -> bool:
    """Return whether a value may be the name of most objects, such as a Secret."""
    return not any(_subdomain_problems(value))


def _subdomain_problems(value: str) -> Iterator[str]:
    if len(value) > 253:
        yield "must be no more than 253 characters"
    if not re.fullmatch(_SUBDOMAIN, value):
        yield _SUBDOMAIN_MESSAGE


def _label_errors(labels: Mapping[str, str | None]) -> Iterator[FieldError]:
    for key, value in labels.items():
        yield from _key_errors("metadata.labels", key, key)
        text = value or ""
        if len(text) > 63:
            yield invalid("metadata.labels", text, "must be no more than 63 characters")
        if not re.fullmatch(_VALUE, text):
            yield invalid("metadata.labels", text, _VALUE_MESSAGE)


def _annotation_errors(annotations: Mapping[str, str | None]) -> Iterator[FieldError]:
    size = 0
    for key, value in annotations.items():
        yield from _key_errors("metadata.annotations", key.lower(), key)
        size += len(key.encode()) + len((value or "").encode())
    if size > _ANNOTATIONS_LIMIT:
        message = f"Too long: may not be more than {_ANNOTATIONS_LIMIT} bytes"
        yield FieldError("metadata.annotations", message, blocking=True)


def _key_errors(path: str, key: str, written: str) -> Iterator[FieldError]:
    yield from (invalid(path, written, problem) for problem in _qualified_name_problems(key))


def _qualified_name_problems(key: str) -> Iterator[str]:
    """Check an optional DNS prefix with a slash, and a name of at most 63 characters."""
    *prefixes, name = key.split("/")
    if len(prefixes) > 1:
        yield _QUALIFIED_NAME_MESSAGE
        return
    if prefixes == [""]:
        yield "prefix part must be non-empty"
    elif prefixes:
        yield from (f"prefix part {problem}" for problem in _subdomain_problems(prefixes[0]))
    if not name:
        yield "name part must be non-empty"
    elif len(name) > 63:
        yield "name part must be no more than 63 characters"
    if not re.fullmatch(_NAME_PART, name):
        yield f"name part {_NAME_PART_MESSAGE}"
