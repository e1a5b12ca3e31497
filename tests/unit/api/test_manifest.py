"""Checking a manifest without a cluster; e2e/cluster/test_api.py proves the same on a real API server."""

from typing import Any

import pytest

from modelpress.api.crd import RULES, root_schema
from modelpress.api.spec import Spec
from modelpress.api.validation import manifest
from tests.support.hostile.bounds import Breach, breaches
from tests.support.manifest_table import GPU, Row, rows
from tests.support.manifest_table import manifest as text_of

TABLE = rows()
BREACHES = breaches()


def body(spec: str, base: str | None = None) -> dict[str, Any]:
    text = text_of(spec=spec) if base is None else text_of(spec=spec, base=base)
    return manifest.load(text)[0]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.title)
def test_the_verdict_is_that_of_the_table(row: Row) -> None:
    (loaded,) = manifest.load(row.text)
    assert set(manifest.check(loaded).errors) == set(row.errors)


@pytest.mark.parametrize("breach", BREACHES, ids=lambda breach: breach.bound)
def test_each_bound_is_enforced(breach: Breach) -> None:
    assert breach.error in manifest.check(breach.body).errors


def test_the_bounds_cover_the_schema() -> None:
    paths = {breach.bound for breach in BREACHES}
    assert {
        "spec.replicas maximum",
        "spec.worker.imagePullSecrets maxItems",
        "spec.job.labels maxProperties",
    } <= paths
    assert len(paths) > 100


def test_the_table_holds_every_rule_of_the_crd() -> None:
    said = "\n".join(error for row in TABLE for error in row.errors)
    missing = [message for message in _messages(root_schema()) if message not in said]
    assert missing == []


def _messages(schema: dict[str, Any]) -> set[str]:
    found = {rule["message"] for rule in schema.get(RULES, ())}
    for below in schema.get("properties", {}).values():
        found |= _messages(below)
    return found


def test_titles_are_unique() -> None:
    assert len({row.title for row in TABLE}) == len(TABLE)


def test_a_body_that_is_only_of_the_wrong_shape_says_that_rules_were_not_checked() -> None:
    verdict = manifest.check(body("evaluation: {metric: Acc}"))
    assert verdict.warnings == ("some validation rules were not checked because the object was invalid",)
    assert manifest.check(body("replicas: 1")).warnings == ()


def test_a_typo_is_answered_with_the_nearest_field() -> None:
    verdict = manifest.check(body("evaluation: {minscore: 92%}\nworker: {imagePullSecrets: [{nmae: a}]}"))
    assert verdict.warnings == (
        "spec.evaluation.minscore: did you mean minScore?",
        "spec.worker.imagePullSecrets[0].nmae: did you mean name?",
    )


@pytest.mark.parametrize(
    "uri", ["models/digits.keras", "../digits.keras", "file:///tmp/digits.keras", "digits"]
)
def test_local_mode_takes_paths_for_models_and_data(uri: str) -> None:
    sources = f"model: {{uri: {uri}}}\ndata: {{evaluation: {{uri: {uri}}}}}\nevaluation: {{minScore: 9%}}"
    assert manifest.check(body(sources), local=True).errors == ()
    assert len(manifest.check(body(sources)).errors) == 2


def test_local_mode_changes_neither_the_body_nor_other_fields() -> None:
    given = body("model: {uri: digits.keras}\nstorage: {uri: models}")
    before = repr(given)
    (error,) = manifest.check(given, local=True).errors
    assert error.startswith("spec.storage.uri: ")
    assert repr(given) == before


def test_local_mode_refuses_other_schemes_as_the_server_does() -> None:
    (error,) = manifest.check(body("model: {uri: ftp://host/m}"), local=True).errors
    assert error.startswith("spec.model.uri: ")


@pytest.mark.parametrize("spec", [None, [], "text", {"model": None}, {"model": []}, {"data": [], "model": 1}])
def test_no_shape_of_a_spec_is_an_internal_error(spec: Any) -> None:
    given = {"apiVersion": "modelpress.dev/v1alpha1", "kind": "ModelDeployment", "metadata": {"name": "a"}}
    for local in (False, True):
        assert manifest.check({**given, "spec": spec}, local=local).errors


def test_metadata_of_a_wrong_type_is_one_line() -> None:
    given = body("")
    strange: list[Any] = [[], "digits", {"name": []}, {"name": "a", "labels": []}]
    for metadata in strange:
        (error,) = manifest.check({**given, "metadata": metadata}).errors
        assert error.startswith("json: cannot unmarshal ")


def test_defaults_are_filled_in_as_the_server_does() -> None:
    given = body("strategy: {type: Recreate}\nserving: {maxBatchSize: 8}\nreplicas: null", base=GPU)
    filled = manifest.apply_defaults(given)
    assert filled["spec"] == {
        "model": {"uri": "s3://models/digits.keras"},
        "service": {"type": "ClusterIP"},
        "strategy": {"type": "Recreate"},
        "serving": {
            "maxBatchSize": 8,
            "maxBatchDelayMilliseconds": 0,
            "requestTimeoutSeconds": 30,
            "maxRequestBytes": "64Mi",
            "drainSeconds": 10,
        },
        "parallelism": {"data": 1, "tensor": 1, "pipeline": 1, "podsPerReplica": 1},
        "devices": {"type": "GPU"},
        "replicas": 1,
        "progressDeadlineSeconds": 600,
        "suspend": False,
    }
    assert filled["status"] == {"observedGeneration": -1}
    assert "serving" in given["spec"]
    assert given["spec"]["replicas"] is None


def test_the_defaults_of_the_schema_are_those_of_the_types() -> None:
    filled = manifest.apply_defaults(body("worker: {}\njob: {}", base=GPU))
    bare = {"model": {"uri": "s3://models/digits.keras"}, "worker": {}, "job": {}}
    assert Spec.model_validate(filled["spec"]) == Spec.model_validate(bare)


def test_free_fields_keep_their_nulls_and_unknown_names() -> None:
    filled = manifest.apply_defaults(
        body("worker: {affinity: {podAffinity: null}, env: [{name: A, value: null}]}")
    )
    assert filled["spec"]["worker"] == {
        "affinity": {"podAffinity": None},
        "env": [{"name": "A", "value": None}],
    }
