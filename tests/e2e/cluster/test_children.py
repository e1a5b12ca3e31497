"""Each kind of child is deleted and edited in each phase of a resource's life, on a real control plane.

It comes back as it was, and no other child is touched; what nothing needs any more stays away.
test_manual_edits has every edit of a resource that serves.
"""

import contextlib
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
from tests.support.cluster.sequence_runner import running
from tests.support.cluster.sequences import World

__all__ = ["running"]

Spec = Json
SERVING: Spec = merge(SPEC, {"replicas": 2})


def with_variable(name: str) -> Spec:
    changed: Spec = merge(SERVING, {"worker": {"env": [{"name": name, "value": "1"}]}})
    return changed


def of_model(name: str) -> Spec:
    changed: Spec = merge(SERVING, {"model": {"uri": f"https://example.com/{name}.keras"}})
    return changed


# Specs, each after the one before, and the reason of the condition that tells that the phase has begun.
PHASES: dict[str, tuple[tuple[Spec, ...], tuple[str, str]]] = {
    "compressing": ((of_model("slow"),), ("Reconciling", "Compressing")),
    "serving": ((SERVING,), ("Ready", "Available")),
    "compressing again": ((SERVING, of_model("slow")), ("Reconciling", "Compressing")),
    "rolling out": ((SERVING, with_variable(PATIENCE)), ("Reconciling", "RollingOut")),
    "rollout failed": ((SERVING, with_variable(MISFORTUNE)), ("Stalled", "RolloutFailed")),
    "Job failed": ((of_model("invalid"),), ("Stalled", "InvalidModel")),
    "scaled to zero": ((SERVING, merge(SERVING, {"replicas": 0})), ("Ready", "ScaledToZero")),
}

Family = dict[tuple[str, str], tuple[str, Json]]  # kind and name -> UID and content


def family(digits: Deployed) -> Family:
    """Return all children; of pods and ReplicaSets only that they are there."""
    found: Family = {}
    for plural in CHILDREN:
        for body in digits.children(plural):
            metadata = body["metadata"]
            if not metadata.get("deletionTimestamp"):
                found[plural, metadata["name"]] = metadata["uid"], content(plural, body)
    return found


def content(plural: str, body: Json) -> Json:
    if plural in ("pods", "replicasets"):
        return {}
    if plural == "controllerrevisions":
        return {**marks(body["metadata"]), "data": body["data"], "number": body["revision"]}
    if plural == "jobs":
        return {**marks(body["metadata"]), "template": body["spec"]["template"]["spec"]}
    return child_state(plural, body)


@dataclass(frozen=True)
class Deed:
    """What somebody does to the children of a kind."""

    name: str
    plural: str
    content: Json | None = None  # a merge patch; None: deletes

    def do(self, digits: Deployed, child: str) -> None:
        where = path(self.plural, digits.namespace, child)
        if self.content is None:
            digits.api.request("DELETE", where, propagationPolicy="Background", gracePeriodSeconds=0)
        else:
            digits.api.request("PATCH", where, self.content, content_type=MERGE, fieldManager="somebody")


NO_OWNER: Json = {"metadata": {"ownerReferences": None}}
NO_NAME: Json = {"metadata": {"labels": {names.NAME_LABEL: None}}}
NO_COMPONENT: Json = {"metadata": {"labels": {"app.kubernetes.io/component": None}}}
SPECS: dict[str, Json] = {
    "deployments": {"spec": {"replicas": 5, "template": {"spec": {"hostNetwork": True}}}},
    "services": {"spec": {"selector": {"app": "other"}}},
    "networkpolicies": {"spec": {"ingress": None}},
    "poddisruptionbudgets": {"spec": {"maxUnavailable": 0}},
    "controllerrevisions": {"revision": 99},
}
DEEDS = [
    *(Deed("deleted", plural) for plural in CHILDREN),
    *(Deed("edited", plural, content) for plural, content in SPECS.items()),
    *(
        Deed(name, plural, content)
        for plural in ("jobs", *SPECS)
        for name, content in (
            ("without owner", NO_OWNER),
            ("without our name", NO_NAME),
            ("without a label", NO_COMPONENT),
        )
    ),
]
FOLLOWERS = {"deployments": ("replicasets", "pods"), "replicasets": ("pods",)}


def wrong(before: Family, now: Family, deed: Deed, child: str) -> list[str]:
    """Return what is not as it was before a deed to a child, or was touched beside it."""
    moved = (deed.plural, *FOLLOWERS.get(deed.plural, ())) if deed.content is None else (deed.plural,)
    counted = ("replicasets", "pods")  # whose names are made up by their controllers
    lines = []
    for plural in CHILDREN:
        then, there = (
            {key: each for key, each in state.items() if key[0] == plural} for state in (before, now)
        )
        if plural in moved and plural in counted:
            lines += [f"{len(there)} {plural}, {len(then)} before"] if len(then) != len(there) else []
            continue
        lines += [f"{plural} {name} is new" for _, name in there.keys() - then.keys()]
        for key, (uid, was) in then.items():
            found = there.get(key)
            if found is None:
                lines.append(f"{plural} {key[1]} is gone")
            elif key != (deed.plural, child) and found[0] != uid:
                lines.append(f"{plural} {key[1]} was made again")
            else:
                lines += differences(found[1], was, f"{plural} {key[1]}")
    return lines


def enter(world: World, digits: Deployed, phase: str) -> None:
    """Bring a resource into a phase."""
    specs, (condition, reason) = PHASES[phase]
    digits.create(specs[0])
    for spec in specs[1:]:
        digits.wait_current()
        digits.replace(spec)

    def has_begun() -> bool:
        body = digits.read()
        seen = body["status"].get("observedGeneration") == body["metadata"]["generation"]
        return bool(seen and digits.condition(condition).get("reason") == reason)

    digits.wait(phase, has_begun)
    world.operator.settle(digits.namespace, [], 2)


def play(world: World, phase: str) -> list[str]:
    """Do all deeds to a resource in a phase, one after the other; return what was not as expected."""
    lines = []
    with contextlib.contextmanager(fresh_namespace)(world.control_plane) as namespace:
        digits = Deployed(world.control_plane, namespace, "digits")
        enter(world, digits, phase)
        for deed in DEEDS:
            before = family(digits)
            for name in [name for plural, name in before if plural == deed.plural][:2]:
                lines += [
                    f"{phase}: {deed.plural} {deed.name}: {line}" for line in done(world, digits, deed, name)
                ]
    return lines


def done(world: World, digits: Deployed, deed: Deed, child: str) -> list[str]:
    before = family(digits)
    deed.do(digits, child)
    with contextlib.suppress(AssertionError):
        wait_until("as before", lambda: not wrong(before, family(digits), deed, child), 15, every=0.5)
    world.operator.settle(digits.namespace, [], 2)
    return wrong(before, family(digits), deed, child)


def test_each_child_comes_back_in_each_phase(running: World, request: pytest.FixtureRequest) -> None:
    with ThreadPoolExecutor(len(PHASES)) as pool:
        lines = [line for found in pool.map(partial(play, running), PHASES) for line in found]
    request.config.stash.setdefault(FACTS, []).append(f"{len(PHASES)} phases, {len(DEEDS)} deeds")
    assert not lines, "\n".join(lines)
