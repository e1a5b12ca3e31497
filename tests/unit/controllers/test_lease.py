"""What a candidate does about the Lease that it sees, exactly."""

from datetime import UTC, datetime
from typing import Any

import pytest

from modelpress.controllers import lease
from modelpress.controllers.lease import Action, Sighting, action, claimed, released

AT = datetime(2026, 11, 30, 12, 0, 0, 250_000, tzinfo=UTC)
TEXT = "2026-11-30T12:00:00.250000Z"
EARLIER = "2026-11-30T11:00:00.000000Z"


def held(holder: str | None = "other", *, lasts: int | None = 10, renewed: str = EARLIER) -> dict[str, Any]:
    spec = {"holderIdentity": holder, "leaseDurationSeconds": lasts, "renewTime": renewed}
    kept = {key: value for key, value in spec.items() if value is not None}
    metadata = {"name": "operator", "namespace": "system", "resourceVersion": "7"}
    return {"metadata": metadata, "spec": {**kept, "acquireTime": EARLIER, "leaseTransitions": 4}}


@pytest.mark.parametrize(
    ("found", "seconds", "expected"),
    [
        (None, 0, Action.CREATE),
        (held("me"), 0, Action.RENEW),
        (held("me"), 1000, Action.RENEW),
        (held("other"), 0, Action.WAIT),
        (held("other"), 9.999, Action.WAIT),
        (held("other"), 10, Action.TAKE),
        (held("other", lasts=3), 3, Action.TAKE),
        (held("other", lasts=60), 59, Action.WAIT),
        (held("other", lasts=None), 0, Action.TAKE),
        (held(None), 0, Action.TAKE),
        (held(""), 0, Action.TAKE),
        ({"metadata": {"name": "operator"}}, 0, Action.TAKE),
    ],
)
def test_the_action_follows_from_holder_and_the_time_without_a_change(
    found: dict[str, Any] | None, seconds: float, expected: Action
) -> None:
    assert action(Sighting(found, 100.0), "me", 100.0 + seconds) is expected


def test_a_change_of_the_spec_and_only_that_starts_the_time_anew() -> None:
    seen = Sighting(held(), 100.0)
    touched = held()
    touched["metadata"] |= {"resourceVersion": "8", "annotations": {"somebody": "looked"}}
    assert seen.again(touched, 105.0) == Sighting(touched, 100.0)
    assert seen.again(held(renewed=TEXT), 105.0).since == 105.0
    assert seen.again(None, 105.0) == Sighting(None, 105.0)
    assert Sighting(None, 100.0).again(held(), 105.0).since == 105.0


@pytest.mark.parametrize("renewed", ["1999-01-01T00:00:00.000000Z", "2999-01-01T00:00:00.000000Z"])
def test_times_of_another_clock_do_not_matter(renewed: str) -> None:
    assert action(Sighting(held(renewed=renewed), 100.0), "me", 109.0) is Action.WAIT
    assert action(Sighting(held(renewed=renewed), 100.0), "me", 110.0) is Action.TAKE


def test_a_new_lease() -> None:
    assert claimed(Sighting(None, 0), "operator", "me", AT) == {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "operator"},
        "spec": {
            "holderIdentity": "me",
            "leaseDurationSeconds": 10,
            "acquireTime": TEXT,
            "renewTime": TEXT,
            "leaseTransitions": 0,
        },
    }


def test_a_lease_that_is_taken_is_written_over_the_version_that_was_seen() -> None:
    made = claimed(Sighting(held(), 0), "operator", "me", AT)
    assert made["metadata"] == held()["metadata"]
    assert made["spec"] == {
        "holderIdentity": "me",
        "leaseDurationSeconds": 10,
        "acquireTime": TEXT,
        "renewTime": TEXT,
        "leaseTransitions": 5,
    }


def test_a_renewal_keeps_when_it_was_taken() -> None:
    spec = claimed(Sighting(held("me"), 0), "operator", "me", AT)["spec"]
    assert spec == {**held("me")["spec"], "renewTime": TEXT}


def test_a_lease_that_is_given_back_is_taken_at_the_next_look() -> None:
    given = released(held("me"), AT)
    assert "holderIdentity" not in given["spec"]  # the API server refuses an empty one
    assert given["spec"]["leaseDurationSeconds"] == 1
    assert given["metadata"] == held()["metadata"]
    assert action(Sighting(given, 100.0), "other", 100.0) is Action.TAKE


def test_a_standby_takes_over_within_twelve_seconds_and_writes_end_before() -> None:
    assert lease.LEASE_SECONDS + 2 * lease.LOOK_SECONDS <= 12  # seen a look late, and again a look late
    assert lease.RENEW_SECONDS < lease.LEASE_SECONDS
    # a renewal that hangs is tried again in time
    assert lease.RENEWAL_PAUSE_SECONDS + lease.REQUEST_SECONDS + lease.LOOK_SECONDS < lease.RENEW_SECONDS
