"""How many ModelDeployments that are created at once come up: time, memory, requests, on a real API server.

`python -m tests.benchmarks.creation [COUNT]`. No controller of Kubernetes runs: this program ends the Jobs
and reports the pods as ready, as the Job controller, the Deployment controller and a kubelet would, all at
once when the last is there.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from modelpress.api import names
from tests.benchmarks.scale import (
    IDLE_SECONDS,
    SPEC,
    BareControlPlane,
    Json,
    Running,
    finished,
    make_pod,
    start,
    where,
)
from tests.support.cluster.api import Api
from tests.support.cluster.by_hand import succeeded
from tests.support.cluster.controlplane import ControlPlane, wait_until

COUNT = 1000
THREADS = 8
READY = {"type": "Ready", "status": "True"}
ROLLED_OUT = dict.fromkeys(
    ("observedGeneration", "replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), 1
)


def create(api: Api, number: int) -> None:
    """Create a ModelDeployment."""
    namespace, name = where(number)
    body = {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": {"name": name}, "spec": SPEC}
    api.create("modeldeployments", namespace, body)


def end_job(api: Api, job: Json) -> None:
    """Let a Job succeed."""
    metadata, ended = job["metadata"], succeeded(job["spec"]["template"]["spec"])
    make_pod(api, job, {"metadata": {"name": f"{metadata['name']}-pod"}, "status": ended})
    api.patch("jobs", metadata["namespace"], metadata["name"], {"status": finished(job)}, "status")


def roll_out(api: Api, deployment: Json) -> None:
    """Let a Deployment have its pod."""
    metadata = deployment["metadata"]
    pod = {"phase": "Running", "conditions": [READY]}
    make_pod(api, deployment, {"metadata": {"name": f"{metadata['name']}-pod"}, "status": pod})
    api.patch("deployments", metadata["namespace"], metadata["name"], {"status": ROLLED_OUT}, "status")


def at_once(action: Callable[[Api, Json], None], api: Api, items: Iterable[Json]) -> None:
    """Do something with all in a few threads."""
    with ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(lambda item: action(api, item), items):
            pass


def there(api: Api, plural: str, count: int) -> list[Json]:
    """Wait until so many objects of a kind are there, and return them."""

    def enough() -> bool:
        listed = api.get(plural, limit="1")
        found: int = len(listed["items"]) + listed["metadata"].get("remainingItemCount", 0)
        return found >= count

    wait_until(f"{count} {plural}", enough, 600, every=0.5)
    listed = api.get(plural)
    of_all = {"apiVersion": listed["apiVersion"], "kind": listed["kind"].removesuffix("List")}
    return [{**item, **of_all} for item in listed["items"]]


def is_ready(resource: Json) -> bool:
    """Return whether a ModelDeployment serves."""
    conditions = resource.get("status", {}).get("conditions", ())
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def measure(cluster: ControlPlane, count: int, log: Path) -> str:
    """Create so many, and bring them up; return what it took."""
    api = cluster.admin
    limits = (f"--max-concurrent-jobs={count}", f"--max-concurrent-jobs-per-namespace={count}")
    operator = Running(cluster.kubeconfig, log, *limits)
    try:
        wait_until("the operator", lambda: operator.facts().get("resyncs"))
        before, began = operator.requests(), time.monotonic()
        with ThreadPoolExecutor(THREADS) as pool:
            for _ in pool.map(lambda number: create(api, number), range(count)):
                pass
        created = time.monotonic() - began
        jobs = there(api, "jobs", count)
        compressing = time.monotonic() - began
        at_once(end_job, api, jobs)
        at_once(roll_out, api, there(api, "deployments", count))
        wait_until("all ready", lambda: all(map(is_ready, api.list("modeldeployments"))), 600, every=1)
        ready = time.monotonic() - began
        wait_until("settled", lambda: not operator.facts()["waiting"], 600)
        requests, writes = operator.requests() - before, operator.writes()
        time.sleep(IDLE_SECONDS)
        return (
            f"{count} created at once, in {created:.1f} s: all compress after {compressing:.1f} s,"
            f" all Ready after {ready:.1f} s, controllers included; {requests / count:.1f} requests each,"
            f" {operator.megabytes('VmRSS'):.0f} MB, at most {operator.megabytes('VmHWM'):.0f} MB,"
            f" {operator.writes() - writes} writes in {IDLE_SECONDS} s after it"
        )
    finally:
        operator.process.terminate()
        operator.process.wait(60)


def main(count: int = COUNT) -> None:
    """Print what it takes."""
    with tempfile.TemporaryDirectory() as folder:
        cluster = BareControlPlane(Path(folder))
        try:
            start(cluster)
            print(measure(cluster, count, Path(folder) / "operator.log"), flush=True)
        finally:
            cluster.stop()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
