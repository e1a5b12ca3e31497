"""The manifests grant what the operator uses, and nothing else; its pods run restricted."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from modelpress.api.defaults import Defaults, parse
from modelpress.controllers.defaults import load
from modelpress.controllers.resources import POD, permissions
from modelpress.controllers.rest import Request, Rest

MANIFESTS = Path(__file__).parents[3] / "manifests"


def _documents(*folders: str) -> list[dict[str, Any]]:
    files = [path for folder in folders for path in sorted((MANIFESTS / folder).glob("*.yaml"))]
    bodies = [body for path in files for body in yaml.safe_load_all(path.read_text())]
    return [body for body in bodies if "kind" in body]  # defaults.yaml is no object


def test_the_cluster_role_grants_exactly_the_verbs_that_the_operator_uses() -> None:
    role = next(
        body
        for body in _documents("rbac")
        if body["kind"] == "ClusterRole" and body["metadata"]["name"] == "modelpress-operator"
    )
    granted = {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert granted == permissions()


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
        assert deployment["spec"]["strategy"]["type"] == "Recreate"
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
