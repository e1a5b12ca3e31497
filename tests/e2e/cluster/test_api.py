"""The CRD on a real API server: the same verdicts as without one, explanations, defaults and /scale."""

import json
import random
import re
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from modelpress.api.crd import root_schema
from modelpress.api.validation import manifest
from tests.support.cluster.api import Api, ApiError, path
from tests.support.cluster.controlplane import ControlPlane
from tests.support.hostile import random_manifests
from tests.support.hostile.bounds import breaches
from tests.support.manifest_table import Row, rows
from tests.support.manifest_table import manifest as text_of
from tests.support.servers.binaries import PROGRAMS
from tests.support.yaml_scalars import SCALARS

Words = Callable[[Iterable[str]], frozenset[str]]

pytestmark = pytest.mark.usefixtures("crd")

# What the API server adds, each beside an error that says the same: the scale subresource looks at replicas
# again, and a note tells that CEL rules were skipped.
NOTES = ("<nil>: ", ".spec.replicas: ")


def field_errors(status: dict[str, Any]) -> set[str]:
    """Return the lines of a refusal: `path: message` of each cause, or each unknown field."""
    causes = status.get("details", {}).get("causes", [])
    lines = {f"{cause['field']}: {cause['message']}" for cause in causes}
    _, strict, unknown = status["message"].partition("strict decoding error: ")
    if strict:
        lines |= set(unknown.split(", "))
    return {line for line in lines if not line.startswith(NOTES)}


def dry_run(admin: Api, namespace: str, body: dict[str, Any]) -> set[str]:
    """Create without persisting, unknown fields refused; return what the API server says against it."""
    where = path("modeldeployments", namespace)
    try:
        admin.request("POST", where, body, dryRun="All", fieldValidation="Strict")
    except ApiError as error:
        return field_errors(json.loads(str(error).partition(": ")[2]))
    return set()


@pytest.fixture(scope="module")
def words(control_plane: ControlPlane) -> Words:
    """Return what is compared of lines: all of them in the release whose words are ours."""
    version = control_plane.admin.request("GET", "/version")["gitVersion"]
    return frozenset if version == PROGRAMS["controlplane"].version else fields_of


def fields_of(lines: Iterable[str]) -> frozenset[str]:
    """Return the fields that lines are about: each release has words of its own for them."""
    return frozenset(line.partition(": ")[0] for line in lines)


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.title)
def test_kubectl_gives_the_verdict_of_the_table(control_plane: ControlPlane, row: Row, words: Words) -> None:
    done = control_plane.kubectl("create", "--dry-run=server", "-f", "-", input=row.text, check=False)
    assert (done.returncode == 0) == (not row.errors), done.stderr
    if " is invalid:" in done.stderr:
        assert words(printed_errors(done.stderr)) == words(row.errors)
    else:
        for error in row.errors:
            assert error in done.stderr


def printed_errors(text: str) -> set[str]:
    """Return the lines that kubectl prints of an Invalid answer, one or a list."""
    found = text.partition(" is invalid:")[2].strip().splitlines()
    return {line.removeprefix("* ") for line in found if not line.removeprefix("* ").startswith(NOTES)}


def test_every_bound_is_enforced_with_the_same_words(control_plane: ControlPlane, words: Words) -> None:
    for breach in breaches():
        said = words(dry_run(control_plane.admin, "default", breach.body))
        assert words([breach.error]) <= said, breach.bound
        assert said == words(manifest.check(breach.body).errors), breach.bound


def test_random_manifests_get_the_same_verdict_in_the_same_words(
    control_plane: ControlPlane, words: Words
) -> None:
    source = random.Random(20260131)
    count = 1000
    accepted = 0
    for _ in range(count):
        body = random_manifests.body(source)
        said = dry_run(control_plane.admin, "default", body)
        expected = words(without_faults(manifest.check(body).errors))
        assert words(without_faults(said)) == expected, json.dumps(body)
        accepted += not said
    assert 0 < accepted < count


def without_faults(lines: Iterable[str]) -> set[str]:
    """Leave out how a rule's evaluation failed, such as by an overflow: each CEL has its own words."""
    return {re.sub(r": [^:]+ evaluating rule: ", ": evaluating rule: ", line) for line in lines}


def test_defaults_are_those_that_the_server_fills_in(control_plane: ControlPlane, namespace: str) -> None:
    (body,) = manifest.load(text_of(spec="worker: {}\njob: {}\nstrategy: {rollingUpdate: {maxSurge: 2}}"))
    control_plane.admin.create("modeldeployments", namespace, body)
    read = control_plane.admin.get("modeldeployments", namespace, "digits")
    expected = manifest.apply_defaults(body)
    assert read["spec"] == expected["spec"]
    assert read["status"] == expected["status"] == {"observedGeneration": -1}


def test_kubectl_explain_prints_every_description(control_plane: ControlPlane) -> None:
    shown = control_plane.kubectl("explain", "mdep.spec", "--recursive=false").stdout
    flat = " ".join(shown.split())
    for name, field in root_schema()["properties"]["spec"]["properties"].items():
        assert name in flat
        assert " ".join(field["description"].split()) in flat
    deep = control_plane.kubectl("explain", "modeldeployment.spec.compression.quantization.scheme").stdout
    assert "Auto measures the candidates" in deep
    assert "Int4Dynamic" in deep
    status = control_plane.kubectl("explain", "mdep.status.conditions").stdout
    assert "Fields whose name" not in status
    assert "When the status last changed" in status


def test_scale_reads_and_writes_a_resource_that_never_named_replicas(
    control_plane: ControlPlane, namespace: str
) -> None:
    control_plane.kubectl("create", "-n", namespace, "-f", "-", input=text_of())
    admin = control_plane.admin
    where = path("modeldeployments", namespace, "digits", "scale")
    assert admin.request("GET", where)["spec"] == {"replicas": 1}
    control_plane.kubectl("scale", "-n", namespace, "mdep/digits", "--replicas=3")
    assert admin.get("modeldeployments", namespace, "digits")["spec"]["replicas"] == 3
    scale = admin.request("GET", where)
    scale["spec"]["replicas"] = 0
    assert admin.request("PUT", where, scale)["spec"] == {}  # as JSON, 0 is left out
    assert admin.get("modeldeployments", namespace, "digits")["spec"]["replicas"] == 0


def test_scale_tells_the_autoscaler_what_the_status_says(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.kubectl("create", "-n", namespace, "-f", "-", input=text_of())
    status = {"replicas": 2, "selector": "modelpress.dev/name=digits,modelpress.dev/role=entry"}
    control_plane.admin.patch("modeldeployments", namespace, "digits", {"status": status}, "status")
    scale = control_plane.admin.request("GET", path("modeldeployments", namespace, "digits", "scale"))
    assert scale["status"] == status


@pytest.mark.parametrize("replicas", [-1, 10001])
def test_scale_keeps_to_the_bounds(control_plane: ControlPlane, namespace: str, replicas: int) -> None:
    control_plane.kubectl("create", "-n", namespace, "-f", "-", input=text_of())
    where = path("modeldeployments", namespace, "digits", "scale")
    scale = control_plane.admin.request("GET", where)
    scale["spec"]["replicas"] = replicas
    with pytest.raises(ApiError, match=r"spec\.replicas"):
        control_plane.admin.request("PUT", where, scale)


def test_a_write_of_the_status_leaves_the_generation_and_keeps_one_condition_of_a_type(
    control_plane: ControlPlane, namespace: str
) -> None:
    admin = control_plane.admin
    control_plane.kubectl("create", "-n", namespace, "-f", "-", input=text_of())
    condition = {
        "type": "Ready",
        "status": "True",
        "reason": "Available",
        "message": "",
        "lastTransitionTime": "2026-01-31T00:00:00Z",
        "observedGeneration": 1,
    }
    status: dict[str, Any] = {"observedGeneration": 1, "conditions": [condition]}
    written = admin.patch("modeldeployments", namespace, "digits", {"status": status}, "status")
    assert written["metadata"]["generation"] == 1
    assert written["status"] == status
    twice = {"status": {"conditions": [condition, condition]}}
    with pytest.raises(ApiError, match="Duplicate value"):
        admin.patch("modeldeployments", namespace, "digits", twice, "status")


def test_kubectl_get_prints_the_columns(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.kubectl("create", "-n", namespace, "-f", "-", input=text_of())
    head, row = control_plane.kubectl("get", "modelpress", "-n", namespace).stdout.splitlines()
    assert head.split() == ["NAME", "READY", "REASON", "DESIRED", "AVAILABLE", "RATIO", "SCORE", "AGE"]
    assert row.split()[:2] == ["digits", "1"]
    wide = control_plane.kubectl("get", "mdep", "-n", namespace, "-o", "wide").stdout
    assert wide.splitlines()[0].split()[-1] == "URL"


def test_kubectl_reads_scalars_as_the_table_says(control_plane: ControlPlane) -> None:
    lines = [
        f"    k{number}: {text.replace(chr(10), chr(10) + '    ')}"
        for number, (text, _) in enumerate(SCALARS)
    ]
    text = text_of(spec="\n".join(["worker:", "  affinity:", *lines]))
    shown = control_plane.kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", input=text).stdout
    read = json.loads(shown)["spec"]["worker"]["affinity"]
    for number, (text, expected) in enumerate(SCALARS):
        found = read[f"k{number}"]
        assert found == expected, text
        assert isinstance(found, bool) == isinstance(expected, bool), text
