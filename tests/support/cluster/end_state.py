"""What a settled ModelDeployment and its children say, without what differs from one to another of its kind.

Names, UIDs, times and counters are left out, and what history rightly leaves behind: names and numbers of
revisions, finished Jobs, and the memory of failures.
"""

import json
from typing import Any

from modelpress.api import contract, names
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
_BY_CONTROLLER = ("controller-uid", "job-name")
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
        **{plural: [child_state(plural, child) for child in digits.children(plural)] for plural in KEPT},
    }
    text = json.dumps(state, sort_keys=True)
    anonymous: Json = json.loads(_anonymous(digits, text))
    return anonymous


def job_state(digits: Deployed) -> Json:
    """Return what the Job of the recipe in the status was asked to do, without names and UIDs.

    Which artifacts it may reuse is history.
    """
    known = digits.status.get("candidate") or digits.status.get("current") or {}
    recipe = str(known.get("recipeHash"))
    jobs = [job for job in digits.children("jobs") if recipe.startswith(_recipe(job))]
    if not jobs:
        return {}
    (job,) = jobs
    spec = {key: value for key, value in job["spec"].items() if key not in ("selector", "suspend")}
    pods = spec["template"]["metadata"]
    pods["labels"] = {key: value for key, value in pods["labels"].items() if not key.endswith(_BY_CONTROLLER)}
    for container in spec["template"]["spec"]["containers"]:
        container["env"] = [each for each in container["env"] if each["name"] != contract.KNOWN_ARTIFACTS]
    text = json.dumps({"labels": job["metadata"]["labels"], "spec": spec}, sort_keys=True)
    anonymous: Json = json.loads(_anonymous(digits, text))
    return anonymous


def differences(found: Any, expected: Any, where: str = "") -> list[str]:
    """Return one line for each place at which two states differ."""
    if isinstance(found, dict) and isinstance(expected, dict):
        keys = sorted({*found, *expected})
        pairs = [(found.get(key), expected.get(key), f"{where}.{key}") for key in keys]
    elif isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        pairs = [(*pair, f"{where}[{index}]") for index, pair in enumerate(zip(found, expected, strict=True))]
    else:
        return [] if found == expected else [f"{where}: {found!r}, expected {expected!r}"]
    return [line for pair in pairs for line in differences(*pair)]


def _recipe(job: Json) -> str:
    return str(job["metadata"]["labels"][names.RECIPE_LABEL])


def _anonymous(digits: Deployed, text: str) -> str:
    for revision in digits.children("controllerrevisions"):
        text = text.replace(revision["metadata"]["name"], "REVISION")
    for job in digits.children("jobs"):
        text = text.replace(job["metadata"]["name"], "JOB")
    return text.replace(digits.namespace, "NAMESPACE").replace(digits.name, "NAME")


def child_state(plural: str, body: Json) -> Json:
    """Return what can be compared of a child that is kept in place."""
    metadata, spec = body["metadata"], body["spec"]
    if plural == "services":
        spec = {key: value for key, value in spec.items() if key not in _ALLOCATED}
        spec["ports"] = [{k: v for k, v in port.items() if k != "nodePort"} for port in spec["ports"]]
    return {**marks(metadata), "spec": spec}


def marks(metadata: Json) -> Json:
    """Return labels, owners, and the annotations that were asked for."""
    ours = {key: value for key, value in metadata.get("annotations", {}).items() if _is_asked_for(key)}
    owners = [(owner["kind"], owner["name"]) for owner in metadata.get("ownerReferences", ())]
    return {"labels": metadata.get("labels"), "annotations": ours, "owners": owners}


def _is_asked_for(annotation: str) -> bool:
    return annotation != names.APPLIED_ANNOTATION and not annotation.startswith("deployment.kubernetes.io/")
