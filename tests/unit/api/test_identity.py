"""The identities: which edits change the recipe, which the revision, and which neither."""

from copy import deepcopy
from typing import Any

import pytest

from modelpress.api.crd import root_schema
from modelpress.api.identity import digest, recipe, recipe_hash, revision_hash
from modelpress.api.spec import Spec
from modelpress.api.validation import manifest

ARTIFACT = "sha256:" + "0" * 64
FULL: dict[str, Any] = {
    "model": {"uri": "s3://models/digits.keras", "version": "1"},
    "data": {"evaluation": {"uri": "s3://data/eval.npz"}, "training": {"uri": "s3://data/train.npz"}},
    "compression": {"quantization": {"scheme": "Int8Dynamic"}, "pruning": {"sparsity": "50%"}},
    "optimization": {"weightClipping": {"min": "-1", "max": "1"}},
    "evaluation": {"metric": "Accuracy", "minScore": "90%"},
    "parallelism": {"data": 2},
    "devices": {"type": "CPU"},
    "serving": {"maxBatchSize": 16},
    "strategy": {"type": "Recreate"},
    "storage": {"uri": "oci://registry.example.com/models"},
    "worker": {"labels": {"team": "a"}},
    "job": {"backoffLimit": 1},
}
AUTO = {**FULL, "compression": {"quantization": {"scheme": "Auto"}}}


def edited(base: dict[str, Any], path: str, value: Any) -> Spec:
    body = deepcopy(base)
    *parents, name = path.split(".")
    target = body
    for parent in parents:
        target = target.setdefault(parent, {})
    target[name] = value
    return Spec.model_validate(body)


def hashes(spec: Spec) -> tuple[str, str]:
    return recipe_hash(spec), revision_hash(spec, ARTIFACT, None)


RECIPE = [
    ("model.uri", "s3://models/other.keras"),
    ("model.version", "2"),
    ("model.sha256", "0" * 64),
    ("model.secretRef", {"name": "s3"}),
    ("data.evaluation.uri", "s3://data/other.npz"),
    ("data.calibration", {"uri": "s3://data/c.npz"}),
    ("compression.quantization.scheme", "Float16"),
    ("compression.pruning.sparsity", "60%"),
    ("compression.pruning.granularity", "Channel"),
    ("compression", None),
    ("optimization.weightClipping.min", "-2"),
    ("optimization.fineTuning", {"epochs": 1}),
    ("devices.type", "GPU"),
    ("evaluation.metric", "R2"),
    ("evaluation.metric", None),
    ("evaluation.threshold", "0.3"),
    ("evaluation.outputs", [{"name": "a", "metric": "R2"}]),
]
REVISION = [
    ("parallelism.data", 4),
    ("parallelism.pipeline", 2),
    ("devices.resourceName", "example.com/slot"),
    ("serving.maxBatchSize", 8),
    ("serving.requestTimeoutSeconds", 5),
    ("serving.drainSeconds", 0),
    ("serving.maxInputLength", 512),
    ("worker.labels", {"team": "b"}),
    ("worker.env", [{"name": "A", "value": "1"}]),
    ("worker.image", "registry.example.com/worker:2"),
    ("worker.topologySpreadConstraints", []),
    ("worker.resourceClaims", [{"name": "gpu", "resourceClaimTemplateName": "gpu"}]),
    ("worker", None),
]
NEITHER = [
    ("evaluation.minScore", "95%"),
    ("evaluation.maxDrop", "1%"),
    ("evaluation.maxSize", "1Mi"),
    ("replicas", 7),
    ("strategy.type", "RollingUpdate"),
    ("strategy.rollingUpdate", {"maxSurge": 2}),
    ("service.type", "LoadBalancer"),
    ("service.annotations", {"a": "b"}),
    ("progressDeadlineSeconds", 60),
    ("suspend", True),
    ("job.backoffLimit", 5),
    ("job.labels", {"kueue.x-k8s.io/queue-name": "team"}),
    ("job.env", [{"name": "A", "value": "1"}]),
    ("storage.uri", "oci://registry.example.com/other"),
    ("storage.secretRef", {"name": "registry"}),
]


@pytest.mark.parametrize(("path", "value"), RECIPE, ids=[path for path, _ in RECIPE])
def test_an_edit_of_the_recipe_makes_a_new_job_and_a_new_revision(path: str, value: Any) -> None:
    before, after = hashes(Spec.model_validate(FULL)), hashes(edited(FULL, path, value))
    assert after[0] != before[0]
    assert after[1] != before[1]


@pytest.mark.parametrize(("path", "value"), REVISION, ids=[path for path, _ in REVISION])
def test_an_edit_of_the_worker_makes_a_new_revision_without_a_job(path: str, value: Any) -> None:
    before, after = hashes(Spec.model_validate(FULL)), hashes(edited(FULL, path, value))
    assert after[0] == before[0]
    assert after[1] != before[1]


@pytest.mark.parametrize(("path", "value"), NEITHER, ids=[path for path, _ in NEITHER])
def test_an_edit_that_is_applied_at_once_makes_neither(path: str, value: Any) -> None:
    assert hashes(edited(FULL, path, value)) == hashes(Spec.model_validate(FULL))


@pytest.mark.parametrize("path", ["evaluation.minScore", "evaluation.maxDrop", "evaluation.maxSize"])
def test_with_auto_the_limits_belong_to_the_recipe(path: str) -> None:
    value = "5Mi" if path.endswith("Size") else "5%"
    assert recipe_hash(edited(AUTO, path, value)) != recipe_hash(Spec.model_validate(AUTO))


def test_limits_of_outputs_are_applied_at_once_and_their_order_is_nothing() -> None:
    first, second = {"name": "a", "metric": "R2"}, {"name": "b"}
    listed = hashes(edited(FULL, "evaluation.outputs", [first, second]))
    assert listed == hashes(edited(FULL, "evaluation.outputs", [second, {**first, "minScore": "90%"}]))
    assert listed != hashes(edited(FULL, "evaluation.outputs", [{"name": "a", "metric": "F1"}, second]))


def test_a_metric_that_was_once_the_default_is_no_limit_of_auto() -> None:
    """`metric: Accuracy` stood in no hash of the limits, because it was their default."""
    assert recipe(Spec.model_validate(AUTO))["evaluation"] == {"minScore": "90%"}


def test_every_field_of_the_spec_is_in_one_of_the_lists() -> None:
    named = {path.split(".")[0] for path, _ in [*RECIPE, *REVISION, *NEITHER]}
    assert named == set(root_schema()["properties"]["spec"]["properties"])


def test_writing_out_every_default_changes_no_hash() -> None:
    for spec in (FULL, AUTO, {"model": {"uri": "s3://m/m"}}, {**FULL, "evaluation": {"minScore": "90%"}}):
        body = {"apiVersion": "modelpress.dev/v1alpha1", "kind": "ModelDeployment", "spec": spec}
        defaulted = manifest.apply_defaults(body)["spec"]
        assert defaulted != spec
        assert hashes(Spec.model_validate(defaulted)) == hashes(Spec.model_validate(spec))


def test_a_field_of_a_newer_release_changes_no_hash() -> None:
    assert hashes(edited(FULL, "model.format", "new")) == hashes(Spec.model_validate(FULL))


def test_the_order_of_keys_changes_no_hash() -> None:
    turned = {key: FULL[key] for key in reversed(FULL)}
    assert hashes(Spec.model_validate(turned)) == hashes(Spec.model_validate(FULL))


def test_another_artifact_or_restart_is_another_revision() -> None:
    spec = Spec.model_validate(FULL)
    found = {
        revision_hash(spec, ARTIFACT, None),
        revision_hash(spec, "sha256:" + "1" * 64, None),
        revision_hash(spec, ARTIFACT, "2026-01-31T00:00:00Z"),
    }
    assert len(found) == 3


def test_hashes_are_those_of_earlier_releases() -> None:
    """A release that changes these restarts every ModelDeployment of its users."""
    assert hashes(Spec.model_validate(FULL)) == (
        "0570e71c3ec8cde3e549589ea462250c0e9cab8945cf7c64e12ac4dd89f0e4b6",
        "04788810197ee5d902688af385fff5943c423b723b5dddaf488cd0a59e8561db",
    )


def test_a_digest_is_sha256_of_canonical_json() -> None:
    assert digest({"b": 1, "a": "ä"}) == digest({"a": "ä", "b": 1})
    assert digest({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
