"""The commands of the README's quick start, as far as an API server answers them (images need a kubelet)."""

from pathlib import Path

from tests.cluster.controlplane import ControlPlane

PROJECT = Path(__file__).resolve().parents[2]


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
        f"customresourcedefinition.apiextensions.k8s.io/{crd}",
    } <= made
    assert "PodSecurity" not in applied.stderr  # it warns of pods that the namespace would refuse


def test_the_sample_is_accepted(control_plane: ControlPlane, crd: str, namespace: str) -> None:
    sample = str(PROJECT / "manifests" / "samples" / "digits.yaml")
    applied = control_plane.kubectl("apply", "-n", namespace, "-f", sample)
    assert "modeldeployment.modelpress.dev/digits created" in applied.stdout
    assert "Warning" not in applied.stderr
    assert "digits" in control_plane.kubectl("get", "-n", namespace, "mdep", "digits").stdout
