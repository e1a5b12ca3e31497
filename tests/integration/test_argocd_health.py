"""The health script for Argo CD, run by the Lua of Argo CD, beside the library kstatus."""

from collections.abc import Iterator
from itertools import product

import pytest
import yaml

from tests.support.cluster.api import Json
from tests.support.cluster.verdicts import CUSTOMIZATION, Health, health, judge

TESTS = yaml.safe_load((CUSTOMIZATION / "health_test.yaml").read_text())["tests"]
TRUTHS = ("True", "False")


@pytest.mark.parametrize("test", TESTS, ids=lambda test: test["inputPath"])
def test_the_script_passes_its_tests_in_the_form_of_argo_cd(test: Json) -> None:
    body = yaml.safe_load((CUSTOMIZATION / test["inputPath"]).read_text())
    assert health([body]) == [Health(**test["healthStatus"])]


def test_all_test_data_are_used() -> None:
    named = {CUSTOMIZATION / test["inputPath"] for test in TESTS}
    assert named == set((CUSTOMIZATION / "testdata").iterdir())


def _bodies() -> Iterator[Json]:
    """Yield every combination of what the tools look at, of a status that the operator writes."""
    for generation, ready, reconciling, stalled, deleted in product(
        (1, 2), TRUTHS, TRUTHS, TRUTHS, (False, True)
    ):
        if (reconciling, stalled) == ("True", "True"):
            continue
        for reason in ("Any", "Suspended"):
            truths = {"Ready": ready, "Reconciling": reconciling, "Stalled": stalled}
            conditions = [
                {"type": kind, "status": status, "reason": reason, "message": kind}
                for kind, status in truths.items()
            ]
            metadata = {"name": "digits", "generation": generation}
            if deleted:
                metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
            yield {
                "apiVersion": "modelpress.dev/v1alpha1",
                "kind": "ModelDeployment",
                "metadata": metadata,
                "spec": {},
                "status": {"observedGeneration": 1, "conditions": conditions},
            }


def test_argo_cd_says_the_same_as_kstatus_in_its_own_words() -> None:
    words = {
        "Current": {"Healthy"},
        "InProgress": {"Progressing", "Suspended"},
        "Failed": {"Degraded"},
        "Terminating": {"Progressing"},
    }
    bodies = list(_bodies())
    verdicts = judge(bodies)
    assert {kstatus: {v.argocd for v in verdicts if v.kstatus == kstatus} for kstatus in words} == words


def test_suspended_is_what_waits_for_nothing_but_the_end_of_suspend() -> None:
    bodies = list(_bodies())
    suspended = [
        body for body, verdict in zip(bodies, judge(bodies), strict=True) if verdict.argocd == "Suspended"
    ]
    assert len(suspended) == 1
    conditions = suspended[0]["status"]["conditions"]
    assert [condition["status"] for condition in conditions] == ["False", "False", "False"]
    assert conditions[0]["reason"] == "Suspended"


@pytest.mark.parametrize("status", [None, {}, {"observedGeneration": -1}])
def test_a_resource_that_nobody_has_seen_is_on_its_way(status: Json | None) -> None:
    body: Json = {
        "apiVersion": "modelpress.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "digits", "generation": 1},
        "spec": {},
    }
    if status is not None:
        body["status"] = status
    assert health([body])[0].status == "Progressing"
