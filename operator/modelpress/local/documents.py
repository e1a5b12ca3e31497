"""Manifest files: their ModelDeployments, the Secrets beside them, and paths relative to the file."""

import base64
import binascii
import sys
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelpress.api import manifest, names
from modelpress.api.conditions import Reason
from modelpress.api.errors import MissingError, UsageError
from modelpress.api.values import CLAIM

Body = dict[str, Any]


@dataclass(frozen=True)
class Documents:
    """What a manifest file holds."""

    path: Path
    deployments: tuple[Body, ...]
    secrets: dict[str, dict[str, bytes]]
    others: tuple[str, ...]  # kinds of documents that are neither

    def only(self) -> Body:
        """Return the one ModelDeployment. Raises UsageError where there are none or several."""
        if len(self.deployments) != 1:
            raise UsageError(
                Reason.INVALID_SPEC,
                f"{self.path}: holds {len(self.deployments)} documents of kind {names.KIND}, needed is one",
            )
        return self.deployments[0]


def read(path: Path) -> Documents:
    """Read a manifest file, or standard input where `path` is "-". Raises MissingError or UsageError."""
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError) as error:
        raise MissingError(Reason.SOURCE_NOT_FOUND, f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(Reason.INVALID_SPEC, f"{path}: cannot be read as text") from error
    try:
        bodies = manifest.load(text)
    except UsageError as error:
        raise UsageError(error.reason, f"{path}: {error.message}") from error
    secrets = [body for body in bodies if (body.get("apiVersion"), body.get("kind")) == ("v1", "Secret")]
    others = [body for body in bodies if body not in secrets and _is_foreign(body)]
    return Documents(
        path=path,
        deployments=tuple(body for body in bodies if body not in secrets and body not in others),
        secrets=dict(_secret(path, body) for body in secrets),
        others=tuple(str(body["kind"]) for body in others),
    )


def checked(documents: Documents) -> Body:
    """Return the one ModelDeployment as an API server would store it, its local paths made absolute.

    Raises UsageError with one line for each error of the manifest, MissingError for a Secret that the file
    does not hold: on this machine nobody will make it later.
    """
    body = documents.only()
    errors = manifest.check(body, local=True).errors
    if errors:
        raise UsageError(Reason.INVALID_SPEC, "\n".join(f"{documents.path}: {error}" for error in errors))
    if not body["metadata"].get("name"):
        raise UsageError(
            Reason.INVALID_SPEC,
            f"{documents.path}: metadata.name: needed on this machine, which makes none of generateName",
        )
    for field, source in _sources(body["spec"]).items():
        if source["uri"].startswith(CLAIM):
            raise UsageError(
                Reason.INVALID_SPEC,
                f"{documents.path}: spec.{field}.uri: {source['uri']!r}: there are no claims on this machine;"
                " name the file itself, by file:// or a relative path",
            )
        name = (source.get("secretRef") or {}).get("name")
        if name is not None and name not in documents.secrets:
            raise MissingError(
                Reason.SECRET_NOT_FOUND,
                f"{documents.path}: spec.{field}.secretRef: the file holds no Secret named {name}",
            )
    return with_absolute_uris(manifest.apply_defaults(body), documents.path.resolve().parent)


def with_absolute_uris(body: Body, folder: Path) -> Body:
    """Return a copy in which relative paths of the model and data are file:// URIs below `folder`."""
    copy = deepcopy(body)
    for source in _sources(copy["spec"]).values():
        uri = source["uri"]
        if manifest.is_local_path(uri) and not uri.startswith("file://"):
            source["uri"] = (folder / Path(uri).expanduser()).resolve().as_uri()
    return copy


def _sources(spec: Body) -> dict[str, Body]:
    data = {f"data.{name}": source for name, source in (spec.get("data") or {}).items() if source}
    return {"model": spec["model"], **data}


def _is_foreign(body: Body) -> bool:
    # a document of our group, or without a proper type, is for the checks to judge
    group = str(body.get("apiVersion") or names.GROUP).split("/")[0]
    return bool(body.get("kind")) and group != names.GROUP


def _secret(path: Path, body: Body) -> tuple[str, dict[str, bytes]]:
    name = (body.get("metadata") or {}).get("name")
    if not isinstance(name, str):
        raise UsageError(Reason.INVALID_SPEC, f"{path}: a Secret has no metadata.name")
    content: dict[str, bytes] = {}
    for key, value in (body.get("data") or {}).items():
        try:
            content[key] = base64.b64decode(value, validate=True)
        except (binascii.Error, TypeError, ValueError) as error:
            raise UsageError(
                Reason.INVALID_SPEC,
                f"{path}: Secret {name}: data.{key} is not base64; plain text is stringData",
            ) from error
    for key, value in (body.get("stringData") or {}).items():
        if not isinstance(value, str):
            raise UsageError(Reason.INVALID_SPEC, f"{path}: Secret {name}: stringData.{key} is not a string")
        content[key] = value.encode()
    return name, content
