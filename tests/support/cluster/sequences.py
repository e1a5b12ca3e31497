"""Random lives of a ModelDeployment: what people, the cluster and misfortune do to it, and how it must end.

The oracle knows nothing of planning: a life must end as that of a fresh resource with the same spec, unless a
Job or a revision failed in our hands; then the annotation that asks for another try must lead there.
"""

import copy
import itertools
import json
import threading
from collections.abc import Callable
from functools import partial

from hypothesis import strategies as st

from modelpress.api import names
from tests.support.cluster.api import MERGE, ApiError, Json, path
from tests.support.cluster.by_hand import SPEC
from tests.support.cluster.controlplane import ControlPlane, wait_until
from tests.support.cluster.end_state import CHILDREN, differences, end_state
from tests.support.cluster.hands import AWAY, INVALID, MISFORTUNE, Hands, Owner
from tests.support.cluster.helpers import Deployed, merge
from tests.support.cluster.quiet import CountedOperator

RESYNCS = 10  # in a row that must write nothing
_PATIENCE = 600.0  # seconds: ends a hang, judges no speed
_AT_ONCE: Json = {"job": {"backoffLimit": 0}}  # what fails is tried again by the operator, not by the Job

# What people edit: variants of a part of the spec as merge patches; the first is what a life begins with.
ASPECTS: dict[str, dict[str, Json]] = {
    "replicas": {str(count): {"replicas": count} for count in (1, 0, 2, 3)},
    "model": {
        "digits": {},
        "moved": {"model": {"uri": "https://mirror.example.com/digits.keras"}},
        "other": {"model": {"uri": "https://example.com/other.keras"}},
        "invalid": {"model": {"uri": "https://example.com/invalid.keras"}},
        "newer": {"model": {"version": "2"}},
    },
    "scheme": {"none": {}, "int8": {"compression": {"quantization": {"scheme": "Int8Dynamic"}}}},
    "env": {
        "none": {},
        "a": {"worker": {"env": [{"name": "A", "value": "a"}]}},
        "crash": {"worker": {"env": [{"name": MISFORTUNE, "value": "1"}]}},
    },
    "limit": {
        "none": {},
        "kept": {"evaluation": {"maxSize": "1Ki"}},
        "missed": {"evaluation": {"maxSize": "50"}},
    },
    "pods": {"valid": {}, "refused": {"worker": {"affinity": {"nodeAffinty": {}}}}},
    "service": {
        "ClusterIP": {},
        "NodePort": {"service": {"type": "NodePort"}},
        "labelled": {"service": {"labels": {"team": "ml"}, "annotations": {"team": "ml"}}},
    },
    "strategy": {"RollingUpdate": {}, "Recreate": {"strategy": {"type": "Recreate"}}},
    "job": {"small": {}, "large": {"job": {"resources": {"limits": {"memory": "8Gi"}}}}},
    "suspend": {"no": {}, "yes": {"suspend": True}},
    "restartedAt": {"never": {}, "today": {}, "yesterday": {}},  # an annotation
}
FIRST = {aspect: next(iter(variants)) for aspect, variants in ASPECTS.items()}
Wish = dict[str, str]  # a variant of each aspect

# What others do to children, as merge patches.
CHILD_EDITS: dict[str, tuple[str, Json]] = {
    "replicas": ("deployments", {"spec": {"replicas": 5}}),
    "paused": ("deployments", {"spec": {"paused": True}}),
    "hostNetwork": ("deployments", {"spec": {"template": {"spec": {"hostNetwork": True}}}}),
    "selector": ("services", {"spec": {"selector": {"app": "other"}}}),
    "no ingress": ("networkpolicies", {"spec": {"ingress": None}}),
    "no eviction": ("poddisruptionbudgets", {"spec": {"maxUnavailable": 0}}),
    "number": ("controllerrevisions", {"revision": 99}),
    "pod taken out": ("pods", {"metadata": {"labels": {names.ROLE_LABEL: None}}}),
    **{
        f"no owner of {plural}": (plural, {"metadata": {"ownerReferences": None}})
        for plural in ("deployments", "services", "networkpolicies", "jobs", "controllerrevisions")
    },
}


class World:
    """A control plane with our hands and an operator, for any number of lives at once."""

    def __init__(self, control_plane: ControlPlane, hands: Hands, operator: CountedOperator) -> None:
        self.control_plane = control_plane
        self.hands = hands
        self.operator = operator
        self._numbers = itertools.count()
        self._fresh: dict[str, Json] = {}
        self._locks: dict[str, threading.Lock] = {}

    def play(self, namespace: str, steps: list[str]) -> None:
        """Let one life happen. AssertionError where it does not end as it must."""
        life = Life(self, namespace, f"life-{next(self._numbers):04d}")
        try:
            life.create()
            for step in steps:
                STEPS[step](life)
            life.check()
        finally:
            life.clear()

    def fresh(self, namespace: str, wish: Wish) -> Json:
        """Return how a resource ends that has never been anything else."""
        key = json.dumps(wish, sort_keys=True)
        with self._locks.setdefault(key, threading.Lock()):
            if key not in self._fresh:
                life = Life(self, namespace, f"fresh-{next(self._numbers):04d}", wish)
                try:
                    life.create()
                    life.settle(3)
                    self._fresh[key] = end_state(life.digits)
                finally:
                    life.clear()
            return self._fresh[key]


class Life:
    """One ModelDeployment, what is wished of it, and what was wished before."""

    def __init__(self, world: World, namespace: str, name: str, wish: Wish = FIRST) -> None:
        self.world = world
        self.api = world.control_plane.admin
        self.owner = Owner(namespace, name)
        self.digits = Deployed(world.control_plane, namespace, name)
        self.wishes = [wish]
        self.exists = False
        self._orphaned = False
        self._retries = 0

    @property
    def wish(self) -> Wish:
        """What is wished of it now."""
        return self.wishes[-1]

    def create(self) -> None:
        """Create it when its name is free."""
        if self.exists:
            return
        spec, annotations = self._spec(), self._annotations()
        wait_until("created", lambda: self.digits.create(spec, annotations), _PATIENCE)
        self.exists = True

    def edit(self, aspect: str, variant: str) -> None:
        """Change a part of the spec."""
        self.wishes.append({**self.wish, aspect: variant})
        self._write()

    def scale(self, replicas: str) -> None:
        """Change replicas as autoscalers do."""
        self.wishes.append({**self.wish, "replicas": replicas})
        if self.exists:
            content = {"spec": {"replicas": int(replicas)}}
            self.api.patch("modeldeployments", *self.owner, content, "scale")

    def revert(self) -> None:
        """Take the last change back."""
        if len(self.wishes) > 1:
            self.wishes.pop()
            self._write()

    def retry(self) -> None:
        """Ask for another try."""
        self._retries += 1
        if self.exists:
            self.digits.annotate(names.RETRY_ANNOTATION, str(self._retries))

    def delete(self, propagation: str) -> None:
        """Delete it, and wait until it is gone."""
        if self.exists:
            self.api.delete("modeldeployments", *self.owner, propagationPolicy=propagation)
            wait_until("gone", lambda: not self.api.find("modeldeployments", *self.owner), _PATIENCE)
            self.exists, self._orphaned = False, propagation == "Orphan"

    def delete_child(self, plural: str) -> None:
        """Delete the first child of a kind."""
        for child in self.digits.children(plural)[:1]:
            self.api.delete(plural, self.owner.namespace, child["metadata"]["name"], gracePeriodSeconds=0)

    def edit_child(self, edit: str) -> None:
        """Edit the first child of a kind."""
        plural, content = CHILD_EDITS[edit]
        for child in self.digits.children(plural)[:1]:
            where = path(plural, self.owner.namespace, child["metadata"]["name"])
            try:
                self.api.request("PATCH", where, content, content_type=MERGE, fieldManager="somebody")
            except ApiError as error:
                if error.code not in (404, 409):
                    raise

    def settle(self, resyncs: int) -> None:
        """Wait until so many resyncs in a row have written nothing, and nothing is being changed."""
        self.world.operator.settle(self.owner.namespace, [self.digits] if self.exists else [], resyncs)

    def check(self) -> None:
        """Wait until it has settled, and compare it with a fresh one."""
        self.settle(RESYNCS)
        if not self.exists:
            if not self._orphaned:
                self._wait_for_no_children(_is_owned)
            return
        expected = None
        if self.wish["suspend"] == "no":
            expected = self.world.fresh(self.owner.namespace, self.wish)
            if self._failed_in_our_hands(expected):
                self.world.hands.forget_misfortunes(self.owner)
                self.retry()
                self.settle(RESYNCS)
        found = self._wrong(expected)
        if found:  # on a busy machine it may not have begun yet
            self.settle(2 * RESYNCS)
            found = self._wrong(expected)
        assert not found, "differs from a fresh resource of the same spec:\n" + "\n".join(found)

    def clear(self) -> None:
        """Remove all that is left."""
        self.world.hands.forget_misfortunes(self.owner)
        self.delete("Background")
        for plural in CHILDREN:
            for child in self.digits.children(plural):
                self.api.delete(
                    plural, self.owner.namespace, child["metadata"]["name"], propagationPolicy="Background"
                )
        self._wait_for_no_children()

    def _wait_for_no_children(self, counts: Callable[[Json], object] = bool) -> None:
        def left() -> list[str]:
            children = [(plural, each) for plural in CHILDREN for each in self.digits.children(plural)]
            return [f"{plural} {each['metadata']}" for plural, each in children if counts(each)]

        try:
            wait_until("no children", lambda: not left(), _PATIENCE, every=0.5)
        except AssertionError as error:
            raise AssertionError("\n".join([str(error), *left()])) from None

    def _spec(self) -> Json:
        spec: Json = merge(SPEC, _AT_ONCE)
        for aspect, variant in self.wish.items():
            spec = merge(spec, ASPECTS[aspect][variant])
        return spec

    def _annotations(self) -> dict[str, str]:
        restarted = self.wish["restartedAt"]
        return {} if restarted == "never" else {names.RESTARTED_ANNOTATION: restarted}

    def _write(self) -> None:
        if self.exists:
            annotation = self._annotations().get(names.RESTARTED_ANNOTATION)
            annotations = {"metadata": {"annotations": {names.RESTARTED_ANNOTATION: annotation}}}
            self.api.patch("modeldeployments", *self.owner, annotations)
            self.digits.replace(self._spec())

    def _wrong(self, expected: Json | None) -> list[str]:
        found = end_state(self.digits)
        return [*self._held_up(found), *(self._differences(found, expected) if expected else [])]

    def _held_up(self, found: Json) -> list[str]:
        """Return what keeps that from going on and scaling which has served, whatever is being refused."""
        if "current" not in found["status"]:
            return []
        (deployment,) = found["deployments"]
        replicas, available = deployment["spec"]["replicas"], found["conditions"]["Available"]
        lines = [] if replicas == int(self.wish["replicas"]) else [f"{replicas} replicas: {self.wish}"]
        return lines if available["status"] == "True" else [*lines, f"what served does not: {available}"]

    def _failed_in_our_hands(self, expected: Json) -> bool:
        reason = _stalled(end_state(self.digits))
        return reason != _stalled(expected) and reason in self.world.hands.failed[self.owner]

    def _differences(self, found: Json, expected: Json) -> list[str]:
        if _stalled(expected):  # what failed has left nothing, or the revision before it
            return differences(_stalled(found), _stalled(expected), ".Stalled")
        if self.wish["replicas"] == "0":  # which revision is current depends on what has ever been ready
            expected = copy.deepcopy(expected)
            for state in (found, expected):
                for known in ("current", "candidate"):
                    state["status"].pop(known, None)
                state["conditions"]["Ready"].pop("message", None)
        return differences(found, expected)


def _is_owned(child: Json) -> object:
    """Return whether a child goes with its owner: what somebody took out of it stays."""
    return child["metadata"].get("ownerReferences")


def _stalled(state: Json) -> str | None:
    """Return why a resource is stalled."""
    condition = state["conditions"]["Stalled"]
    return str(condition["reason"]) if condition["status"] == "True" else None


_STEP = Callable[[Life], None]
EDITS: dict[str, _STEP] = {
    f"edit {aspect}={variant}": partial(Life.edit, aspect=aspect, variant=variant)
    for aspect, variants in ASPECTS.items()
    for variant in variants
}
LIVES: dict[str, _STEP] = {
    "settle": partial(Life.settle, resyncs=2),
    **{f"scale {count}": partial(Life.scale, replicas=count) for count in ASPECTS["replicas"]},
    "revert": Life.revert,
    "create": Life.create,
    "delete": partial(Life.delete, propagation="Background"),
    "delete foreground": partial(Life.delete, propagation="Foreground"),
    "delete orphan": partial(Life.delete, propagation="Orphan"),
    "retry": Life.retry,
}
OTHERS: dict[str, _STEP] = {
    **{f"delete one of {plural}": partial(Life.delete_child, plural=plural) for plural in CHILDREN},
    **{f"edit child: {edit}": partial(Life.edit_child, edit=edit) for edit in CHILD_EDITS},
}
MISFORTUNES: dict[str, _STEP] = {
    "crash a pod": lambda life: life.world.hands.crash_a_worker(life.owner),
    "fail the next Job": lambda life: life.world.hands.fail_next_job(life.owner, INVALID),
    "fail the next Job for a while": lambda life: life.world.hands.fail_next_job(life.owner, AWAY),
    "restart the operator": lambda life: life.world.operator.restart(),
}
STEPS = {**EDITS, **LIVES, **OTHERS, **MISFORTUNES}
_PARTS = st.lists(
    st.one_of(
        st.sampled_from(list(LIVES)),
        st.sampled_from(list(EDITS)),
        st.sampled_from(list(OTHERS)),
        st.sampled_from(list(MISFORTUNES)),
        st.just("settle"),
    ),
    max_size=10,
)
SEQUENCES = st.tuples(_PARTS, _PARTS).map(lambda parts: parts[0] + parts[1])  # ten steps as a rule
