"""The manifests grant what the operator uses, and nothing else; its pods run restricted."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from modelpress.api.defaults import Defaults, parse
from modelpress.controllers.defaults import load
from modelpress.controllers.main import OperatorOptions
from modelpress.controllers.resources import LEASE, POD, permissions
from modelpress.controllers.rest import Request, Rest

MANIFESTS = Path(__file__).parents[3] / "manifests"


def _documents(*folders: str) -> list[dict[str, Any]]:
    files = [path for folder in folders for path in sorted((MANIFESTS / folder).glob("*.yaml"))]
    bodies = [body for path in files for body in yaml.safe_load_all(path.read_text())]
    return [body for body in bodies if "kind" in body]  # defaults.yaml is no object


def _rules(kind: str, name: str) -> list[dict[str, Any]]:
    found = (b for b in _documents("rbac") if b["kind"] == kind and b["metadata"]["name"] == name)
    rules: list[dict[str, Any]] = next(found)["rules"]
    return rules


def _granted(rules: list[dict[str, Any]]) -> set[tuple[str, str, str]]:
    return {
        (group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_the_cluster_role_grants_exactly_the_verbs_that_the_operator_uses() -> None:
    assert _granted(_rules("ClusterRole", "modelpress-operator")) == permissions()


def test_the_role_of_the_lease_grants_exactly_its_verbs_and_only_its_name() -> None:
    rules = _rules("Role", "modelpress-operator-lease")
    assert _granted(rules) == {(LEASE.group, LEASE.plural, verb) for verb in LEASE.verbs}
    for rule in rules:
        # the API server cannot limit `create`: it authorizes before it reads the body
        named = None if rule["verbs"] == ["create"] else [OperatorOptions.lease_name]
        assert rule.get("resourceNames") == named


def test_every_role_and_binding_is_of_an_account_of_the_manifests() -> None:
    documents = _documents("rbac")
    accounts = {
        (b["metadata"]["namespace"], b["metadata"]["name"])
        for b in documents
        if b["kind"] == "ServiceAccount"
    }
    bindings = [body for body in documents if body["kind"].endswith("Binding")]
    assert {body["roleRef"]["name"] for body in bindings} == {
        "modelpress-operator",
        "modelpress-operator-lease",
    }
    for body in bindings:
        assert {(s["namespace"], s["name"]) for s in body["subjects"]} == accounts


def test_no_role_has_a_wildcard_or_reads_secrets() -> None:
    for body in _documents("rbac", "operator", "registry"):
        for rule in body.get("rules", ()):
            words = rule["apiGroups"] + rule["resources"] + rule["verbs"]
            assert "*" not in words
            assert not any(resource.startswith("secrets") for resource in rule["resources"])


def test_a_verb_outside_the_table_never_leaves_the_client() -> None:
    from kubernetes.client import Configuration

    rest = Rest(Configuration(host="http://127.0.0.1:1"))
    with pytest.raises(PermissionError, match="delete of pods"):
        rest.send(Request("delete", POD, "shop", "digits-1"))
    assert rest.requests() == {}


@pytest.mark.parametrize("folder", ["operator", "registry"])
def test_pods_meet_the_restricted_standard(folder: str) -> None:
    deployments = [body for body in _documents(folder) if body["kind"] == "Deployment"]
    assert deployments
    for deployment in deployments:
        pod = deployment["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]["memory"]


def test_a_rollout_and_a_drain_leave_one_operator_at_work() -> None:
    (deployment,) = [body for body in _documents("operator") if body["kind"] == "Deployment"]
    (budget,) = [body for body in _documents("operator") if body["kind"] == "PodDisruptionBudget"]
    spec = deployment["spec"]
    assert spec["replicas"] == 2
    assert spec["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
    }
    assert budget["spec"]["selector"] == spec["selector"]
    assert budget["spec"]["maxUnavailable"] == 1
    preferred = spec["template"]["spec"]["affinity"]["podAntiAffinity"]
    terms = [t["podAffinityTerm"] for t in preferred["preferredDuringSchedulingIgnoredDuringExecution"]]
    assert [term["labelSelector"] for term in terms] == [spec["selector"]] * 2


def test_the_registry_has_one_pod_at_a_time_since_its_volume_has_one_writer() -> None:
    (deployment,) = [body for body in _documents("registry") if body["kind"] == "Deployment"]
    assert (deployment["spec"]["replicas"], deployment["spec"]["strategy"]["type"]) == (1, "Recreate")


@pytest.mark.parametrize("folder", ["operator", "rbac", "registry"])
def test_kustomizations_name_every_file_of_their_folder(folder: str) -> None:
    kustomization = yaml.safe_load((MANIFESTS / folder / "kustomization.yaml").read_text())
    files = {path.name for path in (MANIFESTS / folder).glob("*.yaml")} - {"kustomization.yaml"}
    named = {entry for entry in kustomization["resources"] if entry.endswith(".yaml")}
    generated = {file for entry in kustomization.get("configMapGenerator", ()) for file in entry["files"]}
    assert named | generated | set(kustomization.get("configurations", ())) == files


def test_the_defaults_of_the_manifests_are_read() -> None:
    assert load(MANIFESTS / "operator" / "defaults.yaml") == Defaults()


def test_the_examples_in_the_defaults_of_the_manifests_are_accepted() -> None:
    lines = (MANIFESTS / "operator" / "defaults.yaml").read_text().splitlines()
    examples = [line.removeprefix("# ") for line in lines[lines.index("#") + 1 :]]
    assert parse("\n".join(examples)).workers.gpu is not None
