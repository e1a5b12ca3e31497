"""LocalCluster with real processes: Jobs, Deployments, Services."""

import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from modelpress.api import names
from modelpress.local.node.cluster import Hooks, LocalCluster
from modelpress.planning.types import Body, EventNote, Key, Observed, Ref

KEY = Key("team", "tiny")
SERVER = textwrap.dedent(
    """
    import http.server, os, signal, sys
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            content = os.environ["VERSION"].encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        def log_message(self, *args): pass
    signal.signal(signal.SIGTERM, lambda *args: sys.exit(0))
    address = "127.0.0.1", int(os.environ["MODELPRESS_PORT"])
    http.server.ThreadingHTTPServer(address, Handler).serve_forever()
    """
)


class Local:
    def __init__(self, folder: Path) -> None:
        self.wake = threading.Event()
        self.lines: list[tuple[str, str]] = []
        self.notes: list[EventNote] = []
        hooks = Hooks(self.wake.set, lambda role, line: self.lines.append((role, line)), self.notes.append)
        self.cluster = LocalCluster(folder, {}, hooks)
        resource = {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "metadata": {"name": "tiny", "namespace": "team"},
            "spec": {},
        }
        assert self.cluster.create(resource) == KEY

    def seen(self) -> Observed:
        observed = self.cluster.observe(KEY)
        assert observed is not None
        return observed

    def until(self, condition: Callable[[Observed], Any], what: str) -> Observed:
        for _ in range(1200):
            self.wake.clear()
            self.cluster.step()
            observed = self.seen()
            if condition(observed):
                return observed
            self.wake.wait(0.05)
        raise AssertionError(f"never: {what}; {observed}")


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Local]:
    made = Local(tmp_path)
    yield made
    made.cluster.close(1)


def body(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "any/v1",
        "kind": kind,
        "metadata": {"name": "tiny", "namespace": "team", "labels": names.labels("tiny", "worker")},
        "spec": spec,
    }


def job(code: str, **spec: Any) -> dict[str, Any]:
    container = {"name": "job", "command": [sys.executable, "-c", code]}
    template = {
        "metadata": {"labels": {names.ROLE_LABEL: names.JOB}},
        "spec": {"restartPolicy": "Never", "containers": [container]},
    }
    return body("Job", {"backoffLimit": 0, "template": template} | spec)


def deployment(version: str, replicas: int, code: str = SERVER) -> dict[str, Any]:
    ready = {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 0.1, "failureThreshold": 600}
    container = {
        "name": "worker",
        "command": [sys.executable, "-c", code],
        "env": [{"name": "VERSION", "value": version}, {"name": "MODELPRESS_PORT", "value": "8080"}],
        "ports": [{"name": "http", "containerPort": 8080}],
        "startupProbe": ready,
        "readinessProbe": ready,
    }
    template = {
        "metadata": {"labels": names.worker_selector("tiny")},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 20},
    }
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    return body("Deployment", {"replicas": replicas, "strategy": strategy, "template": template})


def service() -> dict[str, Any]:
    return body(
        "Service", {"selector": names.worker_selector("tiny"), "ports": [{"port": 80, "targetPort": "http"}]}
    )


def true(observed: Body, kind: str) -> bool:
    conditions = observed.get("status", {}).get("conditions", [])
    return any(entry["type"] == kind and entry["status"] == "True" for entry in conditions)


def test_a_job_runs_its_pod_to_the_end(local: Local) -> None:
    local.cluster.apply(job("print('done')"))
    observed = local.until(lambda seen: true(seen.jobs[0], "Complete"), "complete")
    assert observed.jobs[0]["status"]["succeeded"] == 1
    pod = observed.pods[0]
    assert pod["status"]["phase"] == "Succeeded"
    assert pod["metadata"]["ownerReferences"][0]["uid"] == observed.jobs[0]["metadata"]["uid"]
    assert local.lines == [("job", "done")]


def test_jobs_are_created_only(local: Local) -> None:
    first = local.cluster.apply(job("print('one')"))
    assert local.cluster.apply(job("print('two')")) is first


def test_a_failing_job_fails(local: Local) -> None:
    local.cluster.apply(job("raise SystemExit(3)"))
    observed = local.until(lambda seen: true(seen.jobs[0], "Failed"), "failed")
    assert observed.jobs[0]["status"]["conditions"][-1]["reason"] == "BackoffLimitExceeded"


def test_deleting_a_job_ends_its_process(local: Local) -> None:
    applied = local.cluster.apply(job("import time; print('on', flush=True); time.sleep(600)"))
    local.until(lambda seen: local.lines, "running")
    local.cluster.delete(Ref("Job", "team", "tiny", "another uid"))
    assert local.seen().jobs
    local.cluster.delete(Ref("Job", "team", "tiny", applied["metadata"]["uid"]))
    assert not local.seen().jobs
    local.until(lambda seen: not seen.pods, "no pods")


def test_an_update_replaces_pods_without_losing_a_request(local: Local) -> None:
    local.cluster.apply(deployment("one", 2))
    local.cluster.apply(service())
    url = local.cluster.url(KEY)
    assert url is not None
    local.until(lambda seen: seen.deployments[0]["status"]["availableReplicas"] == 2, "available")
    assert httpx.get(url).text == "one"

    local.cluster.apply(deployment("two", 2))
    assert local.seen().deployments[0]["metadata"]["generation"] == 2
    answers: list[str] = []

    def complete(seen: Observed) -> bool:
        answers.append(httpx.get(url).text)
        assert sum("deletionTimestamp" not in pod["metadata"] for pod in seen.pods) <= 3
        status = seen.deployments[0]["status"]
        done = status["updatedReplicas"] == status["availableReplicas"] == status["replicas"] == 2
        return bool(done and answers[-1] == "two")

    local.until(complete, "updated")
    assert set(answers) == {"one", "two"}  # and none was an error


def test_scaling_to_zero_ends_all_pods(local: Local) -> None:
    local.cluster.apply(deployment("one", 2))
    local.until(lambda seen: seen.deployments[0]["status"]["availableReplicas"] == 2, "available")
    before = local.seen().deployments[0]["metadata"]["generation"]
    local.cluster.apply(deployment("one", 0))
    observed = local.until(lambda seen: not seen.pods, "no pods")
    assert observed.deployments[0]["metadata"]["generation"] == before + 1
    assert observed.deployments[0]["status"]["replicas"] == 0


def test_applying_the_same_again_changes_nothing(local: Local) -> None:
    local.cluster.apply(deployment("one", 0))
    local.cluster.apply(deployment("one", 0))
    assert local.seen().deployments[0]["metadata"]["generation"] == 1


def test_a_crashing_worker_shows_in_its_pod(local: Local) -> None:
    local.cluster.apply(deployment("one", 1, "raise SystemExit(65)"))

    def crashed(seen: Observed) -> bool:
        return any(
            "waiting" in entry["state"] and entry["state"]["waiting"]["reason"] == "CrashLoopBackOff"
            for pod in seen.pods
            for entry in pod["status"]["containerStatuses"]
        )

    observed = local.until(crashed, "CrashLoopBackOff")
    assert not true(observed.deployments[0], "Available")
    assert any(event["reason"] == "BackOff" for event in observed.events)


def test_status_and_events_are_kept_and_passed_on(local: Local) -> None:
    resource = local.seen().resource
    local.cluster.write_status(resource, {"url": "x"})
    assert local.seen().resource["status"] == {"url": "x"}
    assert local.seen().resource["metadata"]["generation"] == 1
    note = EventNote("Normal", "Available", "yes")
    local.cluster.record(resource, (note,))
    assert local.notes == [note]


def test_close_leaves_nothing_that_listens(local: Local) -> None:
    local.cluster.apply(deployment("one", 1))
    local.cluster.apply(service())
    url = local.cluster.url(KEY)
    local.until(lambda seen: seen.deployments[0]["status"]["availableReplicas"] == 1, "available")
    local.cluster.close(10)
    with pytest.raises(httpx.ConnectError):
        httpx.get(str(url))
