"""The types of the spec: frozen, camelCase, tolerant of newer fields."""

import pytest
from pydantic import ValidationError

from modelpress.api.schemes import DeviceType
from modelpress.api.spec import Spec

MODEL = {"uri": "s3://models/digits.keras"}


def test_the_smallest_spec_has_every_default() -> None:
    spec = Spec.model_validate({"model": MODEL})
    assert spec.devices.type is DeviceType.GPU
    assert spec.replicas == 1
    assert spec.serving.max_batch_size == 32
    assert spec.serving.drain_seconds == 10
    assert spec.strategy.rolling_update is None
    assert spec.compression is None


def test_fields_of_a_newer_release_are_ignored() -> None:
    spec = Spec.model_validate({"model": {**MODEL, "format": "new"}, "mirror": {"of": "other"}})
    assert spec == Spec.model_validate({"model": MODEL})


def test_a_spec_cannot_be_changed() -> None:
    spec = Spec.model_validate({"model": MODEL})
    with pytest.raises(ValidationError, match="frozen"):
        spec.replicas = 2  # type: ignore[misc]


def test_the_wire_form_holds_only_what_differs_from_the_defaults() -> None:
    wire = {
        "model": {**MODEL, "secretRef": {"name": "s3"}},
        "evaluation": {"metric": "R2", "minScore": "92%"},
        "strategy": {"rollingUpdate": {"maxSurge": "25%"}},
        "worker": {"env": [{"name": "A", "value": None}], "resources": {"limits": {"cpu": 1}}},
    }
    given = {**wire, "replicas": 1, "devices": {"type": "GPU"}, "suspend": False}
    assert Spec.model_validate(given).to_wire()["strategy"] == wire["strategy"]
    assert Spec.model_validate(given).to_wire().keys() == wire.keys()
    assert Spec.model_validate(Spec.model_validate(given).to_wire()) == Spec.model_validate(given)


def test_an_int_or_string_stays_what_it_was() -> None:
    update = {"maxSurge": "25%", "maxUnavailable": 3}
    spec = Spec.model_validate({"model": MODEL, "strategy": {"rollingUpdate": update}})
    assert spec.strategy.rolling_update is not None
    assert spec.strategy.rolling_update.max_surge == "25%"
    assert spec.strategy.rolling_update.max_unavailable == 3


def test_names_of_python_are_accepted_in_code() -> None:
    spec = Spec.model_validate({"model": MODEL, "evaluation": {"max_size": "1Mi"}})
    assert spec.evaluation is not None
    assert spec.evaluation.metric is None
    assert spec.evaluation.max_size == "1Mi"
