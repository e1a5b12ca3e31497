"""Operators of other releases, one after another, beside ModelDeployments in every state: nothing restarts.

An earlier commit as it was built, this checkout, and a next release made of it with small changes. The
CustomResourceDefinition is applied before, with and after the operator.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pytest

from modelpress.api import names
from tests.support.cluster.api import Json
from tests.support.cluster.by_hand import ARGUMENTS, finish_job
from tests.support.cluster.controlplane import ControlPlane, wait_until
from tests.support.cluster.earlier_release import EARLIER, Present, Release, earlier
from tests.support.cluster.environment import new_operator
from tests.support.cluster.fixtures import FACTS
from tests.support.cluster.helpers import Deployed, Operator, now
from tests.support.cluster.next_release import next_release
from tests.support.cluster.states import STATES, until_current

IMAGES = {"earlier": 1, "present": 2, "next": 3}  # the tags of each release's images
MADE = ("jobs", "replicasets", "controllerrevisions", "pods")


class Hop(NamedTuple):
    """From the operator that runs to another."""

    to: str  # a release
    crd: str  # when its CustomResourceDefinition is applied: before, with or after it


HOPS = (
    Hop("present", "before"),
    Hop("earlier", "with"),
    Hop("next", "after"),
    Hop("present", "before"),
)
MORE_HOPS = (
    Hop("next", "with"),
    Hop("present", "after"),
    Hop("earlier", "before"),
    Hop("present", "after"),
)


@dataclass
class Fleet:
    """The ModelDeployments by state, and the operator of the moment."""

    control_plane: ControlPlane
    releases: Mapping[str, Release]
    folder: Path
    facts: list[str]
    all: dict[str, Deployed] = field(default_factory=dict)
    operator: Operator | None = None

    def start(self, release: str) -> str:
        """Start the operator of a release in the place of the one that runs; return the time just before."""
        if self.operator:
            assert self.operator.stop() == 0
        made = self.releases[release]
        self.control_plane.kubectl("apply", "-k", str(made.manifests / "rbac"))
        images = [argument.replace(":1", f":{IMAGES[release]}") for argument in ARGUMENTS]
        arguments = [*images, f"--max-concurrent-jobs={len(STATES)}"]  # all begin at once
        folder = self.folder / f"{len(list(self.folder.iterdir()))}-{release}"
        self.operator = new_operator(self.control_plane, arguments, folder, made.python)
        since = now()
        self.operator.start()
        return since

    def install(self, release: str) -> None:
        """Apply the CustomResourceDefinition of a release."""
        self.control_plane.kubectl("apply", "--server-side", "-k", str(self.releases[release].crds))

    def each(self, action: Callable[[Deployed, str], None]) -> None:
        """Do something with all at once."""
        with ThreadPoolExecutor(len(self.all)) as pool:
            for _ in pool.map(action, self.all.values(), self.all):
                pass

    def writes(self, since: str) -> dict[str, Counter[str]]:
        """Return the operator's writes to each, by verb and object."""
        assert self.operator is not None
        found = {state: Counter[str]() for state in self.all}
        states = {digits.namespace: state for state, digits in self.all.items()}
        for request in self.control_plane.audit(user=self.operator.user, since=since):
            if request.writes and request.namespace in states:
                found[states[request.namespace]][f"{request.verb} {request.resource} {request.name}"] += 1
        return found

    def rest(self, since: str) -> None:
        """Wait until the operator has looked at all and written nothing for three resyncs."""
        assert self.operator is not None
        user, ours = self.operator.user, {digits.namespace for digits in self.all.values()}

        def rested() -> bool:
            requests = self.control_plane.audit(user=user, since=since)
            writes = [each.at for each in requests if each.writes and each.namespace in ours]
            lists = [each.at for each in requests if f"{each.verb} {each.resource}" == "list networkpolicies"]
            quiet = [at for at in lists if at > max(writes, default=since)]
            return len(quiet) >= 5  # the first ones are those of its start

        wait_until("no writes for three resyncs", rested, 180, every=0.5)

    def made(self) -> dict[str, dict[str, set[str]]]:
        """Return the UIDs of what an upgrade must not make anew."""
        return {
            state: {
                plural: {child["metadata"]["uid"] for child in digits.children(plural)} for plural in MADE
            }
            for state, digits in self.all.items()
        }

    def templates(self) -> dict[str, list[Json]]:
        """Return the pod templates of the Deployments."""
        return {
            state: [deployment["spec"]["template"] for deployment in digits.children("deployments")]
            for state, digits in self.all.items()
        }

    def verdicts(self) -> dict[str, list[tuple[str, str, str]]]:
        """Return the conditions, without their words."""
        return {
            state: [
                (condition["type"], condition["status"], condition["reason"])
                for condition in digits.status["conditions"]
            ]
            for state, digits in self.all.items()
        }

    def hop(self, number: int, hop: Hop) -> None:
        """Change the release, and see that nothing comes of it but fields put in order, once."""
        assert self.operator is not None
        made, templates, verdicts = self.made(), self.templates(), self.verdicts()
        if hop.crd == "before":
            since = now()
            self.install(hop.to)
            self.rest(since)
            # an older one takes fields out of a stored status, which the operator of now tries to put back
            most = 2 if hop.to == "earlier" else 0
            for each in self.writes(since).values():
                assert all("/status" in what and count <= most for what, count in each.items()), each
        since = self.start(hop.to)
        if hop.crd == "with":
            self.install(hop.to)
        self.rest(since)
        if hop.crd == "after":
            self.install(hop.to)
            self.rest(now())
        writes = self.writes(since)
        total = Counter(what.rpartition(" ")[0] for each in writes.values() for what in each.elements())
        self.facts.append(
            f"hop {number} to {hop.to} ({hop.crd} its CRD): {len(self.all)} resources, {dict(total)}"
        )
        print(self.facts[-1])
        for state, each in writes.items():
            print("   ", state, dict(each))
        assert self.made() == made
        assert self.templates() == templates
        assert self.verdicts() == verdicts
        for each in writes.values():
            # two of a status: the first takes what an older CRD has no field for out of the stored object
            assert all(count <= (2 if "/status" in what else 1) for what, count in each.items()), writes
        assert {what.split()[0] for what in total} <= {"patch", "update"}, total
        assert "Traceback" not in (self.operator.folder / "operator.log").read_text()


@pytest.fixture
def fleet(control_plane: ControlPlane, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """Nothing but the releases, built."""
    commit = os.environ.get("MODELPRESS_EARLIER", EARLIER)
    releases = {"earlier": earlier(commit), "present": Present(), "next": next_release(tmp_path / "next")}
    (tmp_path / "operators").mkdir()
    facts = request.config.stash.setdefault(FACTS, [])
    fleet = Fleet(control_plane, releases, tmp_path / "operators", facts)
    control_plane.kubectl(
        "apply", "-f", str(fleet.releases["present"].manifests / "operator" / "namespace.yaml")
    )
    yield fleet
    for digits in fleet.all.values():
        control_plane.admin.delete("namespaces", None, digits.namespace)
    if fleet.operator:
        fleet.operator.stop()
    fleet.install("present")
    control_plane.kubectl("apply", "-k", str(fleet.releases["present"].manifests / "rbac"))


def populate(fleet: Fleet, prefix: str) -> None:
    """Bring a ModelDeployment into each state."""
    for number, state in enumerate(STATES):
        namespace = f"{prefix}-{number}"
        fleet.control_plane.admin.create("namespaces", None, {"metadata": {"name": namespace}})
        fleet.all[state] = Deployed(fleet.control_plane, namespace, "digits")
    fleet.each(bring_about)


def bring_about(digits: Deployed, state: str) -> None:
    """Bring a ModelDeployment into a state."""
    wait_until("ServiceAccount", lambda: digits.api.find("serviceaccounts", digits.namespace, "default"))
    STATES[state](digits)


def test_releases_follow_each_other_and_nothing_is_made_anew(fleet: Fleet) -> None:
    fleet.install("earlier")
    since = fleet.start("earlier")
    populate(fleet, "upgrade")
    fleet.rest(since)
    hops = HOPS + MORE_HOPS if os.environ.get("MODELPRESS_FULL") else HOPS
    for number, hop in enumerate(hops, 1):
        fleet.hop(number, hop)
    go_on(fleet)
    restart(fleet.all["serving"], f"example.com/worker:{IMAGES['present']}")


def go_on(fleet: Fleet) -> None:
    """Let those that were on their way arrive, by nothing but what was there."""
    for state in ("compressing", "compressing anew"):
        jobs = fleet.all[state].job_names()
        finish_job(fleet.all[state])
        until_current(fleet.all[state])
        assert fleet.all[state].job_names() == jobs
    until_current(fleet.all["rolling out"])


def restart(digits: Deployed, image: str) -> None:
    """Ask for a new revision: that alone takes the image of a newer release."""
    before, jobs = (
        {each["metadata"]["name"] for each in digits.children("controllerrevisions")},
        digits.job_names(),
    )
    assert digits.status["current"]["workerImage"] != image
    digits.annotate(names.RESTARTED_ANNOTATION, "now")

    def arrived() -> bool:
        until_current(digits)
        return bool(digits.status["current"]["name"] not in before)

    digits.wait("another revision", arrived)
    assert digits.status["current"]["workerImage"] == image
    (deployment,) = digits.children("deployments")
    pod = deployment["spec"]["template"]["spec"]
    assert {each["image"] for each in (*pod["initContainers"], *pod["containers"])} == {image}
    assert len(digits.children("controllerrevisions")) == len(before) + 1
    assert digits.job_names() == jobs
