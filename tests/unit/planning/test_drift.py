"""Which differences are drift: what the API server adds or rewrites is none."""

from typing import Any

import pytest

from modelpress.planning.children.drift import differs

SAME: dict[str, tuple[Any, Any]] = {
    "equal": ({"a": 1}, {"a": 1}),
    "a default": ({"a": 1}, {"a": 1, "added": {"by": "server"}}),
    "a default in a list": ({"a": [{"b": 1}]}, {"a": [{"b": 1, "added": True}]}),
    "an empty value that is left out": ({"value": "", "readOnly": False, "list": [], "map": {}, "n": 0}, {}),
    "an empty object below": ({"a": {"b": {}}}, {}),
    "millicores": ({"limits": {"cpu": "1000m"}}, {"limits": {"cpu": "1"}}),
    "a number as quantity": ({"limits": {"cpu": 2}}, {"limits": {"cpu": "2"}}),
    "a fraction": ({"requests": {"cpu": 0.5}}, {"requests": {"cpu": "500m"}}),
    "bytes": ({"requests": {"memory": "1024Mi"}}, {"requests": {"memory": "1Gi"}}),
    "an exponent": ({"limits": {"memory": "1e3"}}, {"limits": {"memory": "1k"}}),
    "a size limit": ({"emptyDir": {"sizeLimit": "0.5Gi"}}, {"emptyDir": {"sizeLimit": "512Mi"}}),
    "an owner more": ({"ownerReferences": [{"uid": "a"}]}, {"ownerReferences": [{"uid": "b"}, {"uid": "a"}]}),
    "a tuple": ({"a": (1, 2)}, {"a": [1, 2]}),
}
DRIFT: dict[str, tuple[Any, Any]] = {
    "another value": ({"a": 1}, {"a": 2}),
    "a missing value": ({"a": 1}, {}),
    "a missing object": ({"a": {"b": 1}}, {"a": None}),
    "true is not one": ({"a": True}, {"a": 1}),
    "an added item": ({"a": [1]}, {"a": [1, 2]}),
    "a removed item": ({"a": [1, 2]}, {"a": [1]}),
    "another order": ({"a": [1, 2]}, {"a": [2, 1]}),
    "a value that was empty": ({"value": ""}, {"value": "x"}),
    "a list that is an object": ({"a": [1]}, {"a": {"0": 1}}),
    "another quantity": ({"limits": {"cpu": "1"}}, {"limits": {"cpu": "100m"}}),
    "no quantity": ({"limits": {"cpu": "many"}}, {"limits": {"cpu": "1"}}),
    "a selector's added key": ({"selector": {"a": "b"}}, {"selector": {"a": "b", "c": "d"}}),
    "a node selector's added key": ({"nodeSelector": {"a": "b"}}, {"nodeSelector": {"a": "b", "c": "d"}}),
    "no owner": ({"ownerReferences": [{"uid": "a"}]}, {"ownerReferences": []}),
    "an owner that controls no more": (
        {"ownerReferences": [{"uid": "a", "controller": True}]},
        {"ownerReferences": [{"uid": "a"}]},
    ),
}


@pytest.mark.parametrize("case", SAME)
def test_no_drift(case: str) -> None:
    assert not differs(*SAME[case])


@pytest.mark.parametrize("case", DRIFT)
def test_drift(case: str) -> None:
    assert differs(*DRIFT[case])
