"""What a container sees when it runs as a plain process: private folders, free ports, its command.

Pure, except for the Secrets that the caller looks up.
"""

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from modelpress.api import contract
from modelpress.api.contract import WorkerConfig
from modelpress.planning.types import Body

SecretLookup = Callable[[str], Mapping[str, bytes] | None]  # contents by name, None where it does not exist

LOOPBACK = "127.0.0.1"
DRAIN_SECONDS = 2  # is enough for a worker: the proxy of this machine leaves a pod as soon as it is to end
DEFAULT_TERMINATION_PATH = "/dev/termination-log"
_REFERENCE = re.compile(r"\$\$|\$\(([-._A-Za-z0-9]+)\)")
_KEYED_FIELD = re.compile(r"^metadata\.(labels|annotations)\['([^']+)'\]$")
_FIELDS: dict[str, Callable[[Body], Any]] = {
    "metadata.name": lambda pod: pod["metadata"]["name"],
    "metadata.namespace": lambda pod: pod["metadata"].get("namespace", "default"),
    "metadata.uid": lambda pod: pod["metadata"].get("uid", ""),
    "spec.nodeName": lambda pod: pod["spec"].get("nodeName", ""),
    "spec.serviceAccountName": lambda pod: pod["spec"].get("serviceAccountName", "default"),
    "status.podIP": lambda pod: LOOPBACK,
    "status.hostIP": lambda pod: LOOPBACK,
}
FIELDS = (*_FIELDS, "metadata.labels['KEY']", "metadata.annotations['KEY']")  # that a fieldRef may name


class ConfigError(Exception):
    """A container's configuration cannot be made, in the words of the kubelet."""


@dataclass(frozen=True)
class Relocation:
    """Where the paths and ports of one container really are."""

    root: Path  # stands for the container's "/"; volumes are linked into it at their mount paths
    termination: Path  # stands for terminationMessagePath
    ports: Mapping[int, int]  # containerPort -> port of this machine


def process_environment(
    container: Body, pod: Body, relocation: Relocation, secret: SecretLookup, base: Mapping[str, str]
) -> dict[str, str]:
    """Return the environment of a container's process: `base` without our variables, then the container's.

    Raises ConfigError where a value cannot be found.
    """
    values: dict[str, str] = {}
    for entry in container.get("env", ()):
        source = entry.get("valueFrom")
        value = _lookup(source, pod, secret) if source else expand(entry.get("value") or "", values)
        if value is not None:
            values[entry["name"]] = value
    inherited = {name: value for name, value in base.items() if not name.startswith("MODELPRESS_")}
    return inherited | {name: _relocate(name, value, container, relocation) for name, value in values.items()}


def process_command(container: Body, environment: Mapping[str, str]) -> list[str]:
    """Return the command line: `modelpress` runs as this interpreter's module, whatever PATH says.

    Raises ConfigError where the image would have to say the command.
    """
    words = [*container.get("command", ()), *container.get("args", ())]
    if not container.get("command"):
        raise ConfigError("no command specified")
    words = [expand(word, environment) for word in words]
    return [sys.executable, "-m", "modelpress", *words[1:]] if words[0] == "modelpress" else words


def is_field(path: str) -> bool:
    """Return whether a fieldRef may name this field of a pod."""
    return path in _FIELDS or _KEYED_FIELD.match(path) is not None


def expand(text: str, values: Mapping[str, str]) -> str:
    """Replace `$(NAME)` as the kubelet does: unknown names stay, `$$` is a dollar sign."""

    def replacement(match: re.Match[str]) -> str:
        return "$" if match[1] is None else values.get(match[1], match[0])

    return _REFERENCE.sub(replacement, text)


def _relocate(name: str, value: str, container: Body, relocation: Relocation) -> str:
    if value == container.get("terminationMessagePath", DEFAULT_TERMINATION_PATH):
        return str(relocation.termination)
    if name == contract.HOST:
        return LOOPBACK
    if name == contract.WORKER_CONFIG:
        return _ending_soon(WorkerConfig.from_json(value)).to_json()
    if name in (contract.PORT, contract.GRPC_PORT_VARIABLE) and value.isdecimal():
        return str(relocation.ports.get(int(value), value))
    mounts = [mount["mountPath"] for mount in container.get("volumeMounts", ())]
    if any(_touches(value, mount) for mount in mounts):
        return str(relocation.root / value.lstrip("/"))
    return value


def _ending_soon(config: WorkerConfig) -> WorkerConfig:
    seconds = min(config.serving.drain_seconds, DRAIN_SECONDS)
    serving = config.serving.model_copy(update={"drain_seconds": seconds})
    return config.model_copy(update={"serving": serving})


def _touches(value: str, mount: str) -> bool:
    # also a parent of mounts: one variable names the folder in which each secret has its own mount
    if not value.startswith("/") or value == "/":
        return False
    path, mounted = PurePosixPath(value), PurePosixPath(mount)
    return path.is_relative_to(mounted) or mounted.is_relative_to(path)


def _lookup(source: Body, pod: Body, secret: SecretLookup) -> str | None:
    if "fieldRef" in source:
        return _field(source["fieldRef"]["fieldPath"], pod)
    if "secretKeyRef" in source:
        return _secret_key(source["secretKeyRef"], pod["metadata"].get("namespace", "default"), secret)
    raise ConfigError(f"valueFrom {', '.join(source)} is not available to local processes")


def _secret_key(reference: Body, namespace: str, secret: SecretLookup) -> str | None:
    name, key = reference["name"], reference["key"]
    content = secret(name)
    if content is not None and key in content:
        return content[key].decode("utf-8", "surrogateescape")  # bytes, as the kubelet passes them on
    if reference.get("optional"):
        return None
    if content is None:
        raise ConfigError(f'secret "{name}" not found')
    raise ConfigError(f"couldn't find key {key} in Secret {namespace}/{name}")


def _field(path: str, pod: Body) -> str:
    if path in _FIELDS:
        return str(_FIELDS[path](pod))
    keyed = _KEYED_FIELD.match(path)
    if keyed:
        return str(pod["metadata"].get(keyed[1], {}).get(keyed[2], ""))
    raise ConfigError(f"unsupported fieldPath: {path}")
