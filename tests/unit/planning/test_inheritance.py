"""What a resource leaves open comes from the operator-wide defaults, and what it says is its own."""

from dataclasses import replace
from typing import Any

import pytest

from modelpress.api.defaults import parse
from modelpress.planning.inheritance import completed_resources
from tests.unit.planning.fake_cluster import SETTINGS, SPEC, FakeCluster, ready_cluster

FILE = """
imagePullSecrets: [{name: common}]
storage: {uri: oci://other/models, secretRef: {name: login}}
proxy: {httpsProxy: "http://proxy:3128"}
caBundle: {configMapName: trusted}
job: {labels: {team: platform}, nodeSelector: {pool: batch}, resources: {limits: {memory: 16Gi}}}
workers:
  CPU: {imagePullSecrets: [{name: workers}], priorityClassName: serving, image: mirror/worker:1}
  GPU: {nodeSelector: {pool: gpu}}
"""
WITH_DEFAULTS = replace(SETTINGS, fixed_user=False, defaults=parse(FILE))


def rendered(kind: str, **fields: Any) -> dict[str, Any]:
    """Return the template of the first Job or Deployment under the defaults."""
    cluster = FakeCluster({**SPEC, **fields})
    cluster.settings = WITH_DEFAULTS
    cluster.settle()
    if kind == "Deployment":
        cluster.job_succeeds()
        cluster.settle()
    template: dict[str, Any] = cluster.only(kind)["spec"]["template"]
    return template


def variables(container: dict[str, Any]) -> dict[str, Any]:
    names = [entry["name"] for entry in container["env"]]
    assert len(names) == len(set(names))
    return {entry["name"]: entry.get("value") for entry in container["env"]}


@pytest.mark.parametrize(
    ("own", "defaults", "merged"),
    [
        (None, None, None),
        ({}, None, None),
        (None, {"limits": {"memory": "1Gi"}}, {"limits": {"memory": "1Gi"}}),
        ({"limits": {"memory": "2Gi"}}, None, {"limits": {"memory": "2Gi"}}),
        (
            {"limits": {"memory": "2Gi"}},
            {"limits": {"memory": "1Gi", "cpu": "1"}, "requests": {"memory": "512Mi", "cpu": "1"}},
            {"limits": {"memory": "2Gi", "cpu": "1"}, "requests": {"cpu": "1"}},
        ),
        ({"requests": {"memory": "8Gi"}}, {"limits": {"memory": "1Gi"}}, {"requests": {"memory": "8Gi"}}),
        (
            {"claims": [{"name": "gpu"}], "limits": None},
            {"requests": {"cpu": "1"}},
            {"claims": [{"name": "gpu"}], "requests": {"cpu": "1"}},
        ),
        ({"limits": ["no map"]}, {"limits": {"memory": "1Gi"}}, {"limits": ["no map"]}),
    ],
)
def test_resources_are_completed_name_by_name(own: Any, defaults: Any, merged: Any) -> None:
    assert completed_resources(own, defaults) == merged


def test_a_job_takes_what_its_resource_leaves_open() -> None:
    template = rendered("Job", job={"nodeSelector": {"disk": "fast"}, "labels": {"app": "own"}})
    spec = template["spec"]
    assert spec["imagePullSecrets"] == [{"name": "common"}]
    assert spec["nodeSelector"] == {"disk": "fast"}  # a map of the resource wins as a whole
    assert "team" not in template["metadata"]["labels"]
    limits = spec["containers"][0]["resources"]["limits"]
    assert limits["memory"] == "16Gi"  # the operator's, and the built-in one beside it
    assert limits["ephemeral-storage"] == spec["volumes"][0]["emptyDir"]["sizeLimit"] == "20Gi"
    assert variables(spec["containers"][0])["MODELPRESS_STORE"] == "oci://other/models"
    assert "login" in [volume.get("secret", {}).get("secretName") for volume in spec["volumes"]]


def test_settings_of_workers_are_by_device_type_and_before_those_of_all_pods() -> None:
    spec = rendered("Deployment")["spec"]
    assert spec["imagePullSecrets"] == [{"name": "workers"}]
    assert spec["priorityClassName"] == "serving"
    assert spec["containers"][0]["image"] == "mirror/worker:1"
    assert "nodeSelector" not in spec
    gpu = rendered("Deployment", devices={"type": "GPU"}, compression=None)["spec"]
    assert gpu["nodeSelector"] == {"pool": "gpu"}
    assert gpu["imagePullSecrets"] == [{"name": "common"}]
    own = rendered("Deployment", worker={"imagePullSecrets": [], "image": "own:1"})["spec"]
    assert own["imagePullSecrets"] == []
    assert own["containers"][0]["image"] == "own:1"


def test_only_what_connects_gets_proxy_and_certificates() -> None:
    spec = rendered("Deployment")["spec"]
    fetch, worker = spec["initContainers"][0], spec["containers"][0]
    job = rendered("Job")["spec"]["containers"][0]
    for container in (fetch, job):
        found = variables(container)
        assert found["HTTPS_PROXY"] == "http://proxy:3128"
        assert found["NO_PROXY"] == "localhost,127.0.0.1,.svc,.cluster.local"
        assert found["SSL_CERT_FILE"] == found["REQUESTS_CA_BUNDLE"] == "/etc/modelpress/ca/ca.crt"
        assert "/etc/modelpress/ca" in [mount["mountPath"] for mount in container["volumeMounts"]]
    assert not {"HTTPS_PROXY", "SSL_CERT_FILE"} & variables(worker).keys()


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy"])
def test_a_variable_of_the_resource_stands_for_that_of_the_operator(name: str) -> None:
    env = [{"name": name, "value": ""}, {"name": "AWS_CA_BUNDLE", "value": "/own.pem"}]
    found = variables(rendered("Job", job={"env": env})["spec"]["containers"][0])
    assert found[name] == ""
    assert {"HTTPS_PROXY", "https_proxy"} & found.keys() == {name}
    assert found["AWS_CA_BUNDLE"] == "/own.pem"
    assert "SSL_CERT_FILE" in found


@pytest.mark.parametrize("kind", ["Job", "Deployment"])
def test_without_a_fixed_user_the_cluster_chooses_and_secrets_are_readable_for_any(kind: str) -> None:
    spec = rendered(kind)["spec"]
    assert spec["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    modes = [volume["secret"]["defaultMode"] for volume in spec["volumes"] if "secret" in volume]
    assert modes == [0o444]


def test_new_defaults_change_nothing_until_the_next_job_and_revision() -> None:
    cluster = ready_cluster()
    before = cluster.only("Deployment")["spec"]["template"]
    cluster.settings = WITH_DEFAULTS
    assert cluster.settle() == []
    cluster.edit(serving={"maxBatchSize": 8})  # a new revision of the same artifact, and no Job
    assert not any("Job" in action for step in cluster.settle() for action in step)
    after = cluster.only("Deployment")["spec"]["template"]
    assert "priorityClassName" not in before["spec"]
    assert after["spec"]["priorityClassName"] == "serving"
    assert variables(after["spec"]["initContainers"][0])["MODELPRESS_STORE"] == "oci://registry/models/models"
