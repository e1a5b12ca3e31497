"""Environment variables that a manifest may set on this machine: those of a list, for it may be a stranger's.

In a pod a variable reaches nothing but that pod. Here processes run as the user, and many variables run code
or send the user's credentials elsewhere (PYTHONWARNINGS, LD_PRELOAD, AWS_ENDPOINT_URL, HTTPS_PROXY, ...).
What the user's own environment sets, processes get in any case. This module is pure.
"""

from collections.abc import Iterator, Mapping

from modelpress.api import contract
from modelpress.api.spec import Spec
from modelpress.api.validation import pod_shapes
from modelpress.local.node import environment
from modelpress.planning.types import Body

ACCEPTED = (
    contract.LOG_FORMAT,
    contract.ACCESS_LOG,
    contract.LOGICAL_DEVICES,
    "AWS_REGION",
    "OMP_NUM_THREADS",
    "TF_CPP_MIN_LOG_LEVEL",
    "TF_ENABLE_ONEDNN_OPTS",
    "TF_NUM_INTEROP_THREADS",
    "TF_NUM_INTRAOP_THREADS",
)

Secrets = Mapping[str, Mapping[str, bytes]]


def problems(spec: Spec, secrets: Secrets) -> Iterator[str]:
    """Yield one line, `spec.path: ...`, for each variable that cannot be set here."""
    for part, settings in pod_shapes.settings_of(spec).items():
        for index, entry in enumerate(settings.env or ()):
            yield from (f"spec.{part}.env[{index}]: {said}" for said in _problem(entry, secrets))


def _problem(entry: Body, secrets: Secrets) -> Iterator[str]:
    name = entry["name"]
    if name not in ACCEPTED:
        yield (
            f"{name} is not taken from a manifest on this machine, where a variable can run code; accepted "
            f"are {', '.join(ACCEPTED)}; set others in your own environment (in a cluster all are accepted "
            "that ModelPress does not set itself)"
        )
        return
    source = entry.get("valueFrom") or {}
    if set(source) - {"secretKeyRef", "fieldRef"}:
        yield (
            f"{name}: valueFrom {', '.join(source)} does not work on this machine; accepted are secretKeyRef "
            "of a Secret in the file, and fieldRef"
        )
    elif "secretKeyRef" in source:
        yield from (f"{name}: {said}" for said in _secret_problem(source["secretKeyRef"], secrets))
    elif "fieldRef" in source and not environment.is_field(_text(source["fieldRef"], "fieldPath")):
        yield f"{name}: valueFrom.fieldRef: accepted are {', '.join(environment.FIELDS)}"


def _secret_problem(reference: object, secrets: Secrets) -> Iterator[str]:
    name, key = _text(reference, "name"), _text(reference, "key")
    value = secrets.get(name, {}).get(key)
    optional = name and key and isinstance(reference, dict) and reference.get("optional")
    if value is None and not optional:
        yield f"valueFrom.secretKeyRef: the file holds no Secret named {name!r} with the key {key!r}"
    if value is not None and b"\0" in value:
        yield f"valueFrom.secretKeyRef: the key {key} of Secret {name} holds a NUL"


def _text(reference: object, field: str) -> str:
    value = reference.get(field) if isinstance(reference, dict) else None
    return value if isinstance(value, str) else ""
