from typing import Any

import pytest

from modelpress.api.contract import JobRequest
from modelpress.artifacts.key import artifact_key, key_recipe

MODEL, DATA = "a" * 64, {"evaluation": "b" * 64}


def request(**changes: Any) -> JobRequest:
    wire = {
        "name": "digits",
        "namespace": "default",
        "recipeHash": "c" * 64,
        "model": {"uri": "s3://models/digits.keras"},
        "data": {"evaluation": {"uri": "s3://data/test.npz"}},
        "compression": {"quantization": {"scheme": "Int8Dynamic"}},
        "evaluation": {"metric": "Accuracy", "minScore": "90%"},
        "deviceType": "CPU",
    }
    return JobRequest.model_validate(wire | changes)


def key(request: JobRequest, model: str = MODEL, data: dict[str, str] = DATA, version: str = "0.1.0") -> str:
    return artifact_key(model, data, key_recipe(request), version)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "other", "namespace": "other", "recipeHash": "d" * 64},
        {"model": {"uri": "https://mirror/digits.keras", "secretRef": {"name": "s"}, "version": "2"}},
        {"model": {"uri": "s3://models/digits.keras", "sha256": MODEL}},
        {"data": {"evaluation": {"uri": "https://mirror/test.npz", "sha256": "b" * 64}}},
        {"evaluation": {"metric": "Accuracy", "minScore": "95%", "maxSize": "1Mi"}},
    ],
    ids=["names", "where the model is", "pin", "where the data is", "limits"],
)
def test_the_same_contents_and_recipe_have_the_same_key(changes: dict[str, Any]) -> None:
    assert key(request(**changes)) == key(request())


@pytest.mark.parametrize(
    "changes",
    [
        {"compression": {"quantization": {"scheme": "Float16"}}},
        {"compression": {"pruning": {"sparsity": "50%"}}},
        {"optimization": {"weightClipping": {"min": "-1", "max": "1"}}},
        {"evaluation": {"metric": "Agreement", "minScore": "90%"}},
        {"evaluation": None},
        {"deviceType": "GPU"},
    ],
)
def test_another_recipe_has_another_key(changes: dict[str, Any]) -> None:
    assert key(request(**changes)) != key(request())


def test_other_contents_or_another_compressor_have_another_key() -> None:
    keys = {
        key(request()),
        key(request(), model="e" * 64),
        key(request(), data={}),
        key(request(), data={"training": "b" * 64}),
        key(request(), data={**DATA, "calibration": "c" * 64}),
        key(request(), data={**DATA, "calibration": "d" * 64}),
        key(request(), version="0.2.0"),
    }
    assert len(keys) == 7


def test_the_limits_count_where_auto_chooses_by_them() -> None:
    auto = {"quantization": {"scheme": "Auto"}}
    strict = {"metric": "Accuracy", "minScore": "95%"}
    assert key(request(compression=auto)) != key(request(compression=auto, evaluation=strict))


def test_the_key_of_a_release_does_not_change() -> None:
    assert key(request()) == "549322800a9b26f65db6bde85d1e8926b3f474fa66fb792c8a2251734b56780f"
