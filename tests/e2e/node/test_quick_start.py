"""The README's quick start on an empty cluster of real parts, up to a right answer, and back to nothing."""

import json
import subprocess
import threading
import time
from datetime import datetime
from typing import Any

import yaml

from modelpress.api import names
from tests.e2e.node.conftest import JOB_SECONDS, SYSTEM, Installed, make_namespace
from tests.e2e.node.kubernetes_node import DOMAIN
from tests.support.cluster.controlplane import wait_until
from tests.support.cluster.helpers import ROLLOUT_SECONDS

LEFT_ALONE = {"kube-root-ca.crt", "default"}  # what every namespace has


def test_apply_to_prediction_and_delete(installed: Installed) -> None:
    namespace = make_namespace(installed, "quick-start")
    _secret, model = installed.sample()
    host = f"digits.{namespace}.svc.{DOMAIN}"
    begun = time.time()
    with FirstAnswer(installed, f"http://{host}/v2/models/digits") as first:
        applied = installed.kubectl("apply", "-n", namespace, "-f", "-", input=yaml.safe_dump(model))
        assert "created" in applied
        deployed = installed.deployed("digits", namespace)
        deployed.wait_current(JOB_SECONDS)
    seconds = first.at - begun
    (job,) = deployed.children("jobs")
    job_seconds = _between(job["status"]["startTime"], job["status"]["completionTime"])
    start = min(_ready_after(pod) for pod in deployed.ready_pods())
    installed.facts.append(
        f"apply to first prediction {seconds:.1f} s, Job {job_seconds:.0f} s, worker start {start:.0f} s: "
        f"{seconds / (job_seconds + start):.2f} times both"
    )
    asked = json.loads(installed.cluster.execute("users", "client", "python3", "/ask.py", host, "digits"))
    assert set(asked) == {"http", "grpc", "json"}
    assert min(asked.values()) > 0.95, asked
    assert len(set(asked.values())) == 1, "the same model over each protocol"
    shown = installed.kubectl("get", "-n", namespace, "mdep", "digits")
    assert shown.splitlines()[0].split()[:4] == ["NAME", "READY", "REASON", "DESIRED"]
    assert shown.splitlines()[1].split()[1:5] == ["True", "Available", "2", "2"]

    installed.kubectl("delete", "-n", namespace, "mdep", "digits")
    wait_until("nothing is left", lambda: _left(installed, namespace) == set(), ROLLOUT_SECONDS)


def test_images_were_pulled_from_a_registry_and_run_restricted(installed: Installed) -> None:
    admin = installed.cluster.control_plane.admin
    pods = [pod for pod in admin.list("pods", SYSTEM) if pod["status"]["phase"] == "Running"]
    assert len(pods) == 3, "two operators and the registry"
    for pod in pods:
        (status,) = pod["status"]["containerStatuses"]
        assert status["restartCount"] == 0, pod["metadata"]["name"]
        assert (
            f"{installed.cluster.registry}/" in status["imageID"] or "registry@sha256:" in status["imageID"]
        )
    pulled = [event for event in admin.list("events", SYSTEM) if event["reason"] == "Pulled"]
    assert any(installed.images["operator"] in event["message"] for event in pulled)
    labels = admin.get("namespaces", None, SYSTEM)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


class FirstAnswer:
    """Asks for a page from another pod until it answers with 200; `at` is when it did."""

    def __init__(self, installed: Installed, url: str) -> None:
        script = (
            "import sys, time, urllib.request\n"
            "while True:\n"
            "    try:\n"
            "        urllib.request.urlopen(sys.argv[1], timeout=2).read()\n"
            "        break\n"
            "    except OSError:\n"
            "        time.sleep(0.2)\n"
        )
        command = installed.cluster.control_plane.kubectl_command("-n", "users", "exec", "client", "--")
        self._command = [*command, "python3", "-c", script, url]
        self._thread = threading.Thread(target=self._ask)
        self.at = 0.0

    def __enter__(self) -> "FirstAnswer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(60)

    def _ask(self) -> None:
        subprocess.run(self._command, check=True, timeout=JOB_SECONDS + 60)
        self.at = time.time()


def _between(start: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


def _ready_after(pod: dict[str, Any]) -> float:
    (ready,) = (item for item in pod["status"]["conditions"] if item["type"] == "Ready")
    return _between(pod["metadata"]["creationTimestamp"], ready["lastTransitionTime"])


def _left(installed: Installed, namespace: str) -> set[str]:
    """What a namespace still has of a resource, read of every kind that lives in namespaces."""
    kinds = installed.kubectl("api-resources", "--namespaced", "--verbs=list", "-o", "name").split()
    expected = ",".join(kind for kind in kinds if not kind.startswith("events"))
    listed = installed.kubectl("-n", namespace, "get", expected, "-o", "name", "--ignore-not-found").split()
    label = f"{names.NAME_LABEL}=digits"
    ours = installed.kubectl(
        "-n", namespace, "get", expected, "-o", "name", "-l", label, "--ignore-not-found"
    )
    others = {name for name in listed if name.rpartition("/")[2] not in {*LEFT_ALONE, "models-bucket"}}
    return others | set(ours.split())
