"""The test node behaves towards a real control plane as the suite relies on."""

import base64
from typing import Any

from tests.support.cluster.controlplane import ControlPlane, wait_until
from tests.support.cluster.node import Node

SLOT = "example.com/slot"


def _deployment(name: str, script: str, **template: Any) -> dict[str, Any]:
    labels = {"app": name}
    container = {
        "name": "main",
        "image": "none",
        "command": ["sh", "-c", script],
        "resources": {"limits": {SLOT: "2"}},
        "terminationMessagePath": "/dev/termination-log",
        "env": [{"name": "MESSAGE", "value": "/dev/termination-log"}],
        **template.pop("container", {}),
    }
    pod = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
        **template,
    }
    return {
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def test_pods_are_scheduled_by_device_run_and_end(
    control_plane: ControlPlane, node: Node, namespace: str
) -> None:
    api = control_plane.admin
    api.create("deployments", namespace, _deployment("sleeper", "exec sleep 600"))
    control_plane.kubectl("-n", namespace, "scale", "deployment/sleeper", "--replicas=2")
    control_plane.kubectl("-n", namespace, "rollout", "status", "deployment/sleeper", "--timeout=60s")
    assert {pod["spec"]["nodeName"] for pod in api.list("pods", namespace)} == {node.name}

    control_plane.kubectl("-n", namespace, "scale", "deployment/sleeper", "--replicas=13")
    wait_until("the 13th pod waits for a device", lambda: _unschedulable(control_plane, namespace))

    control_plane.kubectl("-n", namespace, "scale", "deployment/sleeper", "--replicas=0")
    wait_until("no pods", lambda: not api.list("pods", namespace))


def _unschedulable(control_plane: ControlPlane, namespace: str) -> list[str]:
    conditions = [
        condition
        for pod in control_plane.admin.list("pods", namespace)
        for condition in pod["status"].get("conditions", ())
    ]
    return [c["message"] for c in conditions if c.get("reason") == "Unschedulable" and SLOT in c["message"]]


def test_a_missing_secret_volume_is_reported_and_then_mounted(
    control_plane: ControlPlane, node: Node, namespace: str
) -> None:
    api = control_plane.admin
    deployment = _deployment(
        "reader",
        'cat "$FOLDER/word" > "$MESSAGE"; exit 3',
        volumes=[{"name": "v", "secret": {"secretName": "late"}}],
        container={
            "volumeMounts": [{"name": "v", "mountPath": "/etc/late"}],
            "env": [
                {"name": "FOLDER", "value": "/etc/late"},
                {"name": "MESSAGE", "value": "/dev/termination-log"},
            ],
        },
    )
    api.create("deployments", namespace, deployment)
    wait_until("FailedMount", lambda: _messages(control_plane, namespace, "FailedMount"))
    assert 'secret "late" not found' in _messages(control_plane, namespace, "FailedMount")[0]

    word = base64.b64encode(b"hello").decode()
    api.create("secrets", namespace, {"metadata": {"name": "late"}, "data": {"word": word}})
    ended = wait_until("the end of the first run", lambda: _last_end(control_plane, namespace))
    assert (ended["exitCode"], ended["message"]) == (3, "hello")
    wait_until("three restarts", lambda: _restarts(control_plane, namespace) >= 3)


def test_a_namespace_that_ends_takes_no_events_and_still_ends(
    control_plane: ControlPlane, node: Node, namespace: str
) -> None:
    api = control_plane.admin
    deployment = _deployment(
        "slow",
        "trap '' TERM; sleep 8",
        terminationGracePeriodSeconds=15,
        container={
            "ports": [{"name": "http", "containerPort": 8080}],
            # nobody listens: the first event comes when the namespace already ends
            "readinessProbe": {"httpGet": {"path": "/", "port": "http"}, "initialDelaySeconds": 5},
        },
    )
    api.create("deployments", namespace, deployment)
    wait_until(
        "running", lambda: [pod["status"].get("phase") for pod in api.list("pods", namespace)] == ["Running"]
    )
    api.delete("namespaces", None, namespace)
    wait_until("the end of the namespace", lambda: api.find("namespaces", None, namespace) is None)


def _messages(control_plane: ControlPlane, namespace: str, reason: str) -> list[str]:
    events = control_plane.admin.get("events", namespace, fieldSelector=f"reason={reason}")["items"]
    return [event["message"] for event in events]


def _last_end(control_plane: ControlPlane, namespace: str) -> Any:
    (pod,) = control_plane.admin.list("pods", namespace)
    return pod["status"]["containerStatuses"][0]["lastState"].get("terminated")


def _restarts(control_plane: ControlPlane, namespace: str) -> int:
    (pod,) = control_plane.admin.list("pods", namespace)
    count: int = pod["status"]["containerStatuses"][0]["restartCount"]
    return count
