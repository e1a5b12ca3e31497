"""How the pods that speak to sources and stores get there: the operator-wide proxy and certificates.

Each library reads a variable of its own for the file of trusted certificates, and all of them read the proxy.
"""

from typing import Any

from modelpress.planning.view import View

CA_MOUNT = "/etc/modelpress/ca"
_CA_FILE = "ca.crt"
_CA_VARIABLES = (
    "SSL_CERT_FILE",  # OpenSSL's own, so aiohttp (http, gs, az) and httpx (hf)
    "REQUESTS_CA_BUNDLE",  # requests: registries, and the tokens of Google and Azure
    "AWS_CA_BUNDLE",  # botocore (s3)
)
_CA_VOLUME = "ca-bundle"


def variables(view: View) -> dict[str, str]:
    """Return the environment variables that name the proxy and the certificates."""
    return _proxy_variables(view) | (
        dict.fromkeys(_CA_VARIABLES, f"{CA_MOUNT}/{_CA_FILE}") if view.settings.defaults.ca_bundle else {}
    )


def volumes(view: View) -> list[dict[str, Any]]:
    """Return the volume of the certificates, where there are any."""
    bundle = view.settings.defaults.ca_bundle
    if bundle is None:
        return []
    items = [{"key": bundle.key, "path": _CA_FILE}]
    return [{"name": _CA_VOLUME, "configMap": {"name": bundle.config_map_name, "items": items}}]


def mounts(view: View) -> list[dict[str, Any]]:
    """Return where that volume is mounted."""
    if view.settings.defaults.ca_bundle is None:
        return []
    return [{"name": _CA_VOLUME, "mountPath": CA_MOUNT, "readOnly": True}]


def _proxy_variables(view: View) -> dict[str, str]:
    proxy = view.settings.defaults.proxy
    if proxy is None or not (proxy.http_proxy or proxy.https_proxy):
        return {}
    # the registry and object stores of the cluster are never behind its proxy
    direct = ["localhost", "127.0.0.1", ".svc", f".{view.settings.cluster_domain}"]
    named = {
        "HTTP_PROXY": proxy.http_proxy,
        "HTTPS_PROXY": proxy.https_proxy,
        "NO_PROXY": ",".join(([proxy.no_proxy] if proxy.no_proxy else []) + direct),
    }
    return {name: value for name, value in named.items() if value}
