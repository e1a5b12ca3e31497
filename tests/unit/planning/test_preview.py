"""What `modelpress plan` prints is what the planner would apply."""

import pytest

from modelpress.planning.preview import PLACEHOLDER_BYTES, PLACEHOLDER_DIGEST, preview
from tests.unit.planning.fake_cluster import SETTINGS, SPEC, FakeCluster

BODY = {
    "apiVersion": "modelpress.dev/v1alpha1",
    "kind": "ModelDeployment",
    "metadata": {"name": "digits", "namespace": "models", "uid": "owner"},
    "spec": SPEC,
}


def test_the_preview_is_what_the_planner_applies() -> None:
    cluster = FakeCluster()
    cluster.settle()
    cluster.job_succeeds(
        artifactDigest=PLACEHOLDER_DIGEST, sourceDigest=PLACEHOLDER_DIGEST, compressedBytes=PLACEHOLDER_BYTES
    )
    cluster.settle()
    for body in preview(BODY, SETTINGS):
        applied = cluster.objects[body["kind"], body["metadata"]["name"]]
        if body["kind"] != "ControllerRevision":  # scores and sizes are the Job's
            assert body["spec"] == applied["spec"]
    assert [body["kind"] for body in preview(BODY, SETTINGS)] == [
        "NetworkPolicy",
        "Job",
        "ControllerRevision",
        "Service",
        "Deployment",
        "PodDisruptionBudget",
    ]


def test_a_spec_that_cannot_be_read_names_its_field() -> None:
    with pytest.raises(ValueError, match=r"^spec\.replicas: "):
        preview({**BODY, "spec": {**SPEC, "replicas": "many"}}, SETTINGS)
