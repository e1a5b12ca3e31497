"""Every rendered object of the golden files on a real API server: accepted, and read back without drift."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from modelpress.planning.children.drift import differs
from tests.support.cluster.controlplane import ControlPlane

GOLDEN = Path(__file__).parents[2] / "unit" / "golden"
PLURALS = {
    "NetworkPolicy": "networkpolicies",
    "Job": "jobs",
    "ControllerRevision": "controllerrevisions",
    "Service": "services",
    "Deployment": "deployments",
    "PodDisruptionBudget": "poddisruptionbudgets",
}


@pytest.fixture
def restricted(control_plane: ControlPlane, namespace: str) -> str:
    """A namespace whose API server warns of pods outside the Pod Security Standard `restricted`."""
    standard = {"metadata": {"labels": {"pod-security.kubernetes.io/warn": "restricted"}}}
    control_plane.admin.patch("namespaces", None, namespace, standard)
    return namespace


@pytest.mark.parametrize("file", sorted(GOLDEN.glob("*.yaml")), ids=lambda file: file.stem)
def test_the_api_server_accepts_every_object_and_what_it_adds_is_no_drift(
    control_plane: ControlPlane, restricted: str, file: Path
) -> None:
    for body in yaml.safe_load_all(file.read_text()):
        desired = _placed(body, restricted)
        said = control_plane.kubectl(
            "apply", "--server-side", "--field-manager=modelpress", "-f", "-", input=yaml.safe_dump(desired)
        )
        assert "Warning" not in said.stderr
        found = control_plane.admin.get(PLURALS[body["kind"]], restricted, desired["metadata"]["name"])
        assert not differs(desired, found)


def _placed(body: dict[str, Any], namespace: str) -> dict[str, Any]:
    """Return an object of a golden file without its owner, which is not there, in a namespace."""
    metadata = {key: value for key, value in body["metadata"].items() if key != "ownerReferences"}
    return {**body, "metadata": {**metadata, "namespace": namespace}}
