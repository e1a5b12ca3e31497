from tests.support.serving.fixtures import *  # noqa: F403 - fixtures
