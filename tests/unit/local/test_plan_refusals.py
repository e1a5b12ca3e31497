"""`modelpress plan` refuses what the operator refuses for good, in the operator's words."""

import json
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from modelpress import cli
from modelpress.api.validation import manifest
from modelpress.local.plan import SETTINGS
from modelpress.planning.children import objects
from modelpress.planning.plan import decide
from modelpress.planning.preview import preview
from modelpress.planning.types import Observed
from tests.support import manifest_table
from tests.support.hostile import random_manifests

ACCEPTED = (
    "",
    "worker: {env: [{name: A, value: null}], resources: {limits: null}}",
    "worker: {env: [{name: MODELPRESS_ACCESS_LOG, value: '1'}, {name: LD_PRELOAD, value: x.so}]}",
    "job: {env: [{name: A, valueFrom: {configMapKeyRef: {name: a, key: b}}}]}",
    "worker: {resources: {limits: {cpu: 1, memory: 1Gi}, requests: {cpu: 0.5}, claims: [{name: a}]}}",
    "job: {resources: {limits: {cpu: '1e1', memory: 1.5G}, requests: {memory: 129e6, cpu: 100m}}}",
)
POD, SPEC = "InvalidPodSettings", "InvalidSpec"
REFUSED = (
    ("worker: {env: [{name: MODELPRESS_PORT, value: '1'}]}", POD, "spec.worker.env: MODELPRESS_PORT"),
    ("job: {env: [{name: HOME, value: /x}]}", POD, "spec.job.env: HOME"),
    ("job: {env: [{name: TMPDIR}]}", POD, "spec.job.env: TMPDIR"),
    ("parallelism: {pipeline: 2, podsPerReplica: 2}", "NotSupportedYet", "spec.parallelism.podsPerReplica"),
    ("worker: {env: [{value: x}]}", SPEC, "spec.worker.env[0].name: None"),
    ("worker: {env: [{name: ''}]}", SPEC, "spec.worker.env[0].name: ''"),
    ("worker: {env: [{name: 'a=b'}]}", SPEC, "spec.worker.env[0].name: 'a=b'"),
    ("worker: {env: [{name: A}, {name: 1}]}", SPEC, "spec.worker.env[1].name: 1"),
    ("job: {env: [{name: A, value: 1}]}", SPEC, "spec.job.env[0].value: 1: needed is a string"),
    ("job: {env: [{name: A, value: [x]}]}", SPEC, "spec.job.env[0].value: ['x']: needed is a string"),
    ('job: {env: [{name: A, value: "x\\0"}]}', SPEC, "spec.job.env[0].value: 'x\\x00': needed is a string"),
    ("job: {env: [{name: A, valueFrom: b}]}", SPEC, "spec.job.env[0].valueFrom: needed is a map"),
    ("job: {env: [{name: A, value: b, valueFrom: {}}]}", SPEC, "spec.job.env[0].valueFrom: needed is a map"),
    ("worker: {resources: {limits: 5}}", SPEC, "spec.worker.resources.limits: 5: needed is a map"),
    ("worker: {resources: {limits: [a]}}", SPEC, "spec.worker.resources.limits: ['a']: needed is a map"),
    ("worker: {resources: {requests: a}}", SPEC, "spec.worker.resources.requests: 'a': needed is a map"),
    ("job: {resources: {limits: {cpu: [1]}}}", SPEC, "spec.job.resources.limits.cpu: [1]: needed is"),
    ("job: {resources: {limits: {cpu: true}}}", SPEC, "spec.job.resources.limits.cpu: True: needed is"),
    ("job: {resources: {limits: {memory: 1GB}}}", SPEC, "spec.job.resources.limits.memory: '1GB': needed is"),
    ("worker: {resources: {limits: {cpu: lots}}}", SPEC, "spec.worker.resources.limits.cpu: 'lots': needed"),
    ("worker: {resources: {requests: {cpu: -1}}}", SPEC, "spec.worker.resources.requests.cpu: -1: needed is"),
    (
        "worker: {resources: {limit: {cpu: 1}}}",
        SPEC,
        "spec.worker.resources.limit: unknown field; accepted are",
    ),
)


def stalled(body: dict[str, Any]) -> str | None:
    """Return what the operator says of a fresh resource that it cannot work on: `Reason: message`."""
    metadata = {"namespace": "default", "uid": "u", "generation": 1, **body["metadata"]}
    observed = Observed(resource={**body, "metadata": metadata}, now=datetime.now(UTC))
    planned = decide(observed, SETTINGS)
    assert planned.status is not None
    found = objects.condition({"status": planned.status}, "Stalled")
    assert found
    return f"{found['reason']}: {found['message']}" if found["status"] == "True" else None


def plan(text: str, folder: Path) -> tuple[int, str, bool]:
    path = folder / "manifest.yaml"
    path.write_text(text)
    result = CliRunner().invoke(cli.main, ["plan", "-f", str(path)])
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    return result.exit_code, "\n".join(errors).removeprefix(f"error: {path}: "), bool(result.stdout)


@pytest.mark.parametrize("spec", ACCEPTED)
def test_plan_prints_what_the_operator_works_on(spec: str, tmp_path: Path) -> None:
    text = manifest_table.manifest(spec=spec)
    (body,) = manifest.load(text)
    assert stalled(manifest.apply_defaults(body)) is None
    assert plan(text, tmp_path) == (0, "", True)


@pytest.mark.parametrize(("spec", "reason", "message"), REFUSED)
def test_plan_says_what_the_operator_says(spec: str, reason: str, message: str, tmp_path: Path) -> None:
    text = manifest_table.manifest(spec=spec)
    (body,) = manifest.load(text)
    said = stalled(manifest.apply_defaults(body))
    assert said
    assert said.startswith(f"{reason}: {message}")
    assert plan(text, tmp_path) == (64, said, False)


def test_plan_and_operator_agree_on_random_manifests(tmp_path: Path) -> None:
    source = random.Random(20260801)
    refused = accepted = 0
    for _ in range(100):
        body = random_manifests.body(source)
        if manifest.check(body).errors:
            continue
        complete = manifest.apply_defaults(body)
        said = stalled(complete)
        code, errors, printed = plan(json.dumps(body), tmp_path)
        assert (code, errors, printed) == ((64, said, False) if said else (0, "", True))
        refused += said is not None
        accepted += said is None
        if said is None:
            assert preview({**complete, "metadata": {"namespace": "d", **complete["metadata"]}}, SETTINGS)
    assert refused
    assert accepted
