"""The smoke part of the cluster's tests on the newest Kubernetes that builds: the resource, how objects are
applied and what of them is drift, and the operator's loop.

It is built from its Go modules on first use, a tenth of the time that CI has: `make verify` alone does it.
"""

import pytest

from tests.e2e.cluster.test_adapter import *  # noqa: F403
from tests.e2e.cluster.test_api import *  # noqa: F403
from tests.e2e.cluster.test_control_loop import *  # noqa: F403
from tests.e2e.cluster.test_rendering import *  # noqa: F403
from tests.support.cluster.controlplane import ControlPlane
from tests.support.servers.binaries import NEWEST_CONTROL_PLANE, PROGRAMS

pytestmark = pytest.mark.timeout(3600)  # the first test builds it


def test_it_is_the_newest(control_plane: ControlPlane) -> None:
    version = control_plane.admin.request("GET", "/version")["gitVersion"]
    assert version == PROGRAMS[NEWEST_CONTROL_PLANE].version
