"""Two values for every field of the spec, with what must stand beside them. A test compares it with the CRD.

The hands of tests/support/cluster/hands.py make a Job's artifact of the model's file name, so a field of the
next Job gets a model of its own each time.
"""

from dataclasses import dataclass, field
from typing import Any

from tests.support.cluster.api import Json
from tests.support.cluster.by_hand import SPEC
from tests.support.cluster.helpers import merge

MODEL_URI = "https://example.com/{}.keras"
SHA = ("a" * 64, "b" * 64)
TOLERATIONS = [[{"key": key, "operator": "Exists"}] for key in ("first", "second")]
AFFINITIES = [
    {
        "nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {
                    "weight": weight,
                    "preference": {"matchExpressions": [{"key": "gpu", "operator": "Exists"}]},
                }
            ]
        }
    }
    for weight in (1, 2)
]
SPREADS = [
    [
        {
            "maxSkew": skew,
            "topologyKey": "zone",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": {"team": "ml"}},
        }
    ]
    for skew in (1, 2)
]
CLAIMS = [[{"name": "gpu", "resourceClaimTemplateName": name}] for name in ("first", "second")]


@dataclass(frozen=True)
class Field:
    """Values of a field, set one after the other."""

    first: Any
    second: Any
    beside: Json = field(default_factory=dict)  # always in the spec
    needs: Json = field(default_factory=dict)  # in the spec together with a value
    next_job: bool = False  # says something about the next Job only
    judged: bool = False  # what is stored is judged, or fetched, again: the Job stays that was asked before
    served_before: bool = False  # what a fresh resource lacks goes on: only taking it back makes them equal


def spec_of(path: str, value: Any = None) -> Json:
    """Return a spec with a value of a field; None: without one."""
    entry = FIELDS[path]
    spec: Json = merge(SPEC, entry.beside)
    if value is None:
        return spec
    if entry.next_job:
        own_model = "first" if value == entry.first else "second"
        spec = merge(spec, {"model": {"uri": MODEL_URI.format(own_model)}})
    return merge(merge(spec, entry.needs), _at(path, value))  # type: ignore[no-any-return]


def _at(path: str, value: Any) -> Json:
    for part in reversed(path.split(".")):
        value = {part: value}
    return value  # type: ignore[no-any-return]


def _source(uri: str = "https://example.com/data.npz") -> Json:
    return {"uri": uri}


def _of_data(name: str) -> dict[str, Field]:
    beside = {"data": {name: _source()}}
    return {
        f"data.{name}.uri": Field("https://example.com/a.npz", "https://example.com/b.npz"),
        f"data.{name}.sha256": Field(*SHA, beside),
        f"data.{name}.secretRef.name": Field("first", "second", beside),
    }


def _of_pods(part: str, *, next_job: bool) -> dict[str, Field]:
    values: dict[str, tuple[Any, Any]] = {
        "labels": ({"team": "a"}, {"team": "b", "more": "yes"}),
        "annotations": ({"example.com/a": "1"}, {"example.com/b": "2"}),
        "image": ("example.com/own:1", "example.com/own:2"),
        "imagePullSecrets": ([{"name": "first"}], [{"name": "second"}]),
        "serviceAccountName": ("first", "second"),
        "nodeSelector": ({"example.com/zone": "a"}, {"example.com/zone": "b"}),  # beside that of SPEC
        "tolerations": (TOLERATIONS[0], TOLERATIONS[1]),
        "affinity": (AFFINITIES[0], AFFINITIES[1]),
        "topologySpreadConstraints": (SPREADS[0], SPREADS[1]),
        "priorityClassName": ("system-node-critical", "system-cluster-critical"),
        "runtimeClassName": ("first", "second"),
        "env": ([{"name": "A", "value": "1"}], [{"name": "B", "value": "2"}]),
        "resources": ({"limits": {"memory": "2Gi"}}, {"requests": {"cpu": "1"}}),
        "resourceClaims": (CLAIMS[0], CLAIMS[1]),
    }
    return {f"{part}.{name}": Field(*pair, next_job=next_job) for name, pair in values.items()}


_EVALUATED: Json = {"data": {"evaluation": _source()}, "evaluation": {"maxSize": "1Mi"}}
_TUNED: Json = {"data": {"training": _source()}, "optimization": {"fineTuning": {"epochs": 1}}}
_ON_GPU: Json = {"devices": {"type": "GPU"}}
_SURGE = "strategy.rollingUpdate.maxSurge"
_UNAVAILABLE = "strategy.rollingUpdate.maxUnavailable"
FIELDS: dict[str, Field] = {
    "model.uri": Field(MODEL_URI.format("first"), MODEL_URI.format("second")),
    "model.sha256": Field(*SHA),
    "model.secretRef.name": Field("first", "second"),
    "model.version": Field("1", "2"),
    **_of_data("training"),
    **_of_data("calibration"),
    **_of_data("evaluation"),
    "compression.quantization.scheme": Field("Int8Dynamic", "Float16"),
    "compression.pruning.sparsity": Field("50%", "75%"),
    "compression.pruning.l0Penalty": Field("0.1", "0.2", _TUNED),
    "compression.pruning.granularity": Field(
        "Channel", "Element", {"compression": {"pruning": {"sparsity": "50%"}}}
    ),
    "optimization.weightClipping.min": Field(
        "-1", "-2", needs={"optimization": {"weightClipping": {"max": "1"}}}
    ),
    "optimization.weightClipping.max": Field(
        "1", "2", needs={"optimization": {"weightClipping": {"min": "-1"}}}
    ),
    "optimization.fineTuning.epochs": Field(1, 2, {"data": {"training": _source()}}),
    "optimization.fineTuning.batchSize": Field(16, 64, _TUNED),
    "optimization.fineTuning.learningRate": Field("0.1", "0.01", _TUNED),
    "evaluation.metric": Field("Agreement", "CosineSimilarity", _EVALUATED),
    "evaluation.threshold": Field("0.4", "-1", _EVALUATED),
    "evaluation.outputs": Field(
        [{"name": "a", "metric": "R2"}], [{"name": "a", "metric": "F1", "threshold": "0.3"}], _EVALUATED
    ),
    "evaluation.minScore": Field("90%", "95%", _EVALUATED, judged=True),
    "evaluation.maxDrop": Field("1%", "2%", _EVALUATED, judged=True),
    "evaluation.maxSize": Field("1Ki", "2Ki", _EVALUATED, judged=True),
    "parallelism.data": Field(2, 4),
    "parallelism.tensor": Field(2, 4, _ON_GPU),
    "parallelism.pipeline": Field(2, 4),
    "parallelism.podsPerReplica": Field(2, 4, {"parallelism": {"pipeline": 4}}),
    "devices.type": Field("GPU", "CPU"),
    "devices.resourceName": Field("example.com/slot", "example.com/other"),
    "replicas": Field(2, 0, served_before=True),
    "serving.maxBatchSize": Field(16, 64),
    "serving.maxBatchDelayMilliseconds": Field(5, 10),
    "serving.requestTimeoutSeconds": Field(10, 60),
    "serving.maxRequestBytes": Field("1Mi", "2Mi"),
    "serving.maxInputLength": Field(128, 256),
    "serving.drainSeconds": Field(0, 20),
    "service.type": Field("NodePort", "LoadBalancer"),
    "service.labels": Field({"team": "a"}, {"more": "yes"}),
    "service.annotations": Field({"example.com/a": "1"}, {"example.com/b": "2"}),
    "strategy.type": Field("Recreate", "RollingUpdate"),
    _SURGE: Field(2, "50%"),
    _UNAVAILABLE: Field(2, "50%"),
    "progressDeadlineSeconds": Field(60, 120),
    "storage.uri": Field(
        "oci://registry.example.com/first", "oci://registry.example.com/second", next_job=True
    ),
    "storage.secretRef.name": Field(
        "first", "second", {"storage": {"uri": "oci://registry.example.com/first"}}, judged=True
    ),
    **_of_pods("worker", next_job=False),
    **_of_pods("job", next_job=True),
    "job.backoffLimit": Field(0, 5, next_job=True),
    "job.activeDeadlineSeconds": Field(600, 1200, next_job=True),
    "suspend": Field(True, False, served_before=True),
}
