"""The shapes of env and resources, which the CRD leaves open: what the planner reads of them must be there.

Kubernetes checks the rest when it is given the pods. This module is pure.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from modelpress.api.pod_settings import PodSettings
from modelpress.api.spec import Spec

_AMOUNTS = ("limits", "requests")
_CLAIMS = "claims"
# A quantity of Kubernetes (k8s.io/apimachinery, resource.Quantity): a number, and a suffix or an exponent.
_QUANTITY = re.compile(r"\+?(\d+\.?\d*|\.\d+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?")


def problems(spec: Spec) -> Iterator[str]:
    """Yield one line, `spec.path: ...`, for each value of a wrong shape."""
    for part, settings in settings_of(spec).items():
        yield from (f"spec.{part}.{said}" for said in problems_of(settings))


def problems_of(settings: PodSettings) -> Iterator[str]:
    """Yield one line, `path: ...`, for each value of a wrong shape in settings of pods."""
    for index, entry in enumerate(settings.env or ()):
        yield from (f"env[{index}].{said}" for said in _variable(entry))
    yield from (f"resources.{said}" for said in _resources(settings.resources or {}))


def settings_of(spec: Spec) -> dict[str, PodSettings]:
    """Return the settings of pods that a spec has, by their field."""
    return {
        part: settings
        for part, settings in (("worker", spec.worker), ("job", spec.job))
        if settings is not None
    }


def _variable(entry: Mapping[str, Any]) -> Iterator[str]:
    name, value, source = entry.get("name"), entry.get("value"), entry.get("valueFrom")
    if not isinstance(name, str) or not name or "=" in name or not (name.isascii() and name.isprintable()):
        yield f"name: {name!r}: needed is a name of printable ASCII characters without '='"
    if value is not None and (not isinstance(value, str) or "\0" in value):
        yield f"value: {value!r}: needed is a string; numbers and booleans need quotes"
    if source is not None and (not isinstance(source, dict) or value):
        yield "valueFrom: needed is a map such as {secretKeyRef: {name, key}}, and then no value"


def _resources(resources: Mapping[str, Any]) -> Iterator[str]:
    for kind, amounts in resources.items():
        if kind == _CLAIMS:
            continue
        if kind not in _AMOUNTS:
            yield f"{kind}: unknown field; accepted are {', '.join(_AMOUNTS)} and {_CLAIMS}"
        elif amounts is not None and not isinstance(amounts, dict):
            yield f"{kind}: {amounts!r}: needed is a map such as {{cpu: 500m, memory: 1Gi}}"
        else:
            for name, amount in (amounts or {}).items():
                if not _is_quantity(amount):
                    yield f"{kind}.{name}: {amount!r}: needed is a quantity such as 500m or 1Gi"


def _is_quantity(amount: Any) -> bool:
    if isinstance(amount, bool) or not isinstance(amount, str | int | float):
        return False
    return _QUANTITY.fullmatch(str(amount)) is not None
