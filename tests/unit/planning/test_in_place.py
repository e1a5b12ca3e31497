"""What of an object in the cluster is to be put right, judged by who set which field."""

import copy
from collections.abc import Mapping
from typing import Any

import pytest

from modelpress.api import names
from modelpress.planning.children.in_place import made_whole, out_of_place, own_template, put_right, stamped
from tests.unit.planning.fake_cluster import ready_cluster
from tests.unit.planning.recorded import Json, entry, recorded


def applied(kind: str) -> Json:
    """Return a child as it is applied."""
    body = ready_cluster().only(kind)
    sent = ("name", "namespace", "labels", "annotations", "ownerReferences")
    metadata = {key: value for key, value in body["metadata"].items() if key in sent}
    return {**{key: value for key, value in body.items() if key != "status"}, "metadata": metadata}


DEPLOYMENT, SERVICE = applied("Deployment"), applied("Service")
STAMP = f"metadata.annotations[{names.APPLIED_ANNOTATION}]"


def pod(fields: Mapping[str, Any]) -> Json:
    return {"spec": {"template": {"spec": dict(fields)}}}


def container(**fields: Any) -> Json:
    return pod({"containers": [{"name": "worker", **fields}]})


def without_ours(body: Json, *path: str) -> Json:
    """Return a recorded object in which somebody has taken a field of ours."""
    body = copy.deepcopy(body)
    tree = body["metadata"]["managedFields"][0]["fieldsV1"]
    for step in path[:-1]:
        tree = tree[step]
    del tree[path[-1]]
    return body


def test_what_was_applied_is_in_place_whatever_its_values_became() -> None:
    body = recorded(copy.deepcopy(DEPLOYMENT))
    template = body["spec"]["template"]
    template["spec"]["containers"][0]["image"] = "mirror.example.com/worker:1"
    template["spec"]["containers"][0]["env"].append({"name": "TRACE", "value": "1"})
    template["spec"]["containers"].append({"name": "proxy", "image": "proxy:1"})
    template["metadata"]["labels"]["injected"] = "yes"
    body["spec"]["minReadySeconds"] = 5
    del template["spec"]["topologySpreadConstraints"]
    assert out_of_place(DEPLOYMENT, body) == ()
    assert put_right(DEPLOYMENT, body) is None


def test_a_hash_tells_what_was_applied_whatever_it_was_before() -> None:
    assert stamped(stamped(DEPLOYMENT)) == stamped(DEPLOYMENT)
    foreign = copy.deepcopy(DEPLOYMENT)
    foreign["metadata"]["annotations"] = {names.APPLIED_ANNOTATION: "other"}
    assert stamped(foreign) == stamped(DEPLOYMENT)
    changed = copy.deepcopy(DEPLOYMENT)
    changed["spec"]["replicas"] = 9
    assert out_of_place(changed, recorded(DEPLOYMENT)) == (STAMP,)


def test_a_field_that_somebody_took_is_out_of_place() -> None:
    body = without_ours(recorded(DEPLOYMENT), "f:spec", "f:replicas")
    assert out_of_place(DEPLOYMENT, body) == ("spec.replicas",)


def test_false_that_became_true_is_out_of_place() -> None:
    path = ("f:spec", "f:template", "f:spec", "f:automountServiceAccountToken")
    body = without_ours(recorded(copy.deepcopy(DEPLOYMENT)), *path)
    body["spec"]["template"]["spec"]["automountServiceAccountToken"] = True
    assert out_of_place(DEPLOYMENT, body) == ("spec.template.spec.automountServiceAccountToken",)


def test_an_empty_field_that_the_api_server_leaves_out_has_no_owner() -> None:
    desired = copy.deepcopy(DEPLOYMENT)
    desired["spec"]["template"]["spec"]["hostAliases"] = []
    desired["spec"]["template"]["spec"]["affinity"] = {}
    body = stamped(desired)
    found = recorded({**DEPLOYMENT, "metadata": {**DEPLOYMENT["metadata"], **body["metadata"]}})
    assert out_of_place(desired, found) == ()


def test_a_label_of_ours_that_is_no_longer_desired_is_out_of_place() -> None:
    before = copy.deepcopy(SERVICE)
    before["metadata"]["labels"]["team"] = "vision"
    before["metadata"]["annotations"] = stamped(SERVICE)["metadata"]["annotations"]
    assert out_of_place(SERVICE, recorded(before)) == ("metadata.labels.team",)


def test_without_a_record_of_ours_all_is_applied_again_and_only_our_spec_stays() -> None:
    found = recorded(copy.deepcopy(SERVICE))
    found["metadata"] |= {"managedFields": [], "labels": {"team": "ml"}}
    found["spec"] |= {"externalIPs": ["10.1.1.1"], "clusterIP": "10.96.0.9"}
    assert out_of_place(SERVICE, found) == ("metadata.managedFields",)
    whole = made_whole(SERVICE, found)
    assert whole["spec"] == {**SERVICE["spec"], "clusterIP": "10.96.0.9"}
    assert whole["metadata"] == found["metadata"]


REVERTED: dict[str, tuple[Json, str]] = {
    "a scalar": (pod({"hostNetwork": True}), "spec.template.spec.hostNetwork"),
    "an object": (
        pod({"dnsConfig": {"nameservers": ["10.1.1.1"]}}),
        "spec.template.spec.dnsConfig",
    ),
    "an item": (
        pod({"containers": [{"name": "spy", "image": "spy:1"}]}),
        "spec.template.spec.containers[spy]",
    ),
    "a field of an item of ours": (
        container(securityContext={"capabilities": {"add": ["SYS_ADMIN"]}}),
        "spec.template.spec.containers[worker].securityContext.capabilities.add",
    ),
    "beside the template": ({"spec": {"paused": True}}, "spec.paused"),
    "a label of the pods": (
        {"spec": {"template": {"metadata": {"labels": {"app": "other"}}}}},
        "spec.template.metadata.labels.app",
    ),
    "an annotation that loosens security": (
        {"spec": {"template": {"metadata": {"annotations": {"org.criu.config": "x"}}}}},
        "spec.template.metadata.annotations",
    ),
}


def merged(base: Any, change: Any) -> Any:
    """Return a strategic merge patch applied, as far as these tests need it."""
    if isinstance(base, dict) and isinstance(change, dict):
        return {**base, **{key: merged(base.get(key), value) for key, value in change.items()}}
    if isinstance(base, list) and all(isinstance(item, dict) for item in change):
        by_name = {item["name"]: item for item in change}
        kept = [merged(item, by_name.pop(item["name"], {})) for item in base]
        return [*kept, *by_name.values()]
    return copy.deepcopy(change)


@pytest.mark.parametrize("case", REVERTED)
def test_what_somebody_sets_beside_ours_is_taken_out_and_nothing_else(case: str) -> None:
    change, field = REVERTED[case]
    webhook = container(env=[{"name": "TRACE", "value": "1"}])
    before = merged(DEPLOYMENT, webhook)
    owners = [entry("kubectl-edit", change)]
    found = merged(before, change)
    found["metadata"] = recorded(DEPLOYMENT, *owners)["metadata"] | {"finalizers": ["example.com/wait"]}
    assert out_of_place(DEPLOYMENT, found) == (field,)
    repaired = put_right(DEPLOYMENT, found)
    assert repaired is not None
    assert without_empty(repaired["spec"]) == without_empty(before["spec"])
    assert repaired["metadata"]["finalizers"] == ["example.com/wait"]
    assert out_of_place(DEPLOYMENT, repaired) == ()


def without_empty(value: Any) -> Any:
    """Return a value as the API server keeps it."""
    if isinstance(value, dict):
        return {key: kept for key, item in value.items() if (kept := without_empty(item)) != {}}
    return [without_empty(item) for item in value] if isinstance(value, list) else value


STAYS: dict[str, tuple[Json, Json]] = {
    "a label of the object": (DEPLOYMENT, {"metadata": {"labels": {"team": "ml"}}}),
    "an annotation of the object": (DEPLOYMENT, {"metadata": {"annotations": {"argocd/id": "a"}}}),
    "a status": (DEPLOYMENT, {"status": {"replicas": 1}}),
    "a restart": (
        DEPLOYMENT,
        {"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "now"}}}}},
    ),
    "a load balancer's class": (SERVICE, {"spec": {"loadBalancerClass": "example.com/lb"}}),
    "a node port": (SERVICE, {"spec": {"ports": [{"port": 80, "protocol": "TCP", "nodePort": 30080}]}}),
}


@pytest.mark.parametrize("case", STAYS)
def test_what_is_not_ours_to_judge_stays(case: str) -> None:
    body, change = STAYS[case]
    found = copy.deepcopy(body)
    if "ports" in change.get("spec", {}):
        found["spec"]["ports"][0]["nodePort"] = 30080
    else:
        found = merged(found, change)
    found["metadata"]["managedFields"] = recorded(body, entry("someone", change))["metadata"]["managedFields"]
    assert out_of_place(body, found) == ()
    assert put_right(body, found) is None


def test_a_default_that_somebody_claims_is_not_fought_for() -> None:
    change = pod({"dnsPolicy": "ClusterFirst"})
    found = copy.deepcopy(recorded(DEPLOYMENT, entry("argocd", change, "Apply")))
    found["spec"]["template"]["spec"]["dnsPolicy"] = "ClusterFirst"
    assert out_of_place(DEPLOYMENT, found) == ("spec.template.spec.dnsPolicy",)
    repaired = put_right(DEPLOYMENT, found)
    assert repaired is not None
    assert [record["manager"] for record in repaired["metadata"]["managedFields"]] == ["modelpress"]
    kept = merged(repaired, change)  # by the API server
    assert out_of_place(DEPLOYMENT, kept) == ()


def test_what_the_api_server_sets_together_with_a_field_goes_with_it() -> None:
    change = pod({"hostNetwork": True, "serviceAccountName": "builder"})
    found = copy.deepcopy(recorded(merged(DEPLOYMENT, change), entry("argocd", change, "Apply")))
    spec = found["spec"]["template"]["spec"]
    spec["serviceAccount"] = "builder"
    for port in spec["containers"][0]["ports"]:
        port["hostPort"] = port["containerPort"]
    found["metadata"]["managedFields"][0] = recorded(DEPLOYMENT)["metadata"]["managedFields"][0]
    repaired = put_right(DEPLOYMENT, found)
    assert repaired is not None
    assert repaired["spec"] == DEPLOYMENT["spec"]


def test_the_template_that_we_applied_is_known_where_only_defaults_and_webhooks_are_beside_it() -> None:
    found = recorded(copy.deepcopy(DEPLOYMENT))
    spec = found["spec"]["template"]["spec"]
    spec["dnsPolicy"] = "ClusterFirst"
    spec["containers"].insert(0, {"name": "proxy", "image": "proxy:1"})
    assert own_template(found) == DEPLOYMENT["spec"]["template"]
    change = pod({"hostNetwork": True})
    assert own_template(recorded(DEPLOYMENT, entry("kubectl-edit", change))) is None
