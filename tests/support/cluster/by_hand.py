"""A ModelDeployment whose pods the tests move by hand, as a kubelet would: no node takes them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelpress.api import contract, names
from tests.support.cluster.api import ApiError, Json
from tests.support.cluster.controlplane import wait_until
from tests.support.cluster.environment import OPERATOR_USER
from tests.support.cluster.helpers import Deployed, Operator, is_answered, now

DIGEST = "sha256:" + "a" * 64
ARGUMENTS = [
    "--store=oci://registry.example.com/models",
    "--compressor-image=example.com/compressor:1",
    "--worker-image=example.com/worker:1",
    "--worker-gpu-image=example.com/worker-gpu:1",
    "--resync-interval=1",
]
SPEC: Json = {
    "model": {"uri": "https://example.com/digits.keras"},
    "devices": {"type": "CPU"},
    "job": {"nodeSelector": {"example.com/exists": "no"}},  # no node takes the pods from the tests' hands
    "worker": {"nodeSelector": {"example.com/exists": "no"}},
}


@contextmanager
def running(kubeconfig: Path, folder: Path, *arguments: str) -> Iterator[Operator]:
    """Run an operator for a block, from the moment at which its watches have listed."""
    folder.mkdir(exist_ok=True)
    operator = Operator(kubeconfig, OPERATOR_USER, [*ARGUMENTS, *arguments], folder)
    operator.start()
    try:
        wait_until("ready", lambda: is_answered(operator, "readyz"))
        yield operator
    finally:
        operator.stop()


def set_pods(digits: Deployed, role: str, status: Json) -> None:
    """Report a status for each pod of a role, as a kubelet would; one that goes meanwhile is none."""
    selector = f"{names.NAME_LABEL}={digits.name},{names.ROLE_LABEL}={role}"
    found = wait_until(
        f"{role} pods",
        lambda: digits.api.list("pods", digits.namespace, selector),
    )
    for pod in found:
        try:
            digits.api.patch("pods", digits.namespace, pod["metadata"]["name"], {"status": status}, "status")
        except ApiError as error:
            if error.code != 404:
                raise


def finish_job(digits: Deployed, digest: str = DIGEST, scores: Json | None = None) -> None:
    """End the pod of the one Job that runs with a result: the artifact of a digest."""
    (job,) = wait_until("a Job", lambda: [job for job in digits.children("jobs") if not _has_ended(job)])
    set_pods(digits, names.JOB, succeeded(job["spec"]["template"]["spec"], digest, scores))


def recipe_of(spec: Json) -> str:
    """Return the hash of the recipe that a Job's pod of a spec runs."""
    (container,) = spec["containers"]
    variables = {entry["name"]: entry.get("value") for entry in container["env"]}
    return str(json.loads(variables[contract.REQUEST])["recipeHash"])


def succeeded(spec: Json, digest: str = DIGEST, scores: Json | None = None) -> Json:
    """Return the status of a Job's pod of a spec that has ended with a result."""
    result = {
        "recipeHash": recipe_of(spec),
        "sourceDigest": DIGEST,
        "artifactKey": "key",
        "artifactDigest": digest,
        "originalBytes": 400,
        "compressedBytes": 100,
        **({"scores": scores} if scores else {}),
    }
    return _ended("Succeeded", {"exitCode": 0, "reason": "Completed", "message": json.dumps(result)})


def fail_job(digits: Deployed, code: int, reason: str) -> None:
    """End the pod of the Job with a failure."""
    message = json.dumps({"reason": reason, "message": "played by hand"})
    set_pods(digits, names.JOB, _ended("Failed", {"exitCode": code, "reason": "Error", "message": message}))


def _ended(phase: str, ended: Json) -> Json:
    end = {"name": "job", "image": "", "imageID": "", "ready": False, "restartCount": 0}
    return {"phase": phase, "containerStatuses": [{**end, "state": {"terminated": ended}}]}


def _has_ended(job: Json) -> bool:
    return any(
        condition["type"] in ("Complete", "Failed") for condition in job["status"].get("conditions", ())
    )


def make_ready(digits: Deployed) -> None:
    """Report the workers as ready."""
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": now()[:19] + "Z"}
    set_pods(digits, names.WORKER, {"phase": "Running", "conditions": [ready]})
