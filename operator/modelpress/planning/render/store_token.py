"""What a pod shows the default store: a token of its ServiceAccount, for the store's audience alone.

The store learns from the API server of which namespace the token is; no Secret is made, and no right given.
"""

from typing import Any

from modelpress.api import contract
from modelpress.planning.artifacts.artifact import StoreLocation
from modelpress.planning.view import View

_VOLUME = "store-token"
_SECONDS = 3600  # the kubelet renews it when four fifths of them are over


def volumes(view: View, store: StoreLocation) -> list[dict[str, Any]]:
    """Return the volume with the token, where the store asks for one."""
    if not _is_asked_for(view, store):
        return []
    token = {
        "audience": view.settings.store_audience,
        "expirationSeconds": _SECONDS,
        "path": contract.POD_TOKEN,
    }
    return [{"name": _VOLUME, "projected": {"sources": [{"serviceAccountToken": token}]}}]


def mounts(view: View, store: StoreLocation, folder: str) -> list[dict[str, Any]]:
    """Return where that volume is mounted."""
    if not _is_asked_for(view, store):
        return []
    return [{"name": _VOLUME, "mountPath": folder, "readOnly": True}]


def _is_asked_for(view: View, store: StoreLocation) -> bool:
    settings = view.settings
    is_default = store == StoreLocation(settings.store_of(view.key.namespace))
    return settings.store_audience is not None and is_default
