"""`modelpress plan`: what API server and operator say to a manifest, and the objects that it leads to."""

import json
from importlib.metadata import version
from pathlib import Path

import click
import yaml

from modelpress.api import manifest, names, support
from modelpress.api.conditions import Reason
from modelpress.api.errors import UsageError
from modelpress.api.spec import Spec
from modelpress.local import documents
from modelpress.planning.policies import refused_settings
from modelpress.planning.preview import preview
from modelpress.planning.types import Settings

VERSION = version("modelpress")
# What manifests/operator starts the operator with.
SETTINGS = Settings(
    compressor_image=f"modelpress/compressor:{VERSION}",
    worker_image=f"modelpress/worker:{VERSION}",
    worker_gpu_image=f"modelpress/worker-gpu:{VERSION}",
    store="oci://modelpress-registry.modelpress-system.svc:5000/modelpress",
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
            click.echo(f"warning: {path}: {warning}", err=True)
        if verdict.errors and not manifest.check(body, local=True).errors:
            click.echo(
                f"warning: {path}: paths of this machine are for `modelpress run` and `compress`", err=True
            )
        errors += () if verdict.errors else _refused(body)
    if errors:
        raise UsageError(Reason.INVALID_SPEC, "\n".join(f"{path}: {error}" for error in errors))
    for body in found.deployments:
        _print(path, manifest.apply_defaults(body))
    return 0


def _refused(body: documents.Body) -> list[str]:
    """Return what the operator, though not the API server, refuses of a manifest."""
    refused = refused_settings(Spec.model_validate(manifest.apply_defaults(body)["spec"]))
    return [refused.message] if refused else []


def _print(path: Path, body: documents.Body) -> None:
    metadata = body["metadata"]
    metadata.setdefault("namespace", "default")
    if not metadata.get("name"):
        metadata["name"] = f"{metadata['generateName']}{_GENERATED}"
        click.echo(
            f"warning: {path}: metadata.generateName: printed with the name {metadata['name']}", err=True
        )
    for line in support.unsupported(Spec.model_validate(body["spec"])):
        click.echo(f"warning: {path}: {Reason.NOT_SUPPORTED_YET}: {line}", err=True)
    for rendered in preview(body, SETTINGS):
        plain = json.loads(json.dumps(rendered))  # without anchors for parts that occur twice
        click.echo("---\n" + yaml.safe_dump(plain, sort_keys=False, width=110), nl=False)
