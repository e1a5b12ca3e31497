from tests.support.cluster.fixtures import *  # noqa: F403 - fixtures and hooks
