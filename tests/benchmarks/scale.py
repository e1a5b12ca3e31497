"""How an operator comes up with many settled resources: time, memory, requests, on a real API server.

`python -m tests.benchmarks.scale [COUNT ...]`. No controller of Kubernetes runs: the objects, eight for each
resource, are written as the operator, the Job controller and a kubelet leave them: the planner says how.
"""

import json
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from modelpress.api import names
from modelpress.planning.children.in_place import stamped
from modelpress.planning.children.objects import format_time
from tests.support.cluster.api import Api, path
from tests.support.cluster.controlplane import ControlPlane, free_port, wait_until
from tests.unit.planning.fake_cluster import BEGIN, SETTINGS, FakeCluster

Json = dict[str, Any]
COUNTS = (1, 100, 300, 1000, 5000)
NAMESPACES = 20
IDLE_SECONDS = 30
IMAGE_ENVIRONMENT = {"MALLOC_ARENA_MAX": "1"}  # of the Dockerfile
TEMPLATE = "template-of-all"
SPEC: Json = {"model": {"uri": "https://example.com/model.keras"}, "devices": {"type": "CPU"}}
PLURALS = {
    "Deployment": "deployments",
    "Service": "services",
    "NetworkPolicy": "networkpolicies",
    "ControllerRevision": "controllerrevisions",
    "Job": "jobs",
}
CRD = Path(__file__).resolve().parents[2] / "crds" / "modelpress.dev_modeldeployments.yaml"


class BareControlPlane(ControlPlane):
    """etcd and the API server alone."""

    def _start_controllers(self) -> None:
        accounts = "/api/v1/namespaces/default/serviceaccounts"
        self.admin.request("POST", accounts, {"metadata": {"name": "default"}})


class _Template(FakeCluster):
    """One settled resource, of which all others are copies."""

    def __init__(self) -> None:
        super().__init__(SPEC)
        self.resource["metadata"] |= {"name": TEMPLATE, "namespace": "the-namespace", "uid": "the-owner"}
        self.settle()
        ((_, job),) = (key for key in self.objects if key[0] == "Job")
        self.job_succeeds(job=job)
        self.settle()
        self.objects["Deployment", "digits"] = self.objects.pop(("Deployment", TEMPLATE))
        self.roll_out()
        self.objects["Deployment", TEMPLATE] = self.objects.pop(("Deployment", "digits"))
        self.settle()
        assert self.verdict()["Ready"] == "True"

    def text(self) -> str:
        """Return all objects as JSON."""
        return json.dumps(
            {"status": self.status, "objects": list(self.objects.values()), "pods": list(self.pods.values())}
        )


def copy(api: Api, text: str, name: str, namespace: str) -> None:
    """Write a copy of the template with all its objects."""
    metadata = {"name": name, "namespace": namespace}
    resource = {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": metadata, "spec": SPEC}
    made = api.create("modeldeployments", namespace, resource)
    for old, new in (
        (TEMPLATE, name),
        ("the-namespace", namespace),
        ("the-owner", made["metadata"]["uid"]),
    ):
        text = text.replace(old, new)
    copied = json.loads(text)
    owners = {}
    for child in copied["objects"]:
        status = child.pop("status", None)
        body = _as_applied(child)
        owners[body["kind"]] = _write(api, namespace, body, status)
    for pod in copied["pods"]:
        owner = owners["Job" if pod["metadata"]["labels"][names.ROLE_LABEL] == names.JOB else "Deployment"]
        make_pod(api, owner, pod)
    api.patch("modeldeployments", namespace, name, {"status": copied["status"]}, "status")


def _write(api: Api, namespace: str, body: Json, status: Json | None) -> Json:
    """Apply an object as the operator does, then its status as another controller."""
    plural, name = PLURALS[body["kind"]], body["metadata"]["name"]
    applied = api.request(
        "PATCH",
        path(plural, namespace, name),
        body,
        content_type="application/apply-patch+yaml",
        fieldManager="modelpress",
        force="true",
    )
    if plural == "jobs":
        status = finished(applied)
    if plural == "deployments" and status:
        status["readyReplicas"] = status["availableReplicas"]
    if status:
        api.patch(plural, namespace, name, {"status": status}, "status")
    return applied


def _as_applied(child: Json) -> Json:
    for key in ("uid", "generation", "creationTimestamp"):
        child["metadata"].pop(key)
    is_stamped = names.APPLIED_ANNOTATION in child["metadata"].get("annotations", ())
    return stamped(child) if is_stamped else child


def finished(job: Json) -> Json:
    """Return the status of a Job that has succeeded."""
    at = job["metadata"]["creationTimestamp"]
    conditions = [
        {
            "type": kind,
            "status": "True",
            "reason": "CompletionsReached",
            "lastTransitionTime": at,
            "lastProbeTime": at,
        }
        for kind in ("SuccessCriteriaMet", "Complete")
    ]
    return {
        "startTime": at,
        "completionTime": at,
        "succeeded": 1,
        "uncountedTerminatedPods": {},
        "conditions": conditions,
    }


def make_pod(api: Api, owner: Json, pod: Json) -> None:
    """Write a pod as its controller and a kubelet do."""
    metadata = {**owner["spec"]["template"]["metadata"], "name": pod["metadata"]["name"]}
    metadata["ownerReferences"] = [
        {
            "apiVersion": owner["apiVersion"],
            "kind": owner["kind"],
            "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"],
            "controller": True,
        }
    ]
    namespace = owner["metadata"]["namespace"]
    api.create("pods", namespace, {"metadata": metadata, "spec": owner["spec"]["template"]["spec"]})
    status = pod["status"]
    for each in status.get("containerStatuses", ()):
        each |= {"image": "", "imageID": "", "ready": False, "restartCount": 0}
    status["conditions"] = [
        {**each, "lastTransitionTime": format_time(BEGIN)} for each in status.get("conditions", ())
    ]
    api.patch("pods", namespace, metadata["name"], {"status": status}, "status")


class Running:
    """An operator's process."""

    def __init__(self, kubeconfig: Path, log: Path, *arguments: str) -> None:
        self.port = free_port()
        command = [
            *(sys.executable, "-m", "modelpress", "operator"),
            *("--store", SETTINGS.store, "--compressor-image", SETTINGS.compressor_image),
            *("--worker-image", SETTINGS.worker_image, "--worker-gpu-image", SETTINGS.worker_gpu_image),
            *("--resync-interval", "10", f"--liveness-port={self.port}"),
            *arguments,
        ]
        self.began = time.monotonic()
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                env={"KUBECONFIG": str(kubeconfig), **IMAGE_ENVIRONMENT},
                stdout=output,
                stderr=output,
            )

    def facts(self) -> Json:
        """Return what /healthz tells; nothing before it answers."""
        try:
            facts: Json = httpx.get(
                f"http://127.0.0.1:{self.port}/healthz", trust_env=False, timeout=60
            ).json()
        except httpx.TransportError:
            return {}
        return facts

    def writes(self) -> int:
        """Return how many writes it has made."""
        return self.requests(without=("get ", "list ", "watch "))

    def requests(self, without: tuple[str, ...] = ("watch ",)) -> int:
        """Return how many requests it has made, but some verbs."""
        return sum(count for what, count in self.facts()["requests"].items() if not what.startswith(without))

    def cpu_seconds(self) -> float:
        """Return the CPU time that it has taken."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def megabytes(self, field: str) -> float:
        """Return VmRSS or VmHWM."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition(f"{field}:")[2].split()[0]) / 1024


def measure(cluster: ControlPlane, count: int, log: Path) -> str:
    """Start an operator with a change to make; return a line of the table."""
    api, (namespace, name) = cluster.admin, where(0)
    api.patch("modeldeployments", namespace, name, {"spec": {"replicas": 2}})
    operator = Running(cluster.kubeconfig, log)
    try:
        wait_until(
            "the first step",
            lambda: api.get("deployments", namespace, name)["spec"]["replicas"] == 2,
            seconds=1200,
        )
        first = time.monotonic() - operator.began
        wait_until(
            "settled", lambda: operator.facts().get("resyncs") and not operator.facts()["waiting"], 1200
        )
        settled, cpu, writes = time.monotonic() - operator.began, operator.cpu_seconds(), operator.writes()
        time.sleep(IDLE_SECONDS)
        idle = (operator.cpu_seconds() - cpu) / IDLE_SECONDS * 100
        memory = f"{operator.megabytes('VmRSS'):>6.0f} MB {operator.megabytes('VmHWM'):>6.0f} MB"
        times = f"{count:>9} {first:>9.1f} s {settled:>7.1f} s {cpu:>6.1f} s"
        return f"{times} {memory} {writes:>7} {operator.writes() - writes:>5} {idle:>6.1f} %"
    finally:
        operator.process.terminate()
        operator.process.wait(60)
        api.patch("modeldeployments", namespace, name, {"spec": {"replicas": 1}})
        api.patch("deployments", namespace, name, {"spec": {"replicas": 1}})


def where(number: int) -> tuple[str, str]:
    """Return namespace and name of a resource."""
    return f"team-{number % NAMESPACES:02}", f"model-{number:05}"


def start(cluster: ControlPlane) -> None:
    """Start it, with the CustomResourceDefinition and namespaces."""
    cluster.start()
    cluster.kubectl("apply", "--server-side", "-f", str(CRD))
    cluster.kubectl("wait", "--for=condition=Established", "crd/modeldeployments.modelpress.dev")
    for number in range(NAMESPACES):
        cluster.admin.create("namespaces", None, {"metadata": {"name": where(number)[0]}})
        account = {"metadata": {"name": "default"}}
        cluster.admin.create("serviceaccounts", where(number)[0], account)


def main(counts: tuple[int, ...] = COUNTS) -> None:
    """Print a line for each count."""
    with tempfile.TemporaryDirectory() as folder:
        cluster = BareControlPlane(Path(folder))
        try:
            start(cluster)
            text, made = _Template().text(), 0
            print("resources first step settled     CPU resident     peak  writes  idle    CPU when idle")
            for count in counts:
                with ThreadPoolExecutor(8) as pool:
                    for _ in pool.map(
                        lambda n: copy(cluster.admin, text, *reversed(where(n))), range(made, count)
                    ):
                        pass
                made = count
                print(measure(cluster, count, Path(folder) / f"operator-{count}.log"), flush=True)
        finally:
            cluster.stop()


if __name__ == "__main__":
    main(tuple(map(int, sys.argv[1:])) or COUNTS)
