"""Requests that the pipeline refuses before any work."""

from typing import Any

import pytest

from modelpress.api.conditions import Reason
from modelpress.api.contract import JobRequest
from modelpress.api.errors import UsageError
from modelpress.compression import recipe


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"compression": {"quantization": {"scheme": "BFloat16"}}}, "BFloat16 is none of CPU devices"),
        (
            {"deviceType": "GPU", "compression": {"quantization": {"scheme": "Int8Dynamic"}}},
            r"Int8Dynamic is none of GPU devices \(Int4Weights, Int8Weights, Float16, BFloat16\)",
        ),
    ],
)
def test_a_scheme_of_other_devices_is_refused(fields: dict[str, Any], name: str) -> None:
    request = {
        "name": "a",
        "namespace": "b",
        "recipeHash": "c",
        "model": {"uri": "file:///x"},
        "deviceType": "CPU",
    }
    with pytest.raises(UsageError, match=name) as caught:
        recipe.of(JobRequest.model_validate({**request, **fields}))
    assert caught.value.reason is Reason.INVALID_SPEC


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"evaluation": {"maxDrop": "0.5%"}},
        {"data": {"evaluation": {"uri": "file:///x"}}, "evaluation": {"maxSize": "1Mi"}},
    ],
)
def test_auto_needs_data_and_a_limit_of_the_score(fields: dict[str, Any]) -> None:
    request = {
        "name": "a",
        "namespace": "b",
        "recipeHash": "c",
        "model": {"uri": "file:///x"},
        "deviceType": "CPU",
        "compression": {"quantization": {"scheme": "Auto"}},
    }
    with pytest.raises(UsageError, match="scheme Auto needs minScore or maxDrop") as caught:
        recipe.of(JobRequest.model_validate({**request, **fields}))
    assert caught.value.reason is Reason.INVALID_SPEC
