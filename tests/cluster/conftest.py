"""The cluster of these tests: started once for a session, a fresh namespace for each test."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.controlplane import ControlPlane, wait_until
from tests.cluster.node import Node
from tests.support import binaries

CRDS = Path(__file__).resolve().parents[2] / "crds"
CAPACITY = {
    "cpu": "64",
    "memory": "256Gi",
    "pods": "200",
    "ephemeral-storage": "500Gi",
    "example.com/slot": "24",
}


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A running etcd, API server, controller-manager and scheduler."""
    if not binaries.present("controlplane"):
        message = "no Kubernetes control plane: `make binaries` builds it once"
        if os.environ.get("CI") == "true" or os.environ.get("MODELPRESS_REQUIRE_CLUSTER") == "1":
            pytest.fail(message)
        pytest.skip(message)
    running = ControlPlane(tmp_path_factory.mktemp("control-plane"))
    try:
        running.start()
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="session")
def crd(control_plane: ControlPlane) -> str:
    """The CustomResourceDefinition, installed and served; its name."""
    control_plane.kubectl("apply", "--server-side", "-k", str(CRDS))
    name = "modeldeployments.modelpress.dev"
    control_plane.kubectl("wait", "--for=condition=Established", f"crd/{name}", "--timeout=60s")
    wait_until("the new API served", lambda: control_plane.admin.get("modeldeployments") and True)
    return name


@pytest.fixture(scope="session")
def node(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node that runs pods as processes of this machine."""
    api = control_plane.api_as("system:node:test-node", "system:nodes")
    running = Node(api, "test-node", CAPACITY, tmp_path_factory.mktemp("node"))
    running.start()
    wait_until("node schedulable", lambda: not _taints(control_plane, running.name))
    yield running
    running.stop()
    api.close()


@pytest.fixture
def namespace(control_plane: ControlPlane) -> Iterator[str]:
    """A fresh namespace; all in it goes when the test ends."""
    yield from fresh_namespace(control_plane)


@pytest.fixture(scope="module")
def module_namespace(control_plane: ControlPlane) -> Iterator[str]:
    """A fresh namespace for all tests of a module."""
    yield from fresh_namespace(control_plane)


def fresh_namespace(control_plane: ControlPlane) -> Iterator[str]:
    """Make a namespace in which pods can run, yield its name, delete it."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    control_plane.admin.create("namespaces", None, {"metadata": {"name": name}})
    wait_until("ServiceAccount", lambda: control_plane.admin.find("serviceaccounts", name, "default"))
    yield name
    control_plane.admin.delete("namespaces", None, name)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Tell where the logs are when a test fails."""
    report = yield
    if report.failed:
        for name in ("control_plane", "node", "operator"):
            value = getattr(item, "funcargs", {}).get(name)
            if value is not None:
                report.sections.append((f"logs of {name}", str(value.folder)))
    return report


def _taints(control_plane: ControlPlane, name: str) -> list[Any]:
    taints: list[Any] = control_plane.admin.get("nodes", None, name)["spec"].get("taints", [])
    return taints
