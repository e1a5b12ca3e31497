"""`modelpress plan`: what API server and operator say to a manifest, and the objects that it leads to."""

import json
from importlib.metadata import version
from pathlib import Path

import click
import yaml

from modelpress.api import names
from modelpress.api.conditions import Reason
from modelpress.api.errors import UsageError
from modelpress.api.text import printable
from modelpress.api.validation import manifest
from modelpress.local import documents
from modelpress.planning.blockers import Desired, first_blocker
from modelpress.planning.explanation import Explanation
from modelpress.planning.preview import preview
from modelpress.planning.types import Settings
from modelpress.planning.view import parse_spec

VERSION = version("modelpress")
# What manifests/operator starts the operator with.
SETTINGS = Settings(
    compressor_image=f"modelpress/compressor:{VERSION}",
    worker_image=f"modelpress/worker:{VERSION}",
    worker_gpu_image=f"modelpress/worker-gpu:{VERSION}",
    store="oci://modelpress-registry.modelpress-system.svc:5000/modelpress",
    store_audience="modelpress-registry",
    plain_http_registry="modelpress-registry.modelpress-system.svc:5000",
)

_GENERATED = "xxxxx"  # the five characters that only the API server knows


def plan(path: Path) -> int:
    """Print the objects as YAML documents; return 0. Raises UsageError with one line for each error."""
    found = documents.read(path)
    if not found.deployments:
        raise UsageError(Reason.INVALID_SPEC, f"{path}: holds no document of kind {names.KIND}")
    errors: list[str] = []
    for body in found.deployments:
        verdict = manifest.check(body)
        errors += verdict.errors
        for warning in verdict.warnings:
            _warn(path, warning)
        if not verdict.errors:
            errors += _refusal(manifest.apply_defaults(body))
        elif not manifest.check(body, local=True).errors:
            _warn(path, "paths of this machine are for `modelpress run` and `compress`")
    if errors:
        raise UsageError(Reason.INVALID_SPEC, "\n".join(f"{path}: {error}" for error in errors))
    for body in found.deployments:
        _print(path, manifest.apply_defaults(body))
    return 0


def _refusal(body: documents.Body) -> list[str]:
    """Return what the operator would say of a spec that the API server accepts."""
    try:
        why = first_blocker(Desired(parse_spec(body)))
    except ValueError as error:
        why = Explanation(Reason.INVALID_SPEC, str(error))
    return [f"{why.reason}: {why.message}"] if why else []


def _warn(path: Path, warning: str) -> None:
    click.echo(printable(f"warning: {path}: {warning}"), err=True)


def _print(path: Path, body: documents.Body) -> None:
    metadata = body["metadata"]
    metadata.setdefault("namespace", "default")
    if not metadata.get("name"):
        metadata["name"] = f"{metadata['generateName']}{_GENERATED}"
        _warn(path, f"metadata.generateName: printed with the name {metadata['name']}")
    for rendered in preview(body, SETTINGS):
        plain = json.loads(json.dumps(rendered))  # without anchors for parts that occur twice
        click.echo("---\n" + yaml.safe_dump(plain, sort_keys=False, width=110), nl=False)
