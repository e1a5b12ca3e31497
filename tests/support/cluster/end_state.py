"""What a settled ModelDeployment and its children say, without what differs from one to another of its kind.

Names, UIDs, times and counters are left out, and what history rightly leaves behind: names and numbers of
revisions, finished Jobs, and the memory of failures.
"""

import json
from typing import Any

from modelpress.api import names
from tests.support.cluster.api import Json
from tests.support.cluster.helpers import Deployed

KEPT = (
    "deployments",
    "services",
    "networkpolicies",
    "poddisruptionbudgets",
)  # children in place all the time
CHILDREN = (*KEPT, "jobs", "controllerrevisions", "replicasets", "pods")
_ALLOCATED = {"clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "healthCheckNodePort"}
_CONDITION = ("type", "status", "reason", "message")


def end_state(digits: Deployed) -> Json:
    """Return what can be compared with the end state of another resource of the same spec."""
    body = digits.read()
    status = {key: value for key, value in body.get("status", {}).items() if key != "failed"}
    conditions = [{key: each[key] for key in _CONDITION} for each in status.pop("conditions", ())]
    generation = status.pop("observedGeneration", None)
    state = {
        "observed": generation == body["metadata"]["generation"],
        "status": status,
        "conditions": {each["type"]: each for each in conditions},
        **{plural: [_child(plural, child) for child in digits.children(plural)] for plural in KEPT},
    }
    text = json.dumps(state, sort_keys=True)
    for revision in digits.children("controllerrevisions"):
        text = text.replace(revision["metadata"]["name"], "REVISION")
    for job in digits.children("jobs"):
        text = text.replace(job["metadata"]["name"], "JOB")
    anonymous: Json = json.loads(text.replace(digits.namespace, "NAMESPACE").replace(digits.name, "NAME"))
    return anonymous


def differences(found: Any, expected: Any, where: str = "") -> list[str]:
    """Return one line for each place at which two states differ."""
    if isinstance(found, dict) and isinstance(expected, dict):
        keys = sorted({*found, *expected})
        pairs = [(found.get(key), expected.get(key), f"{where}.{key}") for key in keys]
    elif isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        pairs = [(*pair, f"{where}[{index}]") for index, pair in enumerate(zip(found, expected, strict=True))]
    else:
        return [] if found == expected else [f"{where}: {found!r}, of a fresh one {expected!r}"]
    return [line for pair in pairs for line in differences(*pair)]


def _child(plural: str, body: Json) -> Json:
    metadata, spec = body["metadata"], body["spec"]
    ours = {key: value for key, value in metadata.get("annotations", {}).items() if _is_asked_for(key)}
    if plural == "services":
        spec = {key: value for key, value in spec.items() if key not in _ALLOCATED}
        spec["ports"] = [{k: v for k, v in port.items() if k != "nodePort"} for port in spec["ports"]]
    owners = [(owner["kind"], owner["name"]) for owner in metadata.get("ownerReferences", ())]
    return {"labels": metadata.get("labels"), "annotations": ours, "owners": owners, "spec": spec}


def _is_asked_for(annotation: str) -> bool:
    return annotation != names.APPLIED_ANNOTATION and not annotation.startswith("deployment.kubernetes.io/")
