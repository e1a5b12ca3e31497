"""Which finished artifacts a Job is told that it may reuse, and that an upgrade needs no Job for it."""

import json
from dataclasses import replace
from typing import Any

import pytest

from modelpress.api import contract, names
from modelpress.planning.artifacts import known
from modelpress.planning.plan import decide
from modelpress.planning.types import Known, Plan
from tests.unit.planning.fake_cluster import (
    ARTIFACT,
    OTHER_ARTIFACT,
    SETTINGS,
    SPEC,
    FakeCluster,
    ready_cluster,
)

STORE = "oci://registry/models/models"  # of the namespace `models`
EDIT = {"compression": {"quantization": {"scheme": "Float16"}}}


def variables(plan: Plan) -> dict[str, str]:
    (job,) = [body for body in plan.apply if body["kind"] == "Job"]
    (container,) = job["spec"]["template"]["spec"]["containers"]
    return {entry["name"]: entry.get("value", "") for entry in container["env"]}


def told(cluster: FakeCluster, *artifacts: Known) -> dict[str, str] | None:
    """Return what the Job of the desired recipe is told, where others of its namespace have `artifacts`."""
    found = variables(decide(replace(cluster.observe(), artifacts=artifacts), cluster.settings))
    assert found[contract.STORE] == (cluster.spec.storage.uri if cluster.spec.storage else STORE)
    text = found.get(contract.KNOWN_ARTIFACTS)
    return None if text is None else json.loads(text)


def test_the_first_job_of_a_namespace_may_reuse_nothing() -> None:
    assert told(FakeCluster()) == {}


def test_a_job_may_reuse_what_its_namespace_names_in_its_own_repository() -> None:
    theirs = Known("theirs", OTHER_ARTIFACT, STORE)
    strangers = Known("strangers", OTHER_ARTIFACT, "oci://registry/models/strangers")
    assert told(FakeCluster(), theirs, strangers) == {"theirs": OTHER_ARTIFACT}


def test_of_two_artifacts_of_a_key_its_own_is_taken_and_then_the_newer() -> None:
    cluster = ready_cluster()
    cluster.edit(**EDIT)
    newer, older = (Known("twice", f"sha256:{digit * 64}", STORE) for digit in "de")
    found = told(cluster, Known("key", OTHER_ARTIFACT, STORE), newer, older)
    assert found == {"key": ARTIFACT, "twice": newer.digest}


def test_what_a_job_is_told_is_bounded() -> None:
    many = [Known(f"key-{number}", ARTIFACT, STORE) for number in range(1000)]
    assert list(told(FakeCluster(), *many) or ()) == sorted(each.key for each in many[: known.MOST])


def test_a_store_of_ones_own_is_asked_by_key() -> None:
    own = FakeCluster({**SPEC, "storage": {"uri": "oci://other/models"}})
    assert told(own, Known("key", ARTIFACT, "oci://other/models")) is None
    local = FakeCluster()
    local.settings = replace(SETTINGS, store="file:///layout")
    found = variables(local.plan())
    assert (found[contract.STORE], found.get(contract.KNOWN_ARTIFACTS)) == ("file:///layout", None)


def test_an_upgrade_from_one_repository_for_all_changes_nothing_and_edits_keep_the_artifact() -> None:
    cluster = FakeCluster({**SPEC, "storage": {"uri": "oci://registry/models"}})  # as the default was
    cluster.settle()
    cluster.job_succeeds()
    cluster.settle()
    cluster.roll_out()
    cluster.settle()
    cluster.edit(storage=None)
    cluster.settle()
    assert cluster.plan() == Plan()
    cluster.objects.pop(("Job", cluster.job_name()))
    assert cluster.plan() == Plan()
    cluster.edit(serving={"maxBatchSize": 8})
    assert not [step for step in cluster.settle() if "Job" in str(step)]
    (fetch,) = cluster.only("Deployment")["spec"]["template"]["spec"]["initContainers"]
    assert {"name": contract.STORE, "value": "oci://registry/models"} in fetch["env"]


@pytest.mark.parametrize(
    "data",
    [
        None,
        "text",
        {},
        {"artifactKey": "key", "artifactDigest": ARTIFACT},
        {"artifactKey": "key", "artifactDigest": ARTIFACT, "store": {"uri": 1}},
        {"artifactKey": "key", "artifactDigest": "sha256:a", "store": {"uri": STORE}},
        {"artifactKey": "a b", "artifactDigest": ARTIFACT, "store": {"uri": STORE}},
        {"artifactKey": ["key"], "artifactDigest": ARTIFACT, "store": {"uri": STORE}},
        {"artifactKey": "key", "artifactDigest": ARTIFACT, "store": {"uri": STORE + "x" * 1000}},
    ],
)
def test_what_is_not_well_formed_names_nothing(data: Any) -> None:
    assert known.of({"kind": "ControllerRevision", "metadata": {}, "data": data}) is None


def test_a_result_that_is_kept_on_a_job_names_its_artifact() -> None:
    cluster = ready_cluster()
    (job,) = cluster.observe().jobs
    assert known.of(job) == Known("key", ARTIFACT, STORE)


@pytest.mark.parametrize("text", ["", "{", "[]", "1", '{"artifactKey": "key"}', "[" * 200_000])
def test_a_result_that_is_not_well_formed_names_nothing(text: str) -> None:
    annotations = {names.RESULT_ANNOTATION: text}
    assert known.of({"kind": "Job", "metadata": {"annotations": annotations}}) is None
