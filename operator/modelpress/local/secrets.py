"""Secret documents of a manifest, checked as an API server does: their keys become names of files.

Source of rules and wording: `k8s.io/apimachinery/pkg/util/validation` (IsConfigMapKey) and
`pkg/apis/core/validation` (ValidateSecret). This module is pure.
"""

import base64
import binascii
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from modelpress.api.conditions import Reason
from modelpress.api.errors import UsageError
from modelpress.api.validation import metadata
from modelpress.artifacts.credentials import plain

MAX_BYTES = 2**20  # all values of one Secret together

_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")
_KEY_RULE = (
    "a valid config key must consist of at most 253 alphanumeric characters, '-', '_' or '.', and must not "
    "be '.' or start with '..'"
)
# Sources are anonymous there where a Secret holds no credential; who runs this may expect his own to be used.
_ENDPOINTS = {"AWS_ENDPOINT_URL": "AWS_ACCESS_KEY_ID", "HF_ENDPOINT": "HF_TOKEN"}
_NAME_RULE = "a Secret needs a name: a lowercase RFC 1123 subdomain of at most 253 characters"


def content(body: Mapping[str, Any]) -> tuple[str, dict[str, bytes]]:
    """Return name and content of a Secret. Raises UsageError: one line that names what is wrong with it."""
    described = body.get("metadata")
    name = described.get("name") if isinstance(described, dict) else None
    if not isinstance(name, str) or not metadata.is_subdomain(name):
        raise _refused(f"Secret: metadata.name: {_shown(name)}: {_NAME_RULE}")
    values = {
        **dict(_values(name, body, "data", _from_base64)),
        **dict(_values(name, body, "stringData", _from_text)),  # which an API server lets win
    }
    size = sum(map(len, values.values()))
    if size > MAX_BYTES:
        raise _refused(f"Secret {name}: data: {size} bytes, must have at most {MAX_BYTES}")
    return name, values


def is_key(text: str) -> bool:
    """Return whether a text may be a key of a Secret, which is also to say: the name of one file."""
    return bool(_KEY.fullmatch(text)) and text != "." and not text.startswith("..")


def misdirection(content: Mapping[str, bytes]) -> str | None:
    """Return why a Secret names a server and no credential: the user's own never goes there."""
    for endpoint, credential in _ENDPOINTS.items():
        if _is_set(content, endpoint) and not _is_set(content, credential):
            return (
                f"has {endpoint} and no {credential}: credentials of your environment never go there; "
                f"add {credential}, or set {endpoint} in your environment instead"
            )
    return None


def _is_set(content: Mapping[str, bytes], key: str) -> bool:
    """Whether sources find a value; what is no text they refuse."""
    try:
        return plain(content.get(key, b"")) is not None
    except UnicodeDecodeError:
        return True


def _values(
    name: str, body: Mapping[str, Any], field: str, read: Callable[[str], bytes | None]
) -> Iterator[tuple[str, bytes]]:
    given = body.get(field)
    if given is None:
        return
    if not isinstance(given, dict):
        raise _refused(f"Secret {name}: {field}: {_shown(given)}: must be a map of strings")
    for key, value in given.items():
        if not is_key(key):
            raise _refused(f"Secret {name}: {field}: the key {_shown(key)}: {_KEY_RULE}")
        if not isinstance(value, str | None):
            raise _refused(f"Secret {name}: {field}.{key} is not a string; numbers and booleans need quotes")
        content = read(value or "")
        if content is None:
            raise _refused(f"Secret {name}: {field}.{key} is not base64; plain text is stringData")
        yield key, content


def _from_base64(text: str) -> bytes | None:
    try:
        return base64.b64decode(text.replace("\n", "").replace("\r", ""), validate=True)
    except (binascii.Error, ValueError):
        return None


def _from_text(text: str) -> bytes:
    return text.encode()


def _shown(value: object) -> str:
    return repr(value)[:300]


def _refused(message: str) -> UsageError:
    return UsageError(Reason.INVALID_SPEC, message)
