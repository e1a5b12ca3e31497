"""What a resource leaves open is taken from the operator-wide defaults. Pure.

A field of the resource wins as a whole: its labels replace the default labels. Only `resources` are completed
name by name, and a name that the resource gives as limit or request is the resource's alone, so that no
default request can exceed its limit.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

from modelpress.api.pod_settings import PodSettings

Resources = Mapping[str, Any]  # as in a container

_KINDS = ("limits", "requests")
_Settings = TypeVar("_Settings", bound=PodSettings)


def completed(own: _Settings, *defaults: PodSettings | None) -> _Settings:
    """Return settings with what they leave open taken from `defaults`, the first that has it."""
    for other in defaults:
        if other is not None:
            taken = {name: getattr(other, name) for name in PodSettings.model_fields if _is_open(own, name)}
            taken["resources"] = completed_resources(own.resources, other.resources)
            own = own.model_copy(update=taken)
    return own


def completed_resources(own: Resources | None, defaults: Resources | None) -> dict[str, Any] | None:
    """Return resources with the amounts of `defaults` for all names that they do not give."""
    if not own or not defaults:
        return dict(own or defaults or {}) or None
    given = [own.get(kind) or {} for kind in _KINDS]
    if not all(isinstance(amounts, Mapping) for amounts in given):
        return dict(own)  # Kubernetes refuses it, in its own words
    named = {name for amounts in given for name in amounts}
    result = {key: value for key, value in {**defaults, **own}.items() if key not in _KINDS}
    for kind, amounts in zip(_KINDS, given, strict=True):
        added = {name: value for name, value in (defaults.get(kind) or {}).items() if name not in named}
        if added or amounts:
            result[kind] = {**added, **amounts}
    return result


def _is_open(settings: PodSettings, name: str) -> bool:
    return getattr(settings, name) is None
