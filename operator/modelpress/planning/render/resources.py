"""What containers may use and ask for where neither resource nor operator says it: from the model's size.

A limit keeps one pod from taking the node with it, so it lies well above what was measured (docs/serving.md,
Memory). A request is what an idle container holds. There is no limit of CPU: it would only slow down.
"""

from collections.abc import Mapping
from typing import Any

from modelpress.api import batch_memory
from modelpress.api.schemes import DeviceType, memory_factor
from modelpress.api.spec import Spec
from modelpress.api.values import parse_bytes
from modelpress.planning.artifacts.artifact import Artifact
from modelpress.planning.inheritance import completed_resources
from modelpress.planning.view import View

Resources = Mapping[str, Any] | None  # as in a container

DEFAULT_DEVICE = "nvidia.com/gpu"
_STORAGE = "ephemeral-storage"
_PLAIN = ("cpu", "memory", _STORAGE)
_MIB = 2**20
_GIB = 2**30

# The size of a Job's model is not known. A tiny one takes 0.6 GB, one of 400 MB in float32 up to 5 GB; the
# volume holds the model as it came and unpacked, its float32 form for the converter, data sets and artifact.
_JOB = {
    "limits": {"memory": "8Gi", _STORAGE: "20Gi"},
    "requests": {"cpu": "500m", "memory": "1Gi", _STORAGE: "1Gi"},
}

_REQUEST_FACTOR = 8  # maxRequestBytes: four bodies that arrive, and as much again that waits


def of_job(view: View) -> Resources:
    """Return the resources of the Job's container."""
    return completed_resources(view.job_settings.resources, _JOB)


def of_worker(view: View, artifact: Artifact) -> Resources:
    """Return the resources of a worker's containers, without devices; no defaults where the size is lost."""
    size = artifact.compressed_bytes
    own = view.worker_settings.resources
    return own if size is None else completed_resources(own, _worker_defaults(view.spec, size))


def plain(granted: Resources) -> Resources:
    """Return resources without devices: the init container must not hold a claim of its own on them."""
    chosen: dict[str, Any] = {}
    for kind in ("limits", "requests"):
        amounts = _amounts(granted, kind)
        kept = {name: amounts[name] for name in _PLAIN if name in amounts}
        if kept:
            chosen[kind] = kept
    return chosen


def with_devices(granted: Resources, view: View) -> Resources:
    """Return resources together with the devices of a worker."""
    requested = _devices(view)
    merged = dict(granted or {})
    if requested:
        merged["limits"] = {**_amounts(granted, "limits"), **requested}
        if requests := _amounts(granted, "requests"):
            merged["requests"] = {**requests, **requested}
    return merged


def requests_devices(view: View) -> bool:
    """Return whether a worker's pod takes devices, of which there may be none to spare."""
    own = any(
        "/" in name for name in _amounts(view.worker_settings.resources, "limits")
    )  # no plain one has it
    return own or bool(_devices(view) or view.worker_settings.resource_claims)


def work_volume(granted: Resources) -> dict[str, Any]:
    """Return the emptyDir of a pod: what a pod stores counts against its containers' limit anyway."""
    limit = _amounts(granted, "limits").get(_STORAGE)
    return {} if limit is None else {"sizeLimit": limit}


def _amounts(granted: Resources, kind: str) -> Mapping[str, Any]:
    """Return limits or requests; none where a spec that is refused has something else there."""
    amounts = (granted or {}).get(kind)
    return amounts if isinstance(amounts, Mapping) else {}


def _devices(view: View) -> dict[str, str]:
    """Return the extended resources that a worker pod requests; dynamic resource claims take their place."""
    devices = view.spec.devices
    resource = devices.resource_name
    if resource is None and devices.type is DeviceType.GPU and not view.worker_settings.resource_claims:
        resource = DEFAULT_DEVICE
    return {resource: str(_device_count(view.spec))} if resource else {}


def _device_count(spec: Spec) -> int:
    spread = spec.parallelism
    return spread.data * spread.tensor * spread.pipeline // spread.pods_per_replica


def _worker_defaults(spec: Spec, size: int) -> dict[str, Any]:
    """Return the defaults for an artifact of `size` bytes."""
    gpu = spec.devices.type is DeviceType.GPU
    spread = spec.parallelism
    quantization = spec.compression.quantization if spec.compression else None
    factor = memory_factor(quantization.scheme, spec.devices.type) if quantization else 1
    cut = 2 if spread.pipeline > 1 else 0  # stages hold parts of their own
    # TensorFlow and CUDA on the host: 0.8 GB measured without a GPU, and a context for each device
    process = 4 * _GIB + _device_count(spec) * _GIB if gpu else 256 * _MIB
    weights = size * (1 + factor * spread.data + cut)
    batch = batch_memory.of(spec.serving.max_batch_size)
    waiting = _REQUEST_FACTOR * parse_bytes(spec.serving.max_request_bytes)
    # the fetch keeps the packed layer beside the files, and may do so beside those of an interrupted one
    stored = 3 * size + _GIB
    return {
        "limits": {
            "memory": _mebibytes(process + weights + spread.data * batch + waiting),
            _STORAGE: _mebibytes(stored),
        },
        "requests": {
            "cpu": "500m" if gpu else "100m",
            "memory": _mebibytes((_GIB if gpu else 128 * _MIB) + 2 * size),
            _STORAGE: _mebibytes(64 * _MIB + size),
        },
    }


def _mebibytes(amount: int) -> str:
    return f"{-(-amount // _MIB)}Mi"
