"""The Deployment controller of local mode: pure steps."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from modelpress.local.node.deployments import HASH_LABEL, Scaling, bounds, scale, status, template_hash

NOW = datetime(2025, 1, 1, 12, 0, 0, tzinfo=UTC)


def deployment(replicas: int, surge: Any = 0, unavailable: Any = 1, **fields: Any) -> dict[str, Any]:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
    return {
        "metadata": {"name": "d", "generation": 1},
        "spec": {"replicas": replicas, "strategy": strategy, "template": {"spec": {"v": 1}}, **fields},
    }


def pods(body: dict[str, Any], text: str) -> list[dict[str, Any]]:
    """One letter for each pod: n(ew) and o(ld), capital where ready; `x` an ending new pod."""
    made = []
    for number, letter in enumerate(text):
        current = letter in "nNx"
        metadata = {
            "name": f"{letter}{number}",
            "labels": {HASH_LABEL: template_hash(body) if current else "another"},
        }
        if letter == "x":
            metadata["deletionTimestamp"] = "2025-01-01T12:00:00Z"
        ready = {"type": "Ready", "status": "True" if letter in "NO" else "False"}
        made.append({"metadata": metadata, "status": {"conditions": [ready]}})
    return made


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "before", "start", "stop"),
    [
        (2, 0, 1, "", 2, ()),
        (2, 0, 1, "NN", 0, ()),
        (2, 0, 1, "x", 2, ()),
        (3, 0, 1, "N", 2, ()),
        (1, 0, 1, "NnN", 0, ("n1", "N0")),
        (0, 0, 1, "N", 0, ("N0",)),
        # without surge an old pod ends first
        (2, 0, 1, "OO", 0, ("O0",)),
        (2, 0, 1, "O", 1, ()),
        (2, 0, 1, "On", 0, ()),
        (2, 0, 1, "ON", 0, ("O0",)),
        # with surge the new pod comes first
        (2, 1, 0, "OO", 1, ()),
        (2, 1, 0, "OOn", 0, ()),
        (2, 1, 0, "OON", 0, ("O0",)),
        # old pods that are not ready serve nobody
        (2, 1, 0, "oO", 1, ()),
        (2, 1, 0, "noO", 0, ()),
        (2, 1, 0, "NoO", 0, ("o1",)),
        (2, 0, 1, "oO", 0, ("o0",)),
        (4, "25%", "25%", "OOOO", 1, ("O0",)),
    ],
)
def test_rolling_update(
    replicas: int, surge: Any, unavailable: Any, before: str, start: int, stop: tuple[str, ...]
) -> None:
    body = deployment(replicas, surge, unavailable)
    assert scale(body, pods(body, before)) == Scaling(start, stop)


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ("OO", Scaling(0, ("O0", "O1"))),
        ("", Scaling(2, ())),
        ("x", Scaling(0, ())),
        ("N", Scaling(1, ())),
    ],
)
def test_recreate_waits_until_every_old_pod_has_gone(before: str, expected: Scaling) -> None:
    body = deployment(2, strategy={"type": "Recreate"})
    assert scale(body, pods(body, before)) == expected


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "expected"),
    [(10, "25%", "25%", (3, 2)), (1, "25%", "25%", (1, 0)), (1, "0%", "25%", (0, 1)), (3, 2, 5, (2, 3))],
)
def test_bounds_round_surge_up_and_unavailable_down(
    replicas: int, surge: Any, unavailable: Any, expected: tuple[int, int]
) -> None:
    assert bounds(deployment(replicas, surge, unavailable)) == expected


def condition(found: dict[str, Any], kind: str) -> tuple[str, str]:
    entry = next(entry for entry in found["conditions"] if entry["type"] == kind)
    return entry["status"], entry["reason"]


def test_status_counts_pods_and_says_when_the_rollout_is_complete() -> None:
    body = deployment(2)
    found = status(body, pods(body, "NNx"), NOW)
    counts = {key: value for key, value in found.items() if key != "conditions"}
    assert counts == {
        "observedGeneration": 1,
        "replicas": 2,
        "updatedReplicas": 2,
        "readyReplicas": 2,
        "availableReplicas": 2,
        "unavailableReplicas": 0,
    }
    assert condition(found, "Available") == ("True", "MinimumReplicasAvailable")
    assert condition(found, "Progressing") == ("True", "NewReplicaSetAvailable")


def test_a_rollout_without_progress_passes_its_deadline() -> None:
    body = deployment(1, progressDeadlineSeconds=60)
    body["status"] = status(body, pods(body, "n"), NOW)
    assert condition(body["status"], "Progressing") == ("True", "ReplicaSetUpdated")
    body["status"] = status(body, pods(body, "n"), NOW + timedelta(seconds=59))
    assert condition(body["status"], "Progressing") == ("True", "ReplicaSetUpdated")
    body["status"] = status(body, pods(body, "n"), NOW + timedelta(seconds=61))
    assert condition(body["status"], "Progressing") == ("False", "ProgressDeadlineExceeded")
    body["status"] = status(body, pods(body, "N"), NOW + timedelta(seconds=99))
    assert condition(body["status"], "Progressing") == ("True", "NewReplicaSetAvailable")


def test_a_pod_that_becomes_ready_is_progress() -> None:
    body = deployment(3, progressDeadlineSeconds=60)
    body["status"] = status(body, pods(body, "nnn"), NOW)
    body["status"] = status(body, pods(body, "Nnn"), NOW + timedelta(seconds=50))
    body["status"] = status(body, pods(body, "Nnn"), NOW + timedelta(seconds=100))
    assert condition(body["status"], "Progressing") == ("True", "ReplicaSetUpdated")


def test_a_complete_rollout_has_no_deadline_when_a_pod_is_lost() -> None:
    body = deployment(1, progressDeadlineSeconds=60)
    body["status"] = status(body, pods(body, "N"), NOW)
    body["status"] = status(body, pods(body, "n"), NOW + timedelta(seconds=600))
    assert condition(body["status"], "Progressing") == ("True", "NewReplicaSetAvailable")
    assert condition(body["status"], "Available")[0] == "True"  # maxUnavailable is 1
