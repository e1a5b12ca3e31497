"""What the tests of a real control plane share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster.adapter import ClusterFixture
from tests.support.cluster.controlplane import ControlPlane
from tests.support.cluster.environment import OPERATOR_ACCOUNT
from tests.support.cluster.fixtures import *  # noqa: F403 - fixtures and hooks

MANIFESTS = Path(__file__).resolve().parents[3] / "manifests"


@pytest.fixture(scope="module")
def kubeconfig(control_plane: ControlPlane, crd: str) -> Path:
    """A kubeconfig of the operator's ServiceAccount."""
    control_plane.kubectl("apply", "-f", str(MANIFESTS / "operator" / "namespace.yaml"))
    control_plane.kubectl("apply", "-k", str(MANIFESTS / "rbac"))
    return control_plane.kubeconfig_for_service_account(*OPERATOR_ACCOUNT)


@pytest.fixture
def fixture(control_plane: ControlPlane, kubeconfig: Path, namespace: str) -> Iterator[ClusterFixture]:
    """The adapter, and a ModelDeployment in a namespace of its own."""
    made = ClusterFixture(control_plane, kubeconfig, namespace)
    yield made
    made.api.delete("modeldeployments", namespace, "digits")
