"""The commands of the README's quick start, as far as an API server answers them (images need a kubelet)."""

import os
from pathlib import Path

import yaml

from tests.support.cluster.controlplane import ControlPlane

PROJECT = Path(__file__).resolve().parents[3]


def test_the_manifests_of_the_operator_are_accepted_and_satisfy_its_pod_security(
    control_plane: ControlPlane, crd: str
) -> None:
    control_plane.kubectl("apply", "-f", str(PROJECT / "manifests" / "operator" / "namespace.yaml"))
    applied = control_plane.kubectl(
        "apply", "--dry-run=server", "-k", str(PROJECT / "manifests" / "operator")
    )
    made = {line.split()[0] for line in applied.stdout.splitlines()}
    assert {
        "deployment.apps/modelpress-operator",
        "deployment.apps/modelpress-registry",
        "persistentvolumeclaim/modelpress-registry",
        "serviceaccount/modelpress-operator",
        "priorityclass.scheduling.k8s.io/modelpress-system",
        f"customresourcedefinition.apiextensions.k8s.io/{crd}",
    } <= made
    assert "PodSecurity" not in applied.stderr  # it warns of pods that the namespace would refuse


def test_the_component_for_openshift_leaves_users_to_the_cluster(
    control_plane: ControlPlane, crd: str, tmp_path: Path
) -> None:
    manifests = os.path.relpath(PROJECT / "manifests", tmp_path)  # kustomize takes no absolute paths
    overlay = {"resources": [f"{manifests}/operator"], "components": [f"{manifests}/openshift"]}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    bodies = list(yaml.safe_load_all(control_plane.kubectl("kustomize", str(tmp_path)).stdout))
    pods = [body["spec"]["template"]["spec"] for body in bodies if body["kind"] == "Deployment"]
    assert len(pods) == 2
    for pod in pods:
        assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
        assert pod["priorityClassName"] == "modelpress-system"
    (arguments,) = [pod["containers"][0]["args"] for pod in pods if "args" in pod["containers"][0]]
    assert arguments[-1] == "--no-fixed-user"
    (defaults,) = [body for body in bodies if body["metadata"]["name"].startswith("modelpress-defaults-")]
    assert "# caBundle" in defaults["data"]["defaults.yaml"], "the defaults stay those of the manifests"
    control_plane.kubectl("apply", "-f", str(PROJECT / "manifests" / "operator" / "namespace.yaml"))
    applied = control_plane.kubectl("apply", "--dry-run=server", "-k", str(tmp_path))
    assert "PodSecurity" not in applied.stderr


def test_the_sample_is_accepted(control_plane: ControlPlane, crd: str, namespace: str) -> None:
    sample = str(PROJECT / "manifests" / "samples" / "digits.yaml")
    applied = control_plane.kubectl("apply", "-n", namespace, "-f", sample)
    assert "modeldeployment.modelpress.dev/digits created" in applied.stdout
    assert "Warning" not in applied.stderr
    assert "digits" in control_plane.kubectl("get", "-n", namespace, "mdep", "digits").stdout
