"""An error about one field, in the words of the API server.

Source of the wording: `k8s.io/apimachinery/pkg/util/validation/field`. This module imports nothing.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class FieldError:
    """What is wrong with a field; `blocking` errors keep the API server from evaluating CEL rules."""

    path: str
    message: str
    blocking: bool = False

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


def invalid(path: str, value: Any, detail: str, *, blocking: bool = False) -> FieldError:
    """Return `path: Invalid value: VALUE: detail`."""
    return FieldError(path, f"Invalid value: {shown(value)}: {detail}", blocking)


def required(path: str, detail: str = "") -> FieldError:
    """Return `path: Required value`."""
    return FieldError(path, "Required value" + (f": {detail}" if detail else ""), blocking=True)


def unsupported(path: str, value: Any, accepted: Iterable[str]) -> FieldError:
    """Return `path: Unsupported value: VALUE: supported values: ...`."""
    listed = ", ".join(shown(item) for item in accepted)
    return FieldError(path, f"Unsupported value: {shown(value)}: supported values: {listed}", blocking=True)


def too_long(path: str, limit: int) -> FieldError:
    """Return `path: Too long: ...`; the API server says bytes and counts characters."""
    return FieldError(path, f"Too long: may not be more than {limit} bytes", blocking=True)


def too_many(path: str, count: int, limit: int) -> FieldError:
    """Return `path: Too many: ...` of a list or map."""
    return FieldError(path, f"Too many: {count}: must have at most {limit} items", blocking=True)


def shown(value: Any) -> str:
    """Return a value as the API server prints it: strings quoted, the rest as JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
