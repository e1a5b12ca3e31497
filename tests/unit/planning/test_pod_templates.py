"""Pod templates: grace period, probes, spreading, and devices by claims."""

from itertools import product
from typing import Any

import pytest

from modelpress.api import contract
from modelpress.api.contract import WorkerConfig
from modelpress.api.crd import root_schema
from tests.unit.planning.fake_cluster import SPEC, FakeCluster, ready_cluster

CLAIM = {"name": "gpu", "resourceClaimTemplateName": "one-gpu"}


def pod(cluster: FakeCluster) -> dict[str, Any]:
    spec: dict[str, Any] = cluster.only("Deployment")["spec"]["template"]["spec"]
    return spec


def variables(cluster: FakeCluster) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in pod(cluster)["containers"][0]["env"]}


def edges(field: str) -> tuple[int, ...]:
    schema = root_schema()["properties"]["spec"]["properties"]["serving"]["properties"][field]
    return schema["minimum"], schema["default"], schema["maximum"]


def test_the_grace_period_holds_the_drain_and_the_longest_request_for_every_value() -> None:
    for drain, timeout in product(edges("drainSeconds"), edges("requestTimeoutSeconds")):
        cluster = ready_cluster(
            {**SPEC, "serving": {"drainSeconds": drain, "requestTimeoutSeconds": timeout}}
        )
        serving = WorkerConfig.from_json(variables(cluster)[contract.WORKER_CONFIG]).serving
        assert (serving.drain_seconds, serving.request_timeout_seconds) == (drain, timeout)
        assert pod(cluster)["terminationGracePeriodSeconds"] == drain + timeout + 5


def test_a_kubelet_restart_and_a_long_load_leave_a_worker_alone() -> None:
    (container,) = pod(ready_cluster())["containers"]
    assert "startupProbe" not in container, "the kubelet forgets what has started"
    assert container["readinessProbe"]["periodSeconds"] == 1
    assert container["livenessProbe"]["httpGet"]["path"] == "/v2/health/live", "which answers during a load"
    assert container["livenessProbe"]["initialDelaySeconds"] >= 60


def test_workers_of_one_revision_are_spread_over_nodes_where_possible() -> None:
    cluster = ready_cluster()
    assert pod(cluster)["topologySpreadConstraints"] == [
        {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": cluster.only("Deployment")["spec"]["selector"],
            "matchLabelKeys": ["pod-template-hash"],
        }
    ]
    assert "topologySpreadConstraints" not in cluster.only("Job")["spec"]["template"]["spec"]


@pytest.mark.parametrize(
    "own", [[], [{"maxSkew": 2, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}]]
)
def test_own_constraints_take_the_place_of_ours(own: list[Any]) -> None:
    assert (
        pod(ready_cluster({**SPEC, "worker": {"topologySpreadConstraints": own}}))[
            "topologySpreadConstraints"
        ]
        == own
    )


GPU = {"compression": {"quantization": {"scheme": "Float16"}}}


@pytest.mark.parametrize(
    ("devices", "worker", "limits"),
    [
        ({}, {}, {"nvidia.com/gpu": "1"}),
        ({}, {"resourceClaims": []}, {"nvidia.com/gpu": "1"}),
        ({}, {"resourceClaims": [CLAIM]}, {}),
        ({"resourceName": "example.com/gpu"}, {"resourceClaims": [CLAIM]}, {"example.com/gpu": "1"}),
    ],
)
def test_claims_take_the_place_of_the_default_device(
    devices: dict[str, Any], worker: dict[str, Any], limits: dict[str, str]
) -> None:
    resources = {"claims": [{"name": "gpu"}]}
    cluster = ready_cluster({**SPEC, **GPU, "devices": devices, "worker": {**worker, "resources": resources}})
    (serve,), (fetch,) = pod(cluster)["containers"], pod(cluster)["initContainers"]
    devices = {name: amount for name, amount in serve["resources"]["limits"].items() if "/" in name}
    assert devices == limits
    assert serve["resources"]["claims"] == [{"name": "gpu"}]
    assert set(fetch["resources"]["limits"]) == {"memory", "ephemeral-storage"}
    assert "claims" not in fetch["resources"], "the init container holds no device"
    assert pod(cluster).get("resourceClaims", []) == worker.get("resourceClaims", [])


def test_a_job_has_claims_of_its_own() -> None:
    cluster = ready_cluster(
        {**SPEC, "job": {"resourceClaims": [CLAIM], "resources": {"claims": [{"name": "gpu"}]}}}
    )
    template = cluster.only("Job")["spec"]["template"]["spec"]
    assert template["resourceClaims"] == [CLAIM]
    assert template["containers"][0]["resources"]["claims"] == [{"name": "gpu"}]
    assert "resourceClaims" not in pod(cluster)
