from tests.support.object_stores import *  # noqa: F403 - fixtures
from tests.support.servers import *  # noqa: F403 - fixtures
