"""What the tests of a real control plane share."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster.adapter import ClusterFixture
from tests.support.cluster.controlplane import ControlPlane
from tests.support.cluster.environment import OPERATOR_ACCOUNT
from tests.support.cluster.fixtures import *  # noqa: F403 - fixtures and hooks

MANIFESTS = Path(__file__).resolve().parents[3] / "manifests"

# what operators that lose their lease end with, in the tests of leader election
_EXPECTED_ERRORS = ("restart as a standby",)


@pytest.fixture(scope="session", autouse=True)
def no_unexpected_error(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """All that operators of these tests log is JSON, and none of it is an error, or the last test fails."""
    yield
    logs = tmp_path_factory.getbasetemp().rglob("operator*.log")
    ours = (log for log in logs if not log.parent.name.endswith("earlier"))
    lines = [line for log in ours for line in log.read_text().splitlines()]
    assert [line for line in lines if not _is_expected(line)] == []


def _is_expected(line: str) -> bool:
    try:
        record = json.loads(line)
    except ValueError:
        return False
    is_error = record["level"] in ("ERROR", "CRITICAL")
    return not is_error or any(text in record["message"] for text in _EXPECTED_ERRORS)


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
