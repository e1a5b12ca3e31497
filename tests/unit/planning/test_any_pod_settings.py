"""Whatever stands in parts of the spec that nobody checks: it ends in the status, not in a traceback."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelpress.api.defaults import parse
from modelpress.api.errors import ConfigurationError
from modelpress.planning.plan import decide
from tests.unit.planning.fake_cluster import SETTINGS, SPEC, FakeCluster, ready_cluster

PARTS = ("resources", "env", "affinity", "tolerations", "topologySpreadConstraints", "resourceClaims")
KEYS = st.sampled_from(
    (
        *("limits", "requests", "claims", "name", "value", "valueFrom", "cpu", "memory", "ephemeral-storage"),
        *("key", "operator", "nodeAffinity", "labelSelector", "example.com/slot", "MODELPRESS_PORT", "\0"),
    )
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.sampled_from(["", "1Gi", "500m", "\ud800", "-1", "1e999"])
)
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
)
ANY = st.dictionaries(st.sampled_from(PARTS), JSON, min_size=1, max_size=3)
SHAPED = st.fixed_dictionaries(
    {},
    optional={
        part: st.dictionaries(KEYS, JSON, max_size=3)
        if part in ("resources", "affinity")
        else st.lists(st.dictionaries(KEYS, JSON, max_size=3), max_size=3)
        for part in PARTS
    },
)  # passes the CRD, whatever is inside
DEVICES = st.sampled_from(
    [{"type": "CPU"}, {"type": "GPU"}, {"type": "CPU", "resourceName": "example.com/slot"}]
)


@cache
def compressed() -> FakeCluster:
    cluster = FakeCluster()
    cluster.settle()
    cluster.job_succeeds()
    return cluster


@cache
def serving() -> FakeCluster:
    return ready_cluster()


@pytest.mark.parametrize("begin", [FakeCluster, compressed, serving])
@pytest.mark.parametrize("part", ["worker", "job"])
@settings(max_examples=30, deadline=None, derandomize=True)
@given(pods=ANY | SHAPED, devices=DEVICES)
def test_no_pod_settings_end_the_planner(
    begin: Callable[[], FakeCluster], part: str, pods: dict[str, Any], devices: dict[str, str]
) -> None:
    cluster = copy.deepcopy(begin())
    cluster.edit(**{part: pods}, devices=devices)
    plan = decide(cluster.observe(), SETTINGS)
    assert plan.status is not None
    assert plan.status["observedGeneration"] == 2


@pytest.mark.parametrize("begin", [compressed, serving])
@settings(max_examples=30, deadline=None, derandomize=True)
@given(workers=SHAPED, own=SHAPED)
def test_no_defaults_of_the_operator_end_the_planner(
    begin: Callable[[], FakeCluster], workers: dict[str, Any], own: dict[str, Any]
) -> None:
    try:
        defaults = parse(json.dumps({"workers": {"CPU": workers}, "job": workers}))
    except ConfigurationError:
        return  # the operator does not start
    cluster = copy.deepcopy(begin())
    cluster.edit(worker=own, job=own)
    decide(cluster.observe(), replace(SETTINGS, defaults=defaults))


def test_the_parts_of_this_test_are_fields_of_the_spec() -> None:
    cluster = FakeCluster({**SPEC, "worker": dict.fromkeys(PARTS)})
    assert cluster.spec.worker is not None
