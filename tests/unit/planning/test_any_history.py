"""Whatever was asked for before, and whatever failed: it ends as a fresh resource of the same spec does.

The cluster is a model of a real one. tests/matrix/cluster plays such lives on a real control plane.
"""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from hypothesis import given, settings
from hypothesis import strategies as st

from modelpress.api import contract, names
from modelpress.planning.artifacts import jobs
from modelpress.planning.types import Plan
from tests.support.cluster.by_hand import SPEC
from tests.support.cluster.end_state import differences
from tests.support.cluster.hands import MISFORTUNE
from tests.support.cluster.helpers import merge
from tests.support.cluster.sequences import ASPECTS, FIRST
from tests.unit.planning.fake_cluster import FakeCluster, Json

KEPT = ("Deployment", "Service", "NetworkPolicy", "PodDisruptionBudget")
FAILS = {"InvalidModel", "RolloutFailed"}


class Life:
    """A ModelDeployment whose Jobs and pods do what their content says."""

    def __init__(self, wish: dict[str, str]) -> None:
        self.wishes = [wish]
        self.cluster = FakeCluster(self._spec())
        self.fails_next = False
        self.failed = False

    def edit(self, aspect: str, variant: str) -> None:
        self._wish({**self.wishes[-1], aspect: variant})

    def revert(self) -> None:
        if len(self.wishes) > 1:
            self.wishes.pop()
            self._wish(self.wishes.pop())

    def retry(self) -> None:
        self.cluster.annotate(names.RETRY_ANNOTATION, str(self.cluster.now))

    def fail_next_job(self) -> None:
        self.fails_next = True

    def lose(self, kind: str) -> None:
        for key in [key for key in self.cluster.objects if key[0] == kind]:
            del self.cluster.objects[key]

    def plan(self) -> None:
        self.cluster.settle()

    def live(self) -> None:
        """Let Jobs end and pods start until nothing changes."""
        for _ in range(12):
            self.cluster.settle()
            before = copy.deepcopy((self.cluster.objects, self.cluster.resource["status"]))
            self.end_jobs()
            self.cluster.settle()
            self.start_pods()
            self.cluster.settle()
            self.cluster.wait(700)
            if before == (self.cluster.objects, self.cluster.resource["status"]):
                return
        raise AssertionError("no end")

    def state(self) -> Json:
        status = {key: value for key, value in self.cluster.status.items() if key != "failed"}
        conditions = {
            each["type"]: {key: each[key] for key in ("status", "reason", "message")}
            for each in status.pop("conditions")
        }
        status.pop("observedGeneration")
        children = {
            kind: {key: each for key, each in body.items() if key in ("spec",)}
            for (kind, _), body in self.cluster.objects.items()
            if kind in KEPT
        }
        text = json.dumps({"status": status, "conditions": conditions, **children}, sort_keys=True)
        for kind, name in self.cluster.objects:
            if kind in ("ControllerRevision", "Job"):
                text = text.replace(name, kind)
        anonymous: Json = json.loads(text)
        return anonymous

    def _spec(self) -> Json:
        spec: Json = SPEC
        for aspect, variant in self.wishes[-1].items():
            spec = merge(spec, ASPECTS[aspect][variant])
        return spec

    def _wish(self, wish: dict[str, str]) -> None:
        self.wishes.append(wish)
        self.cluster.resource["spec"] = self._spec()
        self.cluster.resource["metadata"]["generation"] += 1
        if wish["restartedAt"] != "never":
            self.cluster.annotate(names.RESTARTED_ANNOTATION, wish["restartedAt"])
        else:
            self.cluster.resource["metadata"].get("annotations", {}).pop(names.RESTARTED_ANNOTATION, None)

    def end_jobs(self) -> None:
        for (kind, name), body in list(self.cluster.objects.items()):
            if kind == "Job" and jobs.finished_at(body) is None:
                variables = body["spec"]["template"]["spec"]["containers"][0]["env"]
                request = json.loads(next(e["value"] for e in variables if e["name"] == contract.REQUEST))
                file = request["model"]["uri"].rpartition("/")[2]
                if "invalid" in file or self.fails_next:
                    self.failed = self.failed or self.fails_next
                    self.fails_next = False
                    self.cluster.job_fails(65, '{"reason": "InvalidModel", "message": "no"}', job=name)
                else:
                    digest = f"{sum(map(ord, file)):032x}{len(request.get('compression') or {}):032x}"
                    result = self.cluster.job_result(
                        recipeHash=request["recipeHash"],
                        artifactDigest=f"sha256:{digest}",
                        sourceDigest=f"sha256:{digest}",
                        originalBytes=400,
                        compressedBytes=100,
                    )
                    self.cluster.job_succeeds(result, job=name)

    def start_pods(self) -> None:
        deployment = self.cluster.objects.get(("Deployment", "digits"))
        if deployment is None:
            return
        variables = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
        if any(each["name"] == MISFORTUNE for each in variables):
            self.cluster.roll_out(ready=False)
            if deployment["spec"]["replicas"]:
                self.failed = True
                self.cluster.crashing_worker("worker", 5, self.cluster.terminated(1))
        else:
            self.cluster.roll_out(ready=True)


EDITS: dict[str, Callable[[Life], None]] = {
    f"edit {aspect}={variant}": partial(Life.edit, aspect=aspect, variant=variant)
    for aspect, variants in ASPECTS.items()
    for variant in variants
}
REST: dict[str, Callable[[Life], None]] = {
    "live": Life.live,
    "plan": Life.plan,
    "revert": Life.revert,
    "retry": Life.retry,
    "the next Job fails": Life.fail_next_job,
    "pods start": Life.start_pods,
    "Jobs end": Life.end_jobs,
    **{f"no {kind}": partial(Life.lose, kind=kind) for kind in (*KEPT, "Job", "ControllerRevision")},
}
STEPS = {**EDITS, **REST}
LIVES = st.lists(
    st.one_of(st.sampled_from(list(REST)), st.sampled_from(list(EDITS)), st.just("live")), max_size=20
)


def stalled(state: Json) -> str | None:
    condition = state["conditions"]["Stalled"]
    return condition["reason"] if condition["status"] == "True" else None


@settings(max_examples=12, derandomize=True, deadline=None)
@given(LIVES)
def test_a_life_ends_as_a_fresh_resource(steps: list[str]) -> None:
    life = Life(FIRST)
    for step in steps:
        STEPS[step](life)
        life.cluster.wait(1)
    life.fails_next = False
    life.live()
    assert replace(life.cluster.plan(), requeue=None) == Plan(), steps
    wish = life.wishes[-1]
    if wish["suspend"] == "yes":
        return
    fresh = Life(wish)
    fresh.retry()
    fresh.live()
    expected, found = fresh.state(), life.state()
    if stalled(found) != stalled(expected) and stalled(found) in FAILS and life.failed:
        life.retry()
        life.live()
        found = life.state()
    if stalled(expected):
        assert stalled(found) == stalled(expected), steps
        return
    if wish["replicas"] == "0":
        for state in (found, expected):
            state["conditions"]["Ready"].pop("message")
            for known in ("current", "candidate"):
                state["status"].pop(known, None)
    assert not differences(found, expected), steps
