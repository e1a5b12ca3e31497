"""What somebody does to the children of a ModelDeployment in each phase of its life, and what must follow.

A child comes back as it was, and no other is touched. What is not needed stays away: a finished Job, and the
NetworkPolicy where nothing runs. So does a revision that the Deployment does not run: nothing else has its
content.
"""

import contextlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import pytest

from modelpress.api import names
from tests.support.cluster.api import MERGE, Json, path
from tests.support.cluster.by_hand import SPEC
from tests.support.cluster.controlplane import wait_until
from tests.support.cluster.end_state import CHILDREN, child_state, differences, marks
from tests.support.cluster.fixtures import FACTS, fresh_namespace
from tests.support.cluster.hands import MISFORTUNE, PATIENCE
from tests.support.cluster.helpers import Deployed, merge
from tests.support.cluster.sequences import World

Spec = Json
SERVING: Spec = merge(SPEC, {"replicas": 2})


def _with_variable(name: str) -> Spec:
    changed: Spec = merge(SERVING, {"worker": {"env": [{"name": name, "value": "1"}]}})
    return changed


def _of_model(name: str) -> Spec:
    changed: Spec = merge(SERVING, {"model": {"uri": f"https://example.com/{name}.keras"}})
    return changed


_WAITS = ("Reconciling", "PodsUnschedulable")  # as the scheduler says of pods that are not ready
# Specs, each after the one before, and the reason of the condition that tells that the phase has begun.
PHASES: dict[str, tuple[tuple[Spec, ...], tuple[str, str]]] = {
    "compressing": ((_of_model("slow"),), _WAITS),
    "serving": ((SERVING,), ("Ready", "Available")),
    "compressing again": ((SERVING, _of_model("slow")), _WAITS),
    "rolling out": ((SERVING, _with_variable(PATIENCE)), _WAITS),
    "rollout failed": ((SERVING, _with_variable(MISFORTUNE)), ("Stalled", "RolloutFailed")),
    "Job failed": ((_of_model("invalid"),), ("Stalled", "InvalidModel")),
    "scaled to zero": ((SERVING, merge(SERVING, {"replicas": 0})), ("Ready", "ScaledToZero")),
}


@dataclass(frozen=True)
class Deed:
    """What somebody does to a child of a kind."""

    name: str
    plural: str
    content: Json | None = None  # a merge patch; None: deletes
    stays: bool = False

    def do(self, digits: Deployed, child: str) -> None:
        """Do it."""
        where = path(self.plural, digits.namespace, child)
        if self.content is None:
            digits.api.request("DELETE", where, propagationPolicy="Background", gracePeriodSeconds=0)
        else:
            digits.api.request("PATCH", where, self.content, content_type=MERGE, fieldManager="somebody")


_CREATED_ONCE = ("jobs", "controllerrevisions")  # never changed: other edits of one stay
_SPECS: dict[str, Json] = {
    "deployments": {"spec": {"replicas": 5, "template": {"spec": {"hostNetwork": True}}}},
    "services": {"spec": {"selector": {"app": "other"}}},
    "networkpolicies": {"spec": {"ingress": None}},
    "poddisruptionbudgets": {"spec": {"maxUnavailable": 0}},
    "controllerrevisions": {"revision": 99},
}
_MARKS: dict[str, Json] = {
    "without owner": {"metadata": {"ownerReferences": None}},
    "without our name": {"metadata": {"labels": {names.NAME_LABEL: None}}},
    "without a label": {"metadata": {"labels": {"app.kubernetes.io/component": None}}},
}
DELETIONS = [Deed("deleted", plural) for plural in CHILDREN]
EDITS = [
    *(Deed("edited", plural, content, plural in _CREATED_ONCE) for plural, content in _SPECS.items()),
    *(
        Deed(name, plural, content, name == "without a label" and plural in _CREATED_ONCE)
        for plural in ("jobs", *_SPECS)
        for name, content in _MARKS.items()
    ),
]

Family = dict[tuple[str, str], tuple[str, Json]]  # kind and name -> UID and content
_COUNTED = ("replicasets", "pods")  # whose names their controllers make up
_FOLLOWERS = {"deployments": _COUNTED, "replicasets": ("pods",), "jobs": ("pods",)}
_IN_STATUS = ("template", "artifactDigest", "recipeHash", "sourceDigest", "workerImage")


def tell_of_deeds(world: World, deeds: Sequence[Deed], request: pytest.FixtureRequest) -> None:
    """Do all deeds in all phases, the phases side by side; AssertionError with what did not follow."""
    with ThreadPoolExecutor(len(PHASES)) as pool:
        told = list(pool.map(partial(_play, world, deeds), PHASES))
    done, lines = sum(count for count, _ in told), [line for _, lines in told for line in lines]
    request.config.stash.setdefault(FACTS, []).append(
        f"{done} deeds to children in {len(PHASES)} phases: {len(lines)} differences"
    )
    assert not lines, "\n".join(lines)


def _play(world: World, deeds: Iterable[Deed], phase: str) -> tuple[int, list[str]]:
    lines, count = [], 0
    with contextlib.contextmanager(fresh_namespace)(world.control_plane) as namespace:
        digits = Deployed(world.control_plane, namespace, "digits")
        _enter(world, digits, phase)
        for deed in deeds:
            children = [name for plural, name in _family(digits) if plural == deed.plural]
            for child in children[:2]:
                count += 1
                lines += [
                    f"{phase}: {deed.plural} {deed.name}: {line}"
                    for line in _done(world, digits, deed, child)
                ]
    return count, lines


def _enter(world: World, digits: Deployed, phase: str) -> None:
    """Bring a resource into a phase."""
    specs, (condition, reason) = PHASES[phase]
    digits.create(specs[0])
    for spec in specs[1:]:
        digits.wait_current(600)
        digits.replace(spec)

    def has_begun() -> bool:
        body = digits.read()
        seen = body["status"].get("observedGeneration") == body["metadata"]["generation"]
        return bool(seen and digits.condition(condition).get("reason") == reason)

    digits.wait(phase, has_begun, 600)
    world.operator.settle(digits.namespace, [], 2)


def _done(world: World, digits: Deployed, deed: Deed, child: str) -> list[str]:
    """Do a deed to a child; return what is not as it must be then."""
    comes_back, before = _comes_back(digits, deed, child), _family(digits)
    deed.do(digits, child)
    if deed.stays:
        before = _family(digits)
    elif not comes_back:
        del before[deed.plural, child]
    with contextlib.suppress(AssertionError):
        wait_until("as it must be", lambda: not _wrong(before, _family(digits), deed, child), every=0.5)
    world.operator.settle(digits.namespace, [], 2)
    return _wrong(before, _family(digits), deed, child)


def _comes_back(digits: Deployed, deed: Deed, child: str) -> bool:
    """Return whether a child is of use."""
    if deed.plural == "jobs":
        return not digits.api.get("jobs", digits.namespace, child)["status"].get("conditions")
    if deed.plural == "networkpolicies":
        return digits.condition("Stalled")["status"] == "False" or "current" in digits.status
    if deed.plural == "controllerrevisions":
        (deployment,) = digits.children("deployments")
        return str(deployment["metadata"]["labels"][names.REVISION_LABEL]) == child
    return True


def _family(digits: Deployed) -> Family:
    """Return all children; of pods and ReplicaSets only that they are there."""
    found: Family = {}
    for plural in CHILDREN:
        for body in digits.children(plural):
            metadata = body["metadata"]
            is_idle = plural == "replicasets" and not body["spec"]["replicas"]
            if not (metadata.get("deletionTimestamp") or is_idle):
                found[plural, metadata["name"]] = metadata["uid"], _content(plural, body)
    return found


def _content(plural: str, body: Json) -> Json:
    if plural in _COUNTED:
        return {}
    if plural == "controllerrevisions":
        return {**marks(body["metadata"]), "data": body["data"], "number": body["revision"]}
    if plural == "jobs":
        return {**marks(body["metadata"]), "template": body["spec"]["template"]["spec"]}
    return child_state(plural, body)


def _wrong(before: Family, now: Family, deed: Deed, child: str) -> list[str]:
    """Return what is not as it must be after a deed to a child, or was touched beside it."""
    follow = (deed.plural, *_FOLLOWERS.get(deed.plural, ()))
    lines = []
    for plural in CHILDREN:
        if plural in _COUNTED and plural in follow:
            continue  # their controllers make up for them
        then, there = (
            {key: each for key, each in state.items() if key[0] == plural} for state in (before, now)
        )
        lines += [f"{plural} {name} is new" for _, name in there.keys() - then.keys()]
        lines += [f"{plural} {name} is gone" for _, name in then.keys() - there.keys()]
        for key in then.keys() & there.keys():
            (uid, was), (uid_now, is_now) = then[key], there[key]
            if key != (deed.plural, child):
                lines += [f"{plural} {key[1]} was made again"] if uid_now != uid else []
            elif plural == "controllerrevisions" and uid_now != uid:
                was, is_now = _told_by_status(was), _told_by_status(is_now)
            lines += differences(is_now, was, f"{plural} {key[1]}")
    return lines


def _told_by_status(revision: Json) -> Json:
    """Return what can be restored of a revision."""
    return {key: revision["data"].get(key) for key in _IN_STATUS} | {"labels": revision["labels"]}
