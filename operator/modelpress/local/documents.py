"""Manifest files: their ModelDeployments, the Secrets beside them, and paths relative to the file."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelpress.api import names
from modelpress.api.conditions import Reason
from modelpress.api.errors import MissingError, UsageError
from modelpress.api.text import printable
from modelpress.api.validation import kubeyaml, manifest, pod_shapes
from modelpress.api.values import CLAIM
from modelpress.local import secrets, variables
from modelpress.planning.view import parse_spec

Body = dict[str, Any]

_LINE = 2000  # characters of an error: it may quote a word of the file
_USED_SETTINGS = ("labels", "annotations", "env", "backoffLimit", "activeDeadlineSeconds")


@dataclass(frozen=True)
class Documents:
    """What a manifest file holds."""

    path: Path
    deployments: tuple[Body, ...]
    secrets: dict[str, dict[str, bytes]]
    others: tuple[str, ...]  # kinds of documents that are neither

    def only(self) -> Body:
        """Return the one ModelDeployment. Raises UsageError where there are none or several."""
        count = len(self.deployments)
        if count != 1:
            self.refuse([f"holds {count} documents of kind {names.KIND}, needed is one"])
        return self.deployments[0]

    def refuse(self, lines: Iterable[str]) -> None:
        """Raise UsageError with these lines, where there are any."""
        text = "\n".join(f"{self.path}: {printable(line, limit=_LINE)}" for line in lines)
        if text:
            raise UsageError(Reason.INVALID_SPEC, text)


def read(path: Path) -> Documents:
    """Read a manifest file, or standard input where `path` is "-". Raises MissingError or UsageError."""
    text = _text(path)
    try:
        bodies = manifest.load(text)
        found = dict(secrets.content(body) for body in bodies if _is_secret(body))
    except UsageError as error:
        raise UsageError(error.reason, f"{path}: {error.message}") from error
    rest = [body for body in bodies if not _is_secret(body)]
    return Documents(
        path=path,
        deployments=tuple(body for body in rest if not _is_foreign(body)),
        secrets=found,
        others=tuple(str(body["kind"]) for body in rest if _is_foreign(body)),
    )


def _text(path: Path) -> str:
    """Return the text of a manifest, of which no more is read than may be."""
    try:
        with nullcontext(sys.stdin.buffer) if str(path) == "-" else path.open("rb") as file:
            content = file.read(kubeyaml.MAX_BYTES + 1)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise MissingError(Reason.SOURCE_NOT_FOUND, f"{path}: no such file") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise UsageError(Reason.INVALID_SPEC, f"{path}: cannot be read") from error
    if len(content) > kubeyaml.MAX_BYTES:
        raise UsageError(
            Reason.INVALID_SPEC, f"{path}: longer than a manifest may be: {kubeyaml.MAX_BYTES} bytes"
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UsageError(Reason.INVALID_SPEC, f"{path}: line {line}: is not text in UTF-8") from error


def checked(documents: Documents) -> Body:
    """Return the one ModelDeployment as an API server would store it, its local paths made absolute.

    Raises UsageError with one line for each error of the manifest, MissingError for a Secret that the file
    does not hold: on this machine nobody will make it later.
    """
    body = documents.only()
    documents.refuse(manifest.check(body, local=True).errors)
    if not body["metadata"].get("name"):
        documents.refuse(["metadata.name: needed on this machine, which makes none of generateName"])
    complete = manifest.apply_defaults(body)
    documents.refuse(_problems(complete, documents.secrets))
    for field, source in _sources(complete["spec"]).items():
        _check_secret(documents, f"spec.{field}.secretRef", source.get("secretRef"))
        uri = source["uri"]
        if uri.startswith(CLAIM):
            why = "there are no claims on this machine; name the file itself, by file:// or a relative path"
            documents.refuse([f"spec.{field}.uri: {uri!r}: {why}"])
        if manifest.is_local_path(uri) and not uri.startswith("file://"):
            try:
                source["uri"] = _absolute(uri, documents.path.resolve().parent)
            except (OSError, RuntimeError, ValueError):  # no such ~user, a NUL, links in a circle
                documents.refuse([f"spec.{field}.uri: {uri}: is not a path"])
    return complete


def _problems(body: Body, secrets: variables.Secrets) -> Iterator[str]:
    try:
        spec = parse_spec(body)
    except ValueError as error:
        yield str(error)
    else:
        yield from list(pod_shapes.problems(spec)) or variables.problems(spec, secrets)


def _check_secret(documents: Documents, field: str, reference: Body | None) -> None:
    if reference is None:
        return
    name = reference["name"]
    if name not in documents.secrets:
        raise MissingError(
            Reason.SECRET_NOT_FOUND, f"{documents.path}: {field}: the file holds no Secret named {name}"
        )
    why = secrets.misdirection(documents.secrets[name])
    if why:
        documents.refuse([f"{field}: the Secret {name} {why}"])


def _absolute(path: str, folder: Path) -> str:
    """Return a path of a manifest in `folder` as a file:// URI."""
    return (folder / Path(path).expanduser()).resolve().as_uri()


def unused(body: Body) -> list[str]:
    """Return the fields that say where and as what pods run in a cluster, and mean nothing here."""
    return [
        f"spec.{part}.{field}"
        for part in ("worker", "job")
        for field in body["spec"].get(part) or {}
        if field not in _USED_SETTINGS
    ]


def _sources(spec: Body) -> dict[str, Body]:
    data = {f"data.{name}": source for name, source in (spec.get("data") or {}).items() if source}
    return {"model": spec["model"], **data}


def _is_secret(body: Body) -> bool:
    return (body.get("apiVersion"), body.get("kind")) == ("v1", "Secret")


def _is_foreign(body: Body) -> bool:
    # a document of our group, or without a proper type, is for the checks to judge
    group = str(body.get("apiVersion") or names.GROUP).split("/")[0]
    return bool(body.get("kind")) and group != names.GROUP
