"""What the operator destroys or keeps is decided on live truth: the adapter against a real API server."""

from dataclasses import replace
from typing import Any

import pytest

from modelpress.api import contract, names
from modelpress.controllers.cluster import Stale
from modelpress.planning.artifacts.jobs import pods_of
from modelpress.planning.children.objects import ref_to
from modelpress.planning.types import Mark, Ref
from tests.support.cluster.adapter import ClusterFixture
from tests.support.cluster.controlplane import wait_until


def test_only_the_object_that_was_seen_is_deleted(fixture: ClusterFixture) -> None:
    made = fixture.cluster.apply(fixture.job("digits-1"))
    fixture.look()
    fixture.cluster.delete(Ref("Job", fixture.namespace, "digits-1", "an-earlier-uid"))
    assert fixture.api.find("jobs", fixture.namespace, "digits-1")
    fixture.cluster.delete(Ref("Job", fixture.namespace, "digits-1", made["metadata"]["uid"]))
    with pytest.raises(Stale):
        fixture.cluster.observe(fixture.key)
    fixture.cluster.delete(Ref("Job", fixture.namespace, "digits-1", made["metadata"]["uid"]))
    assert fixture.observe().jobs == ()


def test_what_has_changed_since_it_was_seen_is_not_deleted(fixture: ClusterFixture) -> None:
    fixture.cluster.apply(fixture.job("digits-1"))
    (job,) = fixture.observe().jobs
    seen = ref_to(job, "Job")
    fixture.api.patch("jobs", fixture.namespace, "digits-1", {"metadata": {"labels": {"team": "vision"}}})
    with pytest.raises(Stale):
        fixture.cluster.delete(seen)
    (job,) = fixture.observe().jobs
    fixture.cluster.delete(ref_to(job, "Job"))
    assert fixture.observe().jobs == ()


def test_a_result_is_kept_on_the_job_and_takes_nothing_from_it(fixture: ClusterFixture) -> None:
    fixture.cluster.apply(fixture.job("digits-1"))
    fixture.api.patch("jobs", fixture.namespace, "digits-1", {"metadata": {"labels": {"team": "vision"}}})
    (before,) = fixture.observe().jobs
    text = "r" * contract.TERMINATION_MESSAGE_LIMIT
    fixture.cluster.annotate(Mark(ref_to(before, "Job"), {names.RESULT_ANNOTATION: text}))
    with pytest.raises(Stale):
        fixture.cluster.observe(fixture.key)
    (after,) = fixture.observe().jobs
    assert after["metadata"]["annotations"].pop(names.RESULT_ANNOTATION) == text
    assert after["metadata"]["labels"] == before["metadata"]["labels"]
    assert after["metadata"]["ownerReferences"] == before["metadata"]["ownerReferences"]
    assert after["spec"] == before["spec"]
    fixture.cluster.apply(fixture.job("digits-1"))  # nor does a second creation take it away
    (again,) = fixture.observe().jobs
    assert again["metadata"]["annotations"][names.RESULT_ANNOTATION] == text


@pytest.mark.parametrize("successor", [False, True])
def test_a_result_is_kept_on_no_other_job_and_makes_none(fixture: ClusterFixture, successor: bool) -> None:
    fixture.cluster.apply(fixture.job("digits-1"))
    (job,) = fixture.observe().jobs
    fixture.api.delete("jobs", fixture.namespace, "digits-1", propagationPolicy="Background")
    if successor:
        fixture.api.create("jobs", fixture.namespace, fixture.job("digits-1"))
    fixture.cluster.annotate(Mark(ref_to(job, "Job"), {names.RESULT_ANNOTATION: "{}"}))
    found = fixture.observe().jobs
    assert len(found) == successor
    assert all(names.RESULT_ANNOTATION not in (job["metadata"].get("annotations") or {}) for job in found)


def test_the_pods_of_a_job_are_read_live(fixture: ClusterFixture) -> None:
    for name in ("digits-1", "digits-2"):
        fixture.cluster.apply(fixture.job(name, suspend=False))
    observed = fixture.observe()
    job = next(job for job in observed.jobs if job["metadata"]["name"] == "digits-1")
    ref = ref_to(job, "Job")
    wait_until("a pod", lambda: fixture.api.list("pods", fixture.namespace, "job-name=digits-1"))
    live = fixture.cluster.read_live(replace(observed, pods=()), (ref,))
    assert live.live_jobs == {ref.uid}
    (pod,) = live.pods
    assert pod["kind"] == "Pod"
    assert pods_of(job, live) == (pod,)


@pytest.mark.parametrize(
    "edit", [{"spec": {"replicas": 3}}, {"metadata": {"annotations": {names.RETRY_ANNOTATION: "1"}}}, None]
)
def test_what_was_decided_for_an_older_modeldeployment_is_stale(
    fixture: ClusterFixture, edit: dict[str, Any] | None
) -> None:
    observed = fixture.observe()
    assert fixture.cluster.read_live(observed, ()) == observed
    if edit:
        fixture.api.patch("modeldeployments", fixture.namespace, "digits", edit)
    else:
        fixture.api.delete("modeldeployments", fixture.namespace, "digits")
        fixture.api.create("modeldeployments", fixture.namespace, fixture.resource())
    with pytest.raises(Stale):
        fixture.cluster.read_live(observed, ())
    assert fixture.cluster.read_live(fixture.observe(), ()).resource["metadata"]["name"] == "digits"
