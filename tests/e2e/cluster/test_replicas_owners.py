"""Who decides spec.replicas where an autoscaler and appliers of manifests write: what docs/serving.md says.

The autoscaler's writes are made here as the HPA controller makes them, by its own user (test_autoscaling runs
the real one); all else is the real kubectl. The pods are never started.
"""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import pytest
import yaml

from modelpress.api import names
from tests.e2e.cluster.test_control_loop import operator
from tests.support.cluster.api import Api, Json
from tests.support.cluster.by_hand import SPEC, finish_job
from tests.support.cluster.controlplane import ControlPlane, wait_until
from tests.support.cluster.fixtures import FACTS
from tests.support.cluster.helpers import Deployed, Operator, now

__all__ = ["operator"]

HPA_USER = "system:serviceaccount:kube-system:horizontal-pod-autoscaler"
HPA_MANAGER = "kube-controller-manager"
WRITES = 200 if os.environ.get("MODELPRESS_FULL") else 40
SERVER_SIDE = ("--server-side",)
ARGO = ("--field-manager=argocd-controller",)
ARGO_SERVER_SIDE = ("--server-side", "--force-conflicts", *ARGO)


@dataclass(frozen=True)
class Way:
    """How manifests come to a cluster, and what a `replicas` in them does after the autoscaler's write."""

    options: tuple[str, ...]
    has_replicas: bool
    counts: bool = True  # the manifest's replicas are set again; else the apply is refused

    def spec(self, replicas: int) -> Json:
        """Return what the manifest says of replicas."""
        return {"replicas": replicas} if self.has_replicas else {}

    def after(self, live: int, named: int) -> int:
        """Return the replicas after an apply of a manifest that names so many."""
        return named if self.has_replicas and self.counts else live


WAYS = {
    "kubectl": Way((), has_replicas=False),
    "kubectl-replicas": Way((), has_replicas=True),
    "server-side": Way(SERVER_SIDE, has_replicas=False),
    "server-side-replicas": Way(SERVER_SIDE, has_replicas=True, counts=False),
    "argo": Way(ARGO, has_replicas=False),
    "argo-replicas": Way(ARGO, has_replicas=True),
    "argo-server-side": Way(ARGO_SERVER_SIDE, has_replicas=False),
    "argo-server-side-replicas": Way(ARGO_SERVER_SIDE, has_replicas=True),
}


class Resource(Deployed):
    """A ModelDeployment whose manifest is applied in some way, and that an autoscaler scales."""

    def manifest(self, spec: Json | None = None) -> str:
        """Return its manifest, with more fields of the spec."""
        metadata = {"name": self.name, "namespace": self.namespace}
        body = {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": metadata}
        return yaml.safe_dump({**body, "spec": {**SPEC, **(spec or {})}})

    def kubectl_apply(self, *options: str, refused: bool = False, spec: Json | None = None) -> str:
        """Apply; return what kubectl says. Where it is `refused`, for a conflict."""
        done = self.cluster.kubectl(
            "apply", "-f", "-", *options, input=self.manifest(spec), check=not refused
        )
        assert bool(done.returncode) == refused, done.stdout + done.stderr
        return done.stdout + done.stderr

    @property
    def replicas(self) -> int:
        """What spec.replicas says."""
        found: int = self.read()["spec"]["replicas"]
        return found

    def owners(self) -> set[tuple[str, str]]:
        """Return who owns spec.replicas: managers, each with its subresource or operation."""
        return {
            (entry["manager"], entry.get("subresource") or entry["operation"])
            for entry in self.read()["metadata"]["managedFields"]
            if "f:replicas" in entry["fieldsV1"].get("f:spec", {})
        }


@contextmanager
def autoscaler(control_plane: ControlPlane) -> Iterator[Api]:
    """Be the HPA controller."""
    api = control_plane.api_as(HPA_USER)
    yield api
    api.close()


def test_the_autoscalers_value_stands_and_each_change_is_one_change(
    control_plane: ControlPlane, operator: Operator, namespace: str, request: pytest.FixtureRequest
) -> None:
    dice = random.Random(10)
    resources = {name: Resource(control_plane, namespace, name) for name in WAYS}
    generations: dict[str, int] = {}
    changes = 0
    with autoscaler(control_plane) as hpa:
        for name, resource in resources.items():
            way = WAYS[name]
            resource.kubectl_apply(*way.options, spec=way.spec(2))
            finish_job(resource)
            wait_until("a Deployment", partial(resource.children, "deployments"))
            resource.write_scale(3, HPA_MANAGER, hpa)
            generations[name] = _followed(resource, 3)["metadata"]["generation"]
        for _ in range(WRITES):
            name = dice.choice(list(WAYS))
            way, resource = WAYS[name], resources[name]
            before, chosen = resource.replicas, dice.randint(1, 4)
            if dice.random() < 0.5:
                resource.write_scale(chosen, HPA_MANAGER, hpa)
                expected = chosen
            else:
                expected = way.after(before, chosen)
                refused = way.has_replicas and not way.counts and chosen != before
                said = resource.kubectl_apply(*way.options, refused=refused, spec=way.spec(chosen))
                assert not refused or (".spec.replicas" in said and HPA_MANAGER in said)
            assert resource.replicas == expected, name
            changes += expected != before
            generations[name] += expected != before
            assert _followed(resource, expected)["metadata"]["generation"] == generations[name], name
    since = now()
    for name, resource in resources.items():  # a change of something else shows that nothing is left to do
        resource.annotate("example.com/look", "again")
        assert _followed(resource, resource.replicas)["metadata"]["generation"] == generations[name]
        for plural in ("jobs", "controllerrevisions", "replicasets"):
            assert len(resource.children(plural)) == 1, (name, plural)
    writes = [each.resource for each in resources["kubectl"].writes_since(since, operator.user)]
    assert "deployments" not in writes
    fact = f"{WRITES} of {WRITES} writes of replicas end as documented: {changes} changes, each of them one"
    request.config.stash.setdefault(FACTS, []).append(fact)


def _followed(resource: Resource, replicas: int) -> Json:
    """Wait until the Deployment has so many replicas; return it."""

    def followed() -> Json | None:
        body = resource.api.get("deployments", resource.namespace, resource.name)
        return body if body["spec"]["replicas"] == replicas else None

    return wait_until(f"{resource.name}: the Deployment follows", followed)


# what docs/serving.md says of handing replicas over to an autoscaler; no operator takes part


@pytest.fixture
def digits(control_plane: ControlPlane, crd: str, namespace: str) -> Resource:
    return Resource(control_plane, namespace, "digits")


def take(digits: Resource, *options: str) -> None:
    """Apply with three replicas."""
    digits.kubectl_apply(*options, spec={"replicas": 3})
    assert digits.replicas == 3


def hand_over(digits: Resource, replicas: int) -> None:
    """Have another manager own the replicas, too."""
    head = {"apiVersion": names.API_VERSION, "kind": names.KIND}
    body = {**head, "metadata": {"name": digits.name}, "spec": {"replicas": replicas}}
    digits.cluster.kubectl(
        *("-n", digits.namespace, "apply", "--server-side", "--field-manager=handover", "-f", "-"),
        input=yaml.safe_dump(body),
    )


@pytest.mark.parametrize("options", [(), ARGO], ids=["kubectl", "argo"])
def test_replicas_dropped_from_a_client_side_manifest_are_reset_whoever_wrote_them_last(
    digits: Resource, options: tuple[str, ...]
) -> None:
    take(digits, *options)
    with autoscaler(digits.cluster) as hpa:
        digits.write_scale(5, HPA_MANAGER, hpa)
    digits.kubectl_apply(*options)
    assert digits.replicas == 1


@pytest.mark.parametrize("options", [(), ARGO], ids=["kubectl", "argo"])
def test_set_last_applied_hands_over_what_a_client_side_manifest_had(
    digits: Resource, options: tuple[str, ...]
) -> None:
    take(digits, *options)
    digits.cluster.kubectl("apply", "set-last-applied", "-f", "-", input=digits.manifest())
    digits.kubectl_apply(*options)
    assert digits.replicas == 3


@pytest.mark.parametrize("options", [SERVER_SIDE, ARGO_SERVER_SIDE], ids=["kubectl", "argo"])
def test_replicas_dropped_from_a_server_side_manifest_are_reset_unless_the_autoscaler_wrote_them_last(
    digits: Resource, options: tuple[str, ...]
) -> None:
    take(digits, *options)
    digits.kubectl_apply(*options)
    assert digits.replicas == 1
    take(digits, *options)
    with autoscaler(digits.cluster) as hpa:
        digits.write_scale(5, HPA_MANAGER, hpa)
    assert digits.owners() == {(HPA_MANAGER, "scale")}
    digits.kubectl_apply(*options)
    assert digits.replicas == 5


@pytest.mark.parametrize("options", [SERVER_SIDE, ARGO_SERVER_SIDE], ids=["kubectl", "argo"])
def test_another_owner_of_the_same_value_takes_over_what_a_server_side_manifest_had(
    digits: Resource, options: tuple[str, ...]
) -> None:
    take(digits, *options)
    hand_over(digits, 3)
    digits.kubectl_apply(*options)
    assert digits.replicas == 3
    assert digits.owners() == {("handover", "Apply")}
    with autoscaler(digits.cluster) as hpa:
        digits.write_scale(4, HPA_MANAGER, hpa)
    assert digits.owners() == {(HPA_MANAGER, "scale")}


@pytest.mark.parametrize("handed_over", [False, True])
def test_a_change_from_client_side_to_server_side_resets_what_the_manifest_once_had_and_nobody_took_over(
    digits: Resource, handed_over: bool
) -> None:
    take(digits)
    digits.cluster.kubectl("apply", "set-last-applied", "-f", "-", input=digits.manifest())
    digits.kubectl_apply()
    assert digits.replicas == 3
    if handed_over:
        hand_over(digits, 3)
    digits.kubectl_apply(*SERVER_SIDE)
    assert digits.replicas == (3 if handed_over else 1)
