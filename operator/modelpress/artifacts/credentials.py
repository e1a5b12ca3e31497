"""Credentials from the files of a mounted Secret. They are passed on explicitly, never through os.environ."""

import base64
import binascii
import json
from pathlib import Path
from typing import Any

from modelpress.api.conditions import Reason
from modelpress.api.contract import POD_TOKEN
from modelpress.api.errors import PermissionDenied

DOCKER_CONFIG = ".dockerconfigjson"
_POD = "serviceaccount"  # a user name: the token says who it is
GS_KEY = "key.json"


def read(secrets: Path | None, name: str) -> str | None:
    """Return the value of one key of a Secret, without the newline that `echo` adds; None where unset."""
    if secrets is None:
        return None
    try:
        value = plain((secrets / name).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise PermissionDenied(
            Reason.SOURCE_UNAUTHORIZED, f"the Secret's key {name} cannot be read as text"
        ) from error
    if value is not None and not value.isprintable():
        raise PermissionDenied(
            Reason.SOURCE_UNAUTHORIZED,
            f"the Secret's key {name} holds a line break or another control character",
        )
    return value


def plain(content: bytes) -> str | None:
    """Return the text of a key's content without the line breaks around it; None where nothing is left."""
    return content.decode().strip("\r\n") or None


def s3_options(secrets: Path | None, what: str) -> dict[str, Any]:
    """Return the arguments of s3fs for a Secret's AWS_* keys; the credential is left out where none is given.

    A Secret that names an endpoint and no credential is anonymous: whoever wrote it must not be sent the
    environment's.

    Raises PermissionDenied (SourceUnauthorized) where only one half of a key pair is given.
    """
    pair = {name: read(secrets, name) for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    missing = [name for name, value in pair.items() if value is None]
    if len(missing) == 1:
        raise PermissionDenied(Reason.SOURCE_UNAUTHORIZED, f"{what}: the Secret has no key {missing[0]}")
    options: dict[str, Any] = {}
    if not missing:
        options["key"], options["secret"] = pair.values()
        if token := read(secrets, "AWS_SESSION_TOKEN"):
            options["token"] = token
    if endpoint := read(secrets, "AWS_ENDPOINT_URL"):
        options["endpoint_url"] = endpoint
        options["anon"] = bool(missing)
    if region := read(secrets, "AWS_REGION"):
        options["client_kwargs"] = {"region_name": region}
    return options


def gs_service_account(secrets: Path | None) -> dict[str, Any] | None:
    """Return the service account of a Secret's `key.json`, or None where it has no such key.

    Raises PermissionDenied (SourceUnauthorized) where it is not the key file of a service account: other
    kinds of Google credentials name files to read and programs to run.
    """
    if secrets is None or not (secrets / GS_KEY).exists():
        return None
    try:
        account = json.loads((secrets / GS_KEY).read_text(encoding="utf-8"))
        if account["type"] == "service_account":
            return dict(account)
    except (OSError, ValueError, KeyError, TypeError):
        pass  # said below: it is none
    raise PermissionDenied(
        Reason.SOURCE_UNAUTHORIZED, f"the Secret's {GS_KEY} is not the key file of a service account"
    )


def az_connection(secrets: Path | None, what: str) -> str | None:
    """Return a connection string for a Secret's AZURE_STORAGE_* keys, or None where it has none of them.

    An account without a credential is read anonymously. Raises PermissionDenied (SourceUnauthorized) where a
    key or token comes without the account's name.
    """
    if connection := read(secrets, "AZURE_STORAGE_CONNECTION_STRING"):
        return connection
    account = read(secrets, "AZURE_STORAGE_ACCOUNT_NAME")
    key, token = read(secrets, "AZURE_STORAGE_ACCOUNT_KEY"), read(secrets, "AZURE_STORAGE_SAS_TOKEN")
    if account is None:
        if key or token:
            raise PermissionDenied(
                Reason.SOURCE_UNAUTHORIZED, f"{what}: the Secret has no key AZURE_STORAGE_ACCOUNT_NAME"
            )
        return None
    parts = [f"BlobEndpoint=https://{account}.blob.core.windows.net"]
    if key:
        parts += [f"AccountName={account}", f"AccountKey={key}"]
    elif token:
        parts += [f"SharedAccessSignature={token.removeprefix('?')}"]
    return ";".join(parts)


def http_authorization(secrets: Path | None) -> str | None:
    """Return the Authorization header for a Secret with `token`, or with `username` and `password`."""
    if token := read(secrets, "token"):
        return f"Bearer {token}"
    username, password = read(secrets, "username"), read(secrets, "password")
    if username and password:
        return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()
    return None


def registry_login(secrets: Path | None, registry: str) -> tuple[str, str] | None:
    """Return (user, password) of `registry` (host:port) from the Secret's .dockerconfigjson, or None.

    For the default store that is the token of the pod's ServiceAccount as it is now.

    Raises PermissionDenied (StoreUnauthorized) where that file is not what `kubectl create secret
    docker-registry` makes.
    """
    if token := read(secrets, POD_TOKEN):
        return _POD, token
    if secrets is None or not (secrets / DOCKER_CONFIG).exists():
        return None
    try:
        auths = json.loads((secrets / DOCKER_CONFIG).read_text(encoding="utf-8"))["auths"]
        entries = {_host(name): entry for name, entry in auths.items()}
        entry = entries.get(_host(registry))
        if entry is None:
            return None
        if auth := entry.get("auth"):
            user, _, password = base64.b64decode(auth, validate=True).decode().partition(":")
        else:
            user, password = entry["username"], entry["password"]
    except (OSError, ValueError, KeyError, AttributeError, TypeError, binascii.Error) as error:
        raise PermissionDenied(
            Reason.STORE_UNAUTHORIZED,
            f"the storage Secret's {DOCKER_CONFIG} is not a Docker configuration with a login for {registry}",
        ) from error
    return str(user), str(password)


def _host(name: str) -> str:
    """Return `host:port` of a name in a Docker configuration, which may be written as a URL."""
    host = name.removeprefix("https://").removeprefix("http://").split("/", 1)[0]
    return "docker.io" if host in ("index.docker.io", "registry-1.docker.io") else host
