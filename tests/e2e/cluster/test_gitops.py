"""What kstatus and Argo CD make of a ModelDeployment in each phase, and what GitOps tools find of theirs.

The phases and verdicts are those of docs/gitops.md; the objects are of a real API server. `UPDATE_GOLDEN=1`
rewrites the test data of Argo CD's health script: read the difference before it is committed.
"""

import json
import os
import re
from collections.abc import Iterator

import pytest
import yaml

from modelpress.api import names
from tests.support.cluster.api import Json
from tests.support.cluster.by_hand import ARGUMENTS, SPEC
from tests.support.cluster.controlplane import ControlPlane
from tests.support.cluster.environment import new_operator
from tests.support.cluster.fixtures import PROJECT, fresh_namespace
from tests.support.cluster.helpers import Deployed, Operator
from tests.support.cluster.phases import ARGUMENTS as ONE_JOB
from tests.support.cluster.phases import WALKS, Stage
from tests.support.cluster.verdicts import CUSTOMIZATION, Verdict, health, judge

_ROW = re.compile(r"^\| ([^|`]+) \| (\w+) \| (\w+) \|$", re.MULTILINE)
DOCUMENTED = {
    phase: Verdict(kstatus, argocd)
    for phase, kstatus, argocd in _ROW.findall((PROJECT / "docs" / "gitops.md").read_text())
    if phase != "phase"
}
# files of testdata
SHOWN = {
    "created": "created, not seen by the operator yet",
    "compressing": "compressing",
    "rolling_out": "rolling out an update",
    "serving": "serving",
    "edited": "edited, not seen by the operator yet",
    "scaled_to_zero": "scaled to zero",
    "suspended": "suspended, an edit held back",
    "gate_failed": "gate failed, an older revision serves",
    "rolled_back": "rolled back, an older revision serves",
    "deleting": "deleting",
}
CHILDREN = (
    "jobs",
    "pods",
    "controllerrevisions",
    "deployments",
    "replicasets",
    "services",
    "networkpolicies",
    "poddisruptionbudgets",
)
# what tools mark objects with that are theirs
MARKS = {
    "labels": {
        "app.kubernetes.io/instance": "models",
        "app.kubernetes.io/managed-by": "Helm",
        "argocd.argoproj.io/instance": "models",
        "kustomize.toolkit.fluxcd.io/name": "models",
        "kustomize.toolkit.fluxcd.io/namespace": "flux-system",
        "helm.toolkit.fluxcd.io/name": "models",
    },
    "annotations": {
        "argocd.argoproj.io/tracking-id": "models:modelpress.dev/ModelDeployment:models/digits",
        "argocd.argoproj.io/sync-wave": "1",
        "meta.helm.sh/release-name": "models",
        "kustomize.toolkit.fluxcd.io/prune": "disabled",
    },
}


@pytest.fixture(scope="module")
def operator(
    control_plane: ControlPlane, kubeconfig: object, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Operator]:
    """An operator that the walks stop and start."""
    folder = tmp_path_factory.mktemp("gitops") / "operator"
    running = new_operator(control_plane, [*ARGUMENTS, *ONE_JOB], folder)
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def recorded(control_plane: ControlPlane, operator: Operator) -> dict[str, Json]:
    """The resource as it was in each phase."""
    found = {}
    for walk in WALKS:
        for namespace in fresh_namespace(control_plane):
            digits = Deployed(control_plane, namespace, "digits")
            for phase in walk(Stage(digits, operator)):
                found[phase] = digits.read()
    return found


def test_every_documented_phase_is_reached(recorded: dict[str, Json]) -> None:
    assert set(recorded) == set(DOCUMENTED)


@pytest.mark.parametrize("phase", DOCUMENTED)
def test_both_tools_give_the_documented_verdict(recorded: dict[str, Json], phase: str) -> None:
    assert judge([recorded[phase]]) == [DOCUMENTED[phase]]


@pytest.mark.parametrize("name", SHOWN)
def test_the_test_data_of_the_health_script_are_what_the_operator_writes(
    recorded: dict[str, Json], name: str
) -> None:
    found = _portable(recorded[SHOWN[name]])
    file = CUSTOMIZATION / "testdata" / f"{name}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(yaml.safe_dump(found, sort_keys=False, width=120))
        _write_health_test()
    assert _said(yaml.safe_load(file.read_text())) == _said(found)


def _portable(body: Json) -> Json:
    """Return an object without what differs from one cluster and time to another."""
    metadata = body["metadata"]
    kept = ("name", "namespace", "generation", "deletionTimestamp", "finalizers")
    body = {**body, "metadata": {key: metadata[key] for key in kept if key in metadata}}
    text = json.dumps(body).replace(metadata["namespace"], "models")
    portable: Json = json.loads(re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "2026-01-01T00:00:00Z", text))
    return portable


def _said(body: Json) -> tuple[object, ...]:
    """Return what tools judge by; while something moves, its reason is what the watches told last."""
    status, metadata = body["status"], body["metadata"]
    conditions = {each["type"]: (each["status"], each["reason"]) for each in status.get("conditions", ())}
    moves = conditions.get("Reconciling", ("", ""))[0] == "True"
    said = {kind: status if moves else (status, reason) for kind, (status, reason) in conditions.items()}
    behind = metadata["generation"] - status["observedGeneration"]
    return said, behind, "deletionTimestamp" in metadata, body["spec"]["suspend"]


def _write_health_test() -> None:
    files = sorted((CUSTOMIZATION / "testdata").iterdir())
    answers = health([yaml.safe_load(file.read_text()) for file in files])
    tests = [
        {"healthStatus": answer._asdict(), "inputPath": f"testdata/{file.name}"}
        for file, answer in zip(files, answers, strict=True)
    ]
    (CUSTOMIZATION / "health_test.yaml").write_text(
        yaml.safe_dump({"tests": tests}, sort_keys=False, width=120)
    )


def test_the_operator_writes_nothing_but_the_status(recorded: dict[str, Json]) -> None:
    for phase, body in recorded.items():
        written = body["metadata"]["managedFields"]
        ours = [entry for entry in written if entry["manager"] == names.FIELD_MANAGER]
        assert ours or body["status"]["observedGeneration"] == -1, phase
        assert all(entry.get("subresource") == "status" for entry in ours), phase


def test_no_mark_of_a_tool_is_copied_to_children_and_all_stay(
    control_plane: ControlPlane, operator: Operator, namespace: str
) -> None:
    digits = Deployed(control_plane, namespace, "digits")
    metadata = {"name": "digits", "namespace": namespace, **MARKS}
    body = {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": metadata, "spec": SPEC}
    before = digits.api.create("modeldeployments", namespace, body)
    stage = Stage(digits, operator)
    stage.walk_on()
    stage.roll({"replicas": 2, "worker": {"env": [{"name": "GREETING", "value": "hello"}]}})
    stage.answer()
    for plural in CHILDREN:
        for child in digits.children(plural):
            for kind, marks in MARKS.items():
                copied = marks.items() & child["metadata"].get(kind, {}).items()
                assert not copied, f"{plural} {child['metadata']['name']}"
    after = digits.read()
    assert {kind: after["metadata"][kind] for kind in MARKS} == MARKS
    assert "finalizers" not in after["metadata"]
    assert after["spec"] == {**before["spec"], **{key: after["spec"][key] for key in ("replicas", "worker")}}
    assert after["metadata"]["generation"] == 2, "one edit, which is ours"
