from tests.support.cluster.fixtures import *  # noqa: F403 - fixtures and hooks
from tests.support.cluster.sequence_runner import running

__all__ = ["running"]
