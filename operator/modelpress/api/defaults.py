"""The operator-wide defaults: what a platform team sets once for the pods of all resources.

They come from a file (`modelpress operator --defaults`) that is checked strictly, unlike a spec: an unknown
field is a slip there, and never one of a newer release. This module reads no files.
"""

import re
from collections.abc import Iterator
from itertools import chain
from typing import Annotated

from pydantic import Field, ValidationError

from modelpress.api import contract
from modelpress.api.base import ApiModel, LocalReference
from modelpress.api.conditions import Reason
from modelpress.api.crd import schema_of
from modelpress.api.errors import ConfigurationError, UsageError
from modelpress.api.pod_settings import PodSettings
from modelpress.api.schemes import DeviceType
from modelpress.api.validation import kubeyaml, pod_shapes, structural
from modelpress.api.validation.fields import shown
from modelpress.api.values import Name, OciUri

_STORE = re.compile(r"oci://[^/ ]+/[a-z0-9._/-]+")
_PROXY = re.compile(r"https?://[^/ ]+/?")


class DefaultStorage(ApiModel):
    """Where artifacts are kept unless a resource says so."""

    uri: OciUri | None = Field(None, description="oci://REGISTRY/REPOSITORY. Unset: that of --store.")
    secret_ref: LocalReference | None = Field(
        None, description="Secret of type kubernetes.io/dockerconfigjson, in the namespace of each resource."
    )


class Proxy(ApiModel):
    """The HTTP proxy on the way to sources and stores."""

    http_proxy: str | None = Field(None, description="Proxy of http:// requests, such as http://proxy:3128.")
    https_proxy: str | None = Field(None, description="Proxy of https:// requests.")
    no_proxy: str | None = Field(
        None,
        description="Hosts that are asked directly, separated by commas; those of the cluster always are.",
    )


class CaBundle(ApiModel):
    """The certificates that sources and stores are checked against."""

    config_map_name: Name = Field(description="ConfigMap in the namespace of each resource.")
    key: Name = Field("ca.crt", description="Its key with the certificates, in PEM.")


class Workers(ApiModel):
    """Settings of workers by what they compute on."""

    cpu: PodSettings | None = Field(None, alias="CPU", description="Of workers on CPUs.")
    gpu: PodSettings | None = Field(None, alias="GPU", description="Of workers on GPUs.")

    def of(self, device: DeviceType) -> PodSettings | None:
        """Return the settings of workers on a device."""
        return self.gpu if device is DeviceType.GPU else self.cpu


class Defaults(ApiModel):
    """The file; what a resource sets itself wins, field by field."""

    image_pull_secrets: Annotated[list[LocalReference], Field(max_length=16)] | None = Field(
        None, description="Secrets for pulling images, in the namespace of each resource."
    )
    storage: DefaultStorage = Field(DefaultStorage(), description="Where artifacts are kept.")
    proxy: Proxy | None = Field(None, description="The HTTP proxy of Jobs and of the containers that fetch.")
    ca_bundle: CaBundle | None = Field(None, description="Certificates that Jobs and fetches trust.")
    downloads: contract.Downloads | None = Field(None, description="How Jobs download models and data sets.")
    job: PodSettings | None = Field(None, description="Settings of compression Jobs.")
    workers: Workers = Field(Workers(), description="Settings of workers by device type.")


def parse(text: str) -> Defaults:
    """Return what a file says. Raises ConfigurationError with one line: field, value and what is accepted."""
    try:
        documents = kubeyaml.parse(text)
    except UsageError as error:
        raise _refused(error.message) from error
    if len(documents) > 1:
        raise _refused(f"holds {len(documents)} YAML documents, accepted is one")
    schema = schema_of(Defaults)
    body = structural.with_defaults(documents[0] if documents else {}, schema)  # nulls are unset
    for path in structural.unknown_fields(body, schema):
        raise _refused(f"{path}: unknown field; accepted are {', '.join(_known(path, schema))}")
    try:
        defaults = Defaults.model_validate(body, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        path = ".".join(str(part) for part in first["loc"])
        raise _refused(f"{path}: {shown(first['input'])}: {first['msg']}") from error
    # the first of them: what follows may rest on what it says
    for problem in chain(structural.errors(body, schema), _problems(defaults)):
        raise _refused(str(problem))
    return defaults


def _refused(detail: str) -> ConfigurationError:
    return ConfigurationError(Reason.INVALID_SPEC, detail)


def _known(path: str, schema: structural.Schema) -> list[str]:
    """Return the fields of the object in which an unknown one was found."""
    *parents, _ = path.replace("[", ".[").split(".")
    for parent in parents:
        below = schema.get("items") if parent.startswith("[") else structural.child_schema(schema, parent)
        schema = below or {}
    return sorted(schema.get("properties", {}))


def _problems(defaults: Defaults) -> Iterator[str]:
    """Yield what the types do not say."""
    uri = defaults.storage.uri
    if uri is not None and not _STORE.fullmatch(uri):
        yield f"storage.uri: {shown(uri)}: must be a repository such as oci://registry.example.com/models"
    proxy = defaults.proxy or Proxy()
    for field, value in (("httpProxy", proxy.http_proxy), ("httpsProxy", proxy.https_proxy)):
        if value is not None and not _PROXY.fullmatch(value):
            yield f"proxy.{field}: {shown(value)}: must be a URL such as http://proxy.example.com:3128"
    parts = {"job": defaults.job, "workers.CPU": defaults.workers.cpu, "workers.GPU": defaults.workers.gpu}
    for path, settings in parts.items():
        if settings:
            yield from _settings_problems(path, settings)


def _settings_problems(path: str, settings: PodSettings) -> Iterator[str]:
    yield from (f"{path}.{said}" for said in pod_shapes.problems_of(settings))
    for entry in settings.env or ():
        if contract.is_reserved(name := str(entry.get("name"))):
            yield f"{path}.env: {name} is set by ModelPress and cannot be changed"
