"""The memory of failures: what each row of its table does, and which row goes first."""

from dataclasses import replace

import pytest

from modelpress.api import names
from modelpress.api.status import Failure, RevisionReference
from modelpress.planning.artifacts.artifact import Artifact, StoreLocation
from modelpress.planning.rollouts import failures
from modelpress.planning.rollouts.failures import Findings, remembered
from modelpress.planning.rollouts.revisions import Revision
from modelpress.planning.view import View
from tests.unit.planning.fake_cluster import ARTIFACT, SETTINGS, SOURCE, FakeCluster

NEW = Failure(recipe_hash="new", reason="JobFailed", message="no")
CURRENT = RevisionReference(name="digits-old")


def _view(failed: Failure | None, retry: str | None = None) -> View:
    cluster = FakeCluster()
    cluster.resource["status"] |= {"current": {"name": CURRENT.name}}
    if failed:
        cluster.resource["status"]["failed"] = failed.model_dump(by_alias=True, exclude_none=True)
    if retry is not None:
        cluster.annotate(names.RETRY_ANNOTATION, retry)
    return View(cluster.observe(), SETTINGS, cluster.spec)


RECIPE = Failure(recipe_hash=_view(None).recipe_hash, reason="InvalidModel", message="no")
REVISION = Failure(recipe_hash=RECIPE.recipe_hash, revision_hash="hash", reason="RolloutFailed", message="no")
DESIRED = Revision(
    name="digits-new",
    revision_hash="hash",
    number=2,
    artifact=Artifact(str(RECIPE.recipe_hash), SOURCE, ARTIFACT, StoreLocation("oci://registry/models")),
    worker_image="worker:1",
    template={},
)


def _found(failed: Failure | None, retry: str | None = None) -> Findings:
    """Return a step that finds out nothing."""
    return Findings(_view(failed, retry), None, blocked=False, job=False, desired=None, current=CURRENT)


@pytest.mark.parametrize("failed", [None, RECIPE, REVISION])
def test_the_memory_stays_where_nothing_happens_or_nothing_may_be_tried(failed: Failure | None) -> None:
    assert remembered(_found(failed)) == failed
    moved = replace(_found(failed, "1"), blocked=True, job=True, current=RevisionReference(name="digits-new"))
    assert remembered(replace(moved, desired=DESIRED)) == failed


@pytest.mark.parametrize("failed", [None, RECIPE, REVISION])
def test_a_new_failure_takes_the_place_of_any_other_and_a_new_revision_that_serves_ends_all(
    failed: Failure | None,
) -> None:
    moved = replace(_found(failed), current=RevisionReference(name="digits-new"))
    assert remembered(moved) is None
    assert remembered(replace(moved, failure=NEW, blocked=True)) == NEW


def test_a_failed_recipe_is_forgotten_when_its_job_runs_again_or_its_artifact_passes() -> None:
    assert remembered(_found(RECIPE, "1")) == RECIPE
    assert remembered(replace(_found(RECIPE), job=True)) == RECIPE
    assert remembered(replace(_found(RECIPE, "1"), job=True)) is None
    assert remembered(replace(_found(RECIPE), desired=DESIRED)) is None
    other = RECIPE.model_copy(update={"recipe_hash": "other"})
    assert remembered(replace(_found(other, "1"), job=True, desired=DESIRED)) == other


def test_a_failed_revision_is_forgotten_only_when_it_is_tried_again() -> None:
    assert remembered(replace(_found(REVISION), desired=DESIRED)) == REVISION
    assert remembered(replace(_found(REVISION, "1"), job=True)) == REVISION
    assert remembered(replace(_found(REVISION, "1"), desired=DESIRED)) is None
    other = replace(DESIRED, revision_hash="other")
    assert remembered(replace(_found(REVISION, "1"), desired=other)) == REVISION


def test_a_job_is_forbidden_by_its_recipe_s_failure_and_a_rollout_by_its_revision_s() -> None:
    assert failures.blocking_recipe(_view(RECIPE)) == RECIPE
    assert failures.blocking_recipe(_view(RECIPE, "1")) is None
    assert failures.blocking_recipe(_view(REVISION)) is None
    for reason in ("EvaluationFailed", "SourceUnavailable", "StoreUnavailable"):
        assert failures.blocking_recipe(_view(RECIPE.model_copy(update={"reason": reason}))) is None
    assert failures.blocking_revision(_view(REVISION), DESIRED) == REVISION
    assert failures.blocking_revision(_view(REVISION, "1"), DESIRED) is None
    assert failures.blocking_revision(_view(RECIPE), DESIRED) is None
