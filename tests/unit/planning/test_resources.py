"""Limits and requests that follow from the model where nobody sets them."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from modelpress.api.spec import Spec
from modelpress.planning.artifacts.artifact import Artifact, StoreLocation
from modelpress.planning.children.drift import _quantity
from modelpress.planning.render.pod import worker_template
from modelpress.planning.render.resources import of_job, of_worker
from modelpress.planning.types import Observed
from modelpress.planning.view import View
from tests.unit.planning.fake_cluster import ARTIFACT, SETTINGS, SOURCE, SPEC

MIB = 2**20
OF_100_MIB = Artifact(
    "recipe", SOURCE, ARTIFACT, StoreLocation("oci://registry/models"), compressed_bytes=100 * MIB
)


def view(**fields: Any) -> View:
    observed = Observed({"metadata": {"name": "digits"}}, now=datetime.now(UTC))
    return View(observed, SETTINGS, Spec.model_validate({**SPEC, **fields}))


def scheme(name: str) -> dict[str, Any]:
    return {"quantization": {"scheme": name}}


def limit(name: str, artifact: Artifact = OF_100_MIB, **fields: Any) -> int:
    """Return a limit of a worker in MiB."""
    found = _quantity((of_worker(view(**fields), artifact) or {})["limits"][name])
    assert found is not None
    return int(found) // MIB


@pytest.mark.parametrize(
    ("fields", "megabytes"),
    [
        ({}, 256 + 512 + 512 + 200),  # process, batch, requests, the file and its packed copy
        ({"compression": scheme("Float16")}, 256 + 512 + 512 + 400),
        ({"compression": scheme("Int8Weights")}, 256 + 512 + 512 + 900),
        ({"compression": None}, 256 + 512 + 512 + 200),
        ({"serving": {"maxBatchSize": 1}}, 256 + 512 + 512 + 200),
        ({"serving": {"maxBatchSize": 33}}, 256 + 528 + 512 + 200),
        ({"serving": {"maxBatchSize": 256}, "parallelism": {"data": 2}}, 256 + 2 * 4096 + 512 + 300),
        ({"parallelism": {"data": 2}}, 256 + 1024 + 512 + 300),
        ({"parallelism": {"pipeline": 2}}, 256 + 512 + 512 + 400),
        ({"serving": {"maxRequestBytes": "1Mi"}}, 256 + 512 + 8 + 200),
        ({"devices": {"type": "GPU"}, "compression": None}, 5 * 1024 + 512 + 512 + 200),
        (
            {
                "devices": {"type": "GPU"},
                "compression": scheme("Int4Weights"),
                "parallelism": {"data": 2, "tensor": 2},
            },
            8 * 1024 + 1024 + 512 + 1700,
        ),
    ],
)
def test_memory_of_a_worker_follows_the_artifact_and_its_copies(
    fields: dict[str, Any], megabytes: int
) -> None:
    assert limit("memory", **fields) == megabytes


def test_storage_of_a_worker_holds_what_an_interrupted_fetch_left_and_the_next_brings() -> None:
    assert limit("ephemeral-storage") == 1024 + 3 * 100
    spec = worker_template(view(), OF_100_MIB, "digits-1", "worker:1")["spec"]
    assert spec["volumes"][0] == {"name": "work", "emptyDir": {"sizeLimit": "1324Mi"}}


def test_the_container_that_fetches_has_the_limits_of_the_worker_and_no_device() -> None:
    slot = {"type": "CPU", "resourceName": "example.com/slot"}
    spec = worker_template(view(devices=slot), OF_100_MIB, "digits-1", "worker:1")["spec"]
    fetch, worker = spec["initContainers"][0]["resources"], spec["containers"][0]["resources"]
    assert worker["limits"] == {**fetch["limits"], "example.com/slot": "1"}
    assert worker["requests"] == {**fetch["requests"], "example.com/slot": "1"}


def test_the_size_of_an_artifact_that_is_lost_sets_no_limit() -> None:
    unknown = replace(OF_100_MIB, compressed_bytes=None)
    assert of_worker(view(), unknown) is None
    spec = worker_template(view(), unknown, "digits-1", "worker:1")["spec"]
    assert spec["volumes"][0] == {"name": "work", "emptyDir": {}}


@pytest.mark.parametrize("device", ["CPU", "GPU"])
@pytest.mark.parametrize("size", [0, 1, 10 * 2**30])
def test_no_request_is_above_its_limit(device: str, size: int) -> None:
    sized = replace(OF_100_MIB, compressed_bytes=size)
    smallest = {"maxRequestBytes": "1"}
    seen = view(devices={"type": device}, compression=None, serving=smallest)
    for granted in (of_worker(seen, sized), of_job(seen)):
        assert granted is not None
        for name, amount in granted["limits"].items():
            limit_, request = _quantity(amount), _quantity(granted["requests"][name])
            assert limit_ is not None
            assert request is not None
            assert 0 < request <= limit_


def test_storage_that_a_person_sets_is_the_size_of_the_volume() -> None:
    own = {"resources": {"limits": {"ephemeral-storage": "3Gi"}}}
    spec = worker_template(view(worker=own), OF_100_MIB, "digits-1", "worker:1")["spec"]
    assert spec["volumes"][0] == {"name": "work", "emptyDir": {"sizeLimit": "3Gi"}}
