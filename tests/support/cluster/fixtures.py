"""The cluster of the tests: started once for a session, a fresh namespace for each test.

A conftest.py takes its fixtures and hooks with `from tests.support.cluster.fixtures import *`.
"""

import hashlib
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.cluster.controlplane import ControlPlane, wait_until
from tests.support.cluster.environment import Cluster, Sources, new_operator
from tests.support.cluster.helpers import SLOT, THREE_SLOTS, TWO_SLOTS, make_namespace, now
from tests.support.cluster.node import Node
from tests.support.models import trained as models
from tests.support.servers import needs
from tests.support.servers.servers import S3, Registry, registry, run_web, s3

__all__ = [
    "cluster",
    "control_plane",
    "crd",
    "module_namespace",
    "namespace",
    "node",
    "pytest_runtest_makereport",
    "pytest_terminal_summary",
    "registry",
    "s3",
    "sources",
]

PROJECT = Path(__file__).resolve().parents[3]
FACTS = pytest.StashKey[list[str]]()
CAPACITY = {
    "cpu": "64",
    "memory": "256Gi",
    "pods": "200",
    "ephemeral-storage": "500Gi",
    SLOT: "24",
    TWO_SLOTS: "2",
    THREE_SLOTS: "3",
}


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A running etcd, API server, controller-manager and scheduler."""
    needs.program("controlplane")
    yield from started(ControlPlane(tmp_path_factory.mktemp("control-plane")))


def started(control_plane: ControlPlane) -> Iterator[ControlPlane]:
    """Start a control plane, yield it, stop it."""
    try:
        control_plane.start()
        yield control_plane
    finally:
        control_plane.stop()


@pytest.fixture(scope="session")
def crd(control_plane: ControlPlane) -> str:
    """The CustomResourceDefinition, installed and served; its name."""
    control_plane.kubectl("apply", "--server-side", "-k", str(PROJECT / "crds"))
    name = "modeldeployments.modelpress.dev"
    # not by `kubectl wait`, which gives up where the new object has no conditions yet
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


@pytest.fixture(scope="session")
def sources(s3: S3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sources]:
    """The model and data of these tests, on real servers."""
    folder = tmp_path_factory.mktemp("models")
    trained = models.build(folder)
    content = trained.functional.read_bytes()
    with np.load(trained.flat_data) as data, run_web(folder) as web:
        yield Sources(
            s3=s3,
            web=web,
            model_uri=s3.put("cluster-models/digits.keras", content),
            model_sha256=hashlib.sha256(content).hexdigest(),
            data_uri=f"{web.url}/flat.npz",
            test_x=data["x"],
            test_y=data["y"],
        )


@pytest.fixture(scope="module")  # not longer: other modules run an operator of their own
def cluster(
    control_plane: ControlPlane,
    crd: str,
    node: Node,
    registry: Registry,
    sources: Sources,
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Cluster]:
    """A cluster with a node, a registry and the operator, installed by its manifests."""
    manifests = PROJECT / "manifests"
    control_plane.kubectl("apply", "-f", str(manifests / "operator" / "namespace.yaml"))
    control_plane.kubectl("apply", "-k", str(manifests / "rbac"))
    folder = tmp_path_factory.mktemp("operators")
    arguments = [
        f"--store=oci://{registry.host}/models",
        f"--plain-http-registry={registry.host}",
        "--compressor-image=modelpress/compressor:test",
        "--worker-image=modelpress/worker:test",
        "--worker-gpu-image=modelpress/worker-gpu:test",
        "--resync-interval=1",
    ]
    operator = new_operator(control_plane, arguments, folder / "operator")
    since = now()
    operator.start()
    yield Cluster(
        control_plane=control_plane,
        sources=sources,
        operator=operator,
        registry=registry,
        worker_image="modelpress/worker:test",
        facts=request.config.stash.setdefault(FACTS, []),
        arguments=arguments,
        folder=folder,
        since=since,
    )
    assert operator.stop() == 0


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
    make_namespace(control_plane.admin, name)
    yield name
    control_plane.admin.delete("namespaces", None, name)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Tell where the logs are when a test fails."""
    report = yield
    if report.failed:
        for name in ("control_plane", "node", "cluster"):
            value = getattr(item, "funcargs", {}).get(name)
            if value is not None:
                report.sections.append((f"logs of {name}", str(value.folder)))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Show what was measured."""
    for fact in config.stash.get(FACTS, []):
        terminalreporter.write_line(f"[cluster] {fact}")


def _taints(control_plane: ControlPlane, name: str) -> list[Any]:
    taints: list[Any] = control_plane.admin.get("nodes", None, name)["spec"].get("taints", [])
    return taints
