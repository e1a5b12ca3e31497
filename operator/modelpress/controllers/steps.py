"""Steps of the control loop in threads; what ends one is logged, and told in the status."""

import asyncio
import logging
from collections import Counter

from urllib3.exceptions import HTTPError

from modelpress.controllers.cluster import Cluster
from modelpress.controllers.reconcile import key_fields, reconcile, tell
from modelpress.controllers.rest import ApiError, NotActive
from modelpress.controllers.troubles import explained
from modelpress.planning.types import Key, Settings

logger = logging.getLogger(__name__)

TOLD_FROM = 3  # errors of the API server in a row: a restart of it, for one, is over before


class Steps:
    """Reconciles one key at a call; must be called on one event loop."""

    def __init__(self, cluster: Cluster, settings: Settings) -> None:
        self._cluster = cluster
        self._settings = settings
        self._errors: Counter[Key] = Counter()  # of the API server, in a row
        self._faults: dict[Key, str] = {}  # what was logged last of a fault of ours

    async def __call__(self, key: Key) -> float | None:
        """Take a step; return the seconds until the next look, or None. Logs and raises errors."""
        try:
            pause = await asyncio.to_thread(reconcile, self._cluster, key, self._settings)
        except NotActive as error:
            logger.warning("%s/%s: %s", *key, error, extra=key_fields(key))
            raise
        except (ApiError, HTTPError) as error:
            logger.warning("%s/%s: %s", *key, error, extra=key_fields(key))
            self._errors[key] += 1
            if self._errors[key] >= TOLD_FROM:
                await asyncio.to_thread(self._tell, key, error)
            raise
        except Exception as error:
            self._log_once(key, error)
            await asyncio.to_thread(self._tell, key, error)
            raise
        self._errors.pop(key, None)
        self._faults.pop(key, None)
        return pause

    def _log_once(self, key: Key, error: Exception) -> None:
        """Write the traceback of a fault once, not at each look that meets it again."""
        text = repr(error)
        if self._faults.get(key) != text:
            logger.exception("%s/%s: unexpected error", *key, extra=key_fields(key))
        self._faults[key] = text

    def _tell(self, key: Key, error: Exception) -> None:
        """Write the status; where that fails as well, the next step tries again."""
        try:
            tell(self._cluster, key, self._settings, explained(error))
        except Exception as another:
            logger.debug("%s/%s: status not written: %r", *key, another, extra=key_fields(key))
