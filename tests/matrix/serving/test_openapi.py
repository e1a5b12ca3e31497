"""The published OpenAPI document, and requests made from it, against real workers."""

from pathlib import Path
from typing import Any

import httpx
import jsonschema
import numpy as np
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from modelpress.serving.protocols import openapi
from modelpress.serving.protocols.base import Model
from modelpress.serving.signature import Signature, Tensor
from tests.support.serving.artifacts import Worker, worker

EXAMPLES = 500  # of each path
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]

sampled = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))


def requests_are_answered_as_documented(running: Worker) -> int:
    """Send requests that fit the document, and to each POST also some that do not; returns how many."""
    count = 0
    for found in schemathesis.openapi.from_url(f"{running.url}/openapi.json").get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()
        modes = [GenerationMode.POSITIVE]
        if operation.method == "post":
            modes.append(GenerationMode.NEGATIVE)
        for mode in modes:

            @sampled
            @given(case=operation.as_strategy(generation_mode=mode))
            def send(case: Any) -> None:
                nonlocal count
                count += 1
                case.call_and_validate(checks=CHECKS)

            send()
    return count


def test_requests_for_one_input_are_answered_as_documented(digits: Worker) -> None:
    assert requests_are_answered_as_documented(digits) > 8 * EXAMPLES
    assert digits.client.get("/v2/health/ready").status_code == 200


def test_requests_for_several_inputs_are_answered_as_documented(artifacts: Path, tmp_path: Path) -> None:
    with worker(artifacts / "integers-int8", tmp_path) as running:
        assert requests_are_answered_as_documented(running) > 8 * EXAMPLES


@pytest.mark.parametrize(("values", "shown"), [(1000, True), (1001, False)])
def test_rows_of_many_values_are_not_shown(values: int, shown: bool) -> None:
    tensors = tuple(
        Tensor(name, (-1, size), np.dtype("float32")) for name, size in (("x", 1), ("y", values - 1))
    )
    paths = openapi.document(Model("digits", "digits-1", "sha256:0", Signature(tensors, tensors)))["paths"]
    contents = [
        methods["post"]["requestBody"]["content"]["application/json"]
        for methods in paths.values()
        if "post" in methods
    ]
    assert [("example" in content) for content in contents] == [shown] * 4
    assert all("schema" in content for content in contents)


@pytest.mark.parametrize("model", ["seed-int8", "integers-int8", "two-float32", "lengths-float32"])
def test_the_examples_are_accepted_and_their_answers_are_as_documented(
    artifacts: Path, tmp_path: Path, model: str
) -> None:
    with worker(artifacts / model, tmp_path) as running:
        document = running.client.get("/openapi.json").json()
        assert document["openapi"] == "3.1.0"
        calls = [path for path, methods in document["paths"].items() if "post" in methods]
        assert len(calls) == 4
        for path in calls:
            content = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
            jsonschema.Draft202012Validator(content["schema"]).validate(content["example"])
            check(document, path, "post", running.client.post(path, json=content["example"]))
        for path in set(document["paths"]) - set(calls):
            check(document, path, "get", running.client.get(path))


def check(document: Any, path: str, method: str, response: httpx.Response) -> None:
    assert response.status_code == 200, f"{path}: {response.text}"
    content = document["paths"][path][method]["responses"]["200"]["content"]
    kind = response.headers["content-type"].partition(";")[0]
    assert kind in content, path
    if kind == "application/json":
        schema = {**content[kind]["schema"], "components": document["components"]}
        jsonschema.Draft202012Validator(schema).validate(response.json())
