"""What the tests of faults on a real control plane share."""

from tests.e2e.cluster.conftest import fixture, kubeconfig
from tests.support.cluster.fixtures import *  # noqa: F403 - fixtures and hooks

__all__ = ["fixture", "kubeconfig"]
