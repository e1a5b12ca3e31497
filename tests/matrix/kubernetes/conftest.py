"""The cluster of the tests with the newest Kubernetes in the place of the usual one."""

from collections.abc import Iterator

import pytest

from tests.e2e.cluster.conftest import *  # noqa: F403 - fixtures and hooks
from tests.support.cluster.controlplane import ControlPlane
from tests.support.cluster.fixtures import started
from tests.support.servers.binaries import NEWEST_CONTROL_PLANE


class NewestControlPlane(ControlPlane):
    """Built on first use: no other test needs it."""

    source = NEWEST_CONTROL_PLANE


@pytest.fixture(scope="session", name="control_plane")
def newest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A running etcd, API server, controller-manager and scheduler."""
    yield from started(NewestControlPlane(tmp_path_factory.mktemp("newest-control-plane")))


@pytest.fixture(autouse=True)
def _installed(crd: str) -> None:
    """Have the CustomResourceDefinition in place."""
