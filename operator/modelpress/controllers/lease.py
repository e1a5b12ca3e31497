"""What a Lease says, and what a candidate does about it: the rules of client-go's leader election. Pure.

Two clocks are never compared: a lease has expired once it has been seen unchanged for as long as it says that
it lasts, by the clock of the one who looks. So its times are for people only.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from modelpress.planning.types import Body

# A standby sees a renewal at most LOOK_SECONDS late and its end as much later: it takes over within 12 s. The
# active one writes for RENEW_SECONDS after it sent its last renewal; what it sent then has the rest of
# LEASE_SECONDS to arrive in.
LEASE_SECONDS = 10
RENEW_SECONDS = 7.0  # without a renewal for so long the active one gives up
RENEWAL_PAUSE_SECONDS = 2.0  # between renewals
LOOK_SECONDS = 1.0  # between looks of a standby, and between attempts after one that failed
REQUEST_SECONDS = 2.0  # a request that hangs leaves time for another

_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"


class Action(Enum):
    """What to do now."""

    CREATE = "create"
    TAKE = "take"  # it is nobody's, or has expired
    RENEW = "renew"
    WAIT = "wait"


@dataclass(frozen=True)
class Sighting:
    """A Lease as it was last seen; None where there is none."""

    lease: Body | None
    since: float  # when it was first seen like this, by the clock of the one who looks

    def again(self, lease: Body | None, now: float) -> "Sighting":
        """Return what is known after another look."""
        unchanged = lease is not None and self.lease is not None and _spec(lease) == _spec(self.lease)
        return Sighting(lease, self.since if unchanged else now)

    @property
    def holder(self) -> str:
        """Return who holds it; empty: nobody."""
        return "" if self.lease is None else _spec(self.lease).get("holderIdentity") or ""


def action(seen: Sighting, me: str, now: float) -> Action:
    """Return what the candidate `me` does."""
    if seen.lease is None:
        return Action.CREATE
    if seen.holder == me:
        return Action.RENEW
    # its own word counts: the holder may be of a release with another duration
    lasts = _spec(seen.lease).get("leaseDurationSeconds") or 0
    expired = now >= seen.since + lasts
    return Action.TAKE if not seen.holder or expired else Action.WAIT


def claimed(seen: Sighting, name: str, me: str, at: datetime) -> dict[str, Any]:
    """Return the Lease `name` as `me` writes it to hold it from now on."""
    before = {} if seen.lease is None else _spec(seen.lease)
    moment = _text(at)
    spec = {
        **before,
        "holderIdentity": me,
        "leaseDurationSeconds": LEASE_SECONDS,
        "acquireTime": moment,
        "renewTime": moment,
        "leaseTransitions": (before.get("leaseTransitions") or 0) + 1 if before else 0,
    }
    if seen.holder == me:
        spec |= {key: before[key] for key in ("acquireTime", "leaseTransitions") if key in before}
    empty = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name}}
    return {**(seen.lease or empty), "spec": spec}


def released(lease: Body, at: datetime) -> dict[str, Any]:
    """Return the Lease as its holder writes it to give it away: the next look of a standby takes it."""
    spec = {key: value for key, value in _spec(lease).items() if key != "holderIdentity"}
    return {**lease, "spec": {**spec, "leaseDurationSeconds": 1, "renewTime": _text(at)}}


def _spec(lease: Body) -> Mapping[str, Any]:
    spec: Mapping[str, Any] = lease.get("spec") or {}
    return spec


def _text(at: datetime) -> str:
    return at.astimezone(UTC).strftime(_TIME)
