"""What this release does not implement is named, field by field."""

from typing import Any

import pytest

from modelpress.api.schemes import Scheme
from modelpress.api.spec import Spec
from modelpress.api.validation.support import unsupported

BASE: dict[str, Any] = {"model": {"uri": "s3://models/m"}, "devices": {"type": "CPU"}}
PODS = {"pipeline": 2, "podsPerReplica": 2}
NOT_YET = "is part of the API and not implemented in this release"


def lines(**fields: Any) -> list[str]:
    return unsupported(Spec.model_validate({**BASE, **fields}))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"compression": {"quantization": {"scheme": "Int8Dynamic"}, "pruning": {"sparsity": "50%"}}},
        *({"compression": {"quantization": {"scheme": scheme.value}}} for scheme in Scheme),
        {"optimization": {"weightClipping": {"min": "-1", "max": "1"}}},
        {"optimization": {"fineTuning": {"epochs": 1}}, "compression": {"pruning": {"l0Penalty": "0.1"}}},
        {"compression": {"pruning": {"l0Penalty": "0.1", "granularity": "Channel"}}},
        {"parallelism": {"data": 2, "pipeline": 3}},
        {"devices": {"type": "CPU", "resourceName": "example.com/slot"}},
        {"devices": {}, "parallelism": {"data": 2, "pipeline": 2}},
        {"devices": {}, "parallelism": {"data": 2, "tensor": 4}},
        {"devices": {}, "parallelism": {"data": 2, "tensor": 2, "pipeline": 2}},
        {"model": {"uri": "https://models.example.com/m.keras"}},
        {"model": {"uri": "gs://bucket/m.keras"}, "data": {"evaluation": {"uri": "az://container/e.npz"}}},
        {"model": {"uri": "hf://owner/name@main/m.keras"}},
        {"model": {"uri": "file:///models/m.keras"}, "data": {"evaluation": {"uri": "eval.npz"}}},
        {"model": {"uri": "pvc://claim/model"}, "data": {"training": {"uri": "pvc://claim/t.npz"}}},
        {"storage": {"uri": "oci://r/m"}, "worker": {"image": "w"}, "job": {"backoffLimit": 1}},
        {"evaluation": {"metric": "R2", "maxDrop": "1%"}, "suspend": True},
    ],
    ids=str,
)
def test_what_this_release_does(fields: dict[str, Any]) -> None:
    assert lines(**fields) == []


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        (
            {"parallelism": PODS},
            "spec.parallelism.podsPerReplica: a value above 1",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_it_does_not_do_yet(fields: dict[str, Any], line: str) -> None:
    assert lines(**fields) == [f"{line} {NOT_YET}"]
