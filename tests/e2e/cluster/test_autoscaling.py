"""The real HPA controller scales by what real workers say: their requests in flight, under real requests.

Only the compression Job is ended by hand: its artifact was made and pushed before.
"""

import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest
import yaml

from modelpress.api import names
from modelpress.artifacts.image import pack
from modelpress.artifacts.stores.base import open_store
from tests.support.cluster.api import Json
from tests.support.cluster.by_hand import ARGUMENTS, SPEC, finish_job
from tests.support.cluster.controlplane import ControlPlane, wait_until
from tests.support.cluster.custom_metrics import custom_metrics, gauge
from tests.support.cluster.environment import new_operator
from tests.support.cluster.fixtures import FACTS, fresh_namespace
from tests.support.cluster.helpers import Deployed, Operator, now
from tests.support.cluster.node import Node
from tests.support.servers.servers import Registry
from tests.support.serving.artifacts import convert, make_artifact

MANIFESTS = Path(__file__).resolve().parents[3] / "manifests"
SAMPLE = MANIFESTS / "autoscaling" / "hpa.yaml"
HPA_USER = "system:serviceaccount:kube-system:horizontal-pod-autoscaler"
METRIC = "modelpress_in_flight"
CLIENTS, PODS = 22, 3  # as many pods as the sample has for so many requests


@pytest.fixture(scope="module")
def push(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Stores a classifier's artifact for a namespace and returns its digest."""
    folder = tmp_path_factory.mktemp("autoscaling")
    convert(folder / "models")
    image = pack(make_artifact(folder / "models" / "seed-int8.tflite", folder / "artifact"))
    return lambda namespace: open_store(f"oci://{registry.host}/models/{namespace}").push(image, "0" * 64)


@pytest.fixture(scope="module")
def operator(
    control_plane: ControlPlane, crd: str, registry: Registry, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Operator]:
    """An operator whose store is the registry."""
    control_plane.kubectl("apply", "-f", str(MANIFESTS / "operator" / "namespace.yaml"))
    control_plane.kubectl("apply", "-k", str(MANIFESTS / "rbac"))
    store = [f"--store=oci://{registry.host}/models", f"--plain-http-registry={registry.host}"]
    arguments = [*ARGUMENTS, *store]  # the last of two counts
    running = new_operator(control_plane, arguments, tmp_path_factory.mktemp("scaled") / "operator")
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def digits(
    control_plane: ControlPlane, operator: Operator, node: Node, push: Callable[[str], str]
) -> Iterator[Deployed]:
    """A resource with one real worker; requests wait a second for company, and so are in flight."""
    serving = {"maxBatchDelayMilliseconds": 1000, "drainSeconds": 2}
    spec = {key: value for key, value in SPEC.items() if key != "worker"}
    with custom_metrics(control_plane):
        for namespace in fresh_namespace(control_plane):
            made = Deployed(control_plane, namespace, "digits")
            made.apply({**spec, "serving": serving})
            finish_job(made, push(namespace))
            made.wait_current()
            yield made


class Load:
    """Clients that each keep to one ready pod, as connections do, so that the requests are spread evenly."""

    def __init__(self, digits: Deployed, clients: int) -> None:
        self._digits = digits
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(each,), daemon=True) for each in range(clients)
        ]
        self._addresses: list[str] = []
        self.answered: set[str] = set()  # who answered
        self.failures: list[str] = []

    def __enter__(self) -> "Load":
        self._look()
        for thread in self._threads:
            thread.start()
        threading.Thread(target=self._keep_looking, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _keep_looking(self) -> None:
        while not self._stop.wait(0.5):
            self._look()

    def _look(self) -> None:
        self._addresses = sorted(self._digits.addresses())

    def _run(self, number: int) -> None:
        body = {"instances": [[0.0] * 64]}
        with httpx.Client(timeout=30, trust_env=False) as http:
            while not self._stop.is_set():
                addresses = self._addresses
                address = addresses[number % len(addresses)]
                try:
                    http.post(f"http://{address}/v1/models/digits:predict", json=body).raise_for_status()
                except httpx.HTTPError as error:
                    self.failures.append(f"{address}: {error!r}")
                    return
                self.answered.add(address)


def in_flight(digits: Deployed) -> list[float]:
    """Return how many requests each ready worker is answering."""
    return [gauge(address, METRIC) or 0 for address in digits.addresses()]


def hpa(digits: Deployed) -> Json:
    """Return the HorizontalPodAutoscaler."""
    where = f"/apis/autoscaling/v2/namespaces/{digits.namespace}/horizontalpodautoscalers/{digits.name}"
    return digits.api.request("GET", where)


def hpa_condition(digits: Deployed, kind: str) -> tuple[str, str]:
    """Return status and reason of a condition of the autoscaler."""
    conditions = hpa(digits).get("status", {}).get("conditions", ())
    found = (each for each in conditions if each["type"] == kind)
    return next(((each["status"], each["reason"]) for each in found), ("", ""))


def apply_sample(digits: Deployed, kind: str = names.KIND) -> None:
    """Apply the sample, which goes down at once here, and may aim elsewhere."""
    body = yaml.safe_load(SAMPLE.read_text().replace("name: digits", f"name: {digits.name}"))
    body["spec"]["behavior"]["scaleDown"]["stabilizationWindowSeconds"] = 0
    version = names.API_VERSION if kind == names.KIND else "apps/v1"
    body["spec"]["scaleTargetRef"] |= {"apiVersion": version, "kind": kind}
    digits.cluster.kubectl("-n", digits.namespace, "apply", "-f", "-", input=yaml.safe_dump(body))


def deployment(digits: Deployed) -> Json:
    """Return the Deployment."""
    return digits.api.get("deployments", digits.namespace, "digits")


def owner_of_replicas(body: Json) -> list[tuple[str, str | None]]:
    """Return who set spec.replicas, and through which subresource."""
    return [
        (entry["manager"], entry.get("subresource"))
        for entry in body["metadata"]["managedFields"]
        if "f:replicas" in entry["fieldsV1"].get("f:spec", {})
    ]


def looks(digits: Deployed, since: str) -> int:
    """Return how often the autoscaler has looked at the Deployment since then."""
    audit = digits.cluster.audit(user=HPA_USER, since=since)
    seen = [each for each in audit if each.resource == "deployments/scale" and each.verb == "get"]
    return len([each for each in seen if each.namespace == digits.namespace])


def made_of(digits: Deployed) -> tuple[set[str], ...]:
    """Return the names of what a scaling must not add to."""
    kinds = ("jobs", "controllerrevisions", "replicasets")
    return tuple({body["metadata"]["name"] for body in digits.children(kind)} for kind in kinds)


def test_it_goes_up_under_load_and_down_after_it(
    digits: Deployed, operator: Operator, request: pytest.FixtureRequest
) -> None:
    before, since = made_of(digits), now()
    apply_sample(digits)
    wait_until("ScalingActive", lambda: hpa_condition(digits, "ScalingActive")[0] == "True")
    with Load(digits, CLIENTS) as load:
        digits.wait("three", lambda: digits.read()["spec"]["replicas"] == PODS)
        digits.wait("three answer", lambda: len(load.answered) >= PODS)
        assert owner_of_replicas(digits.read()) == [("kube-controller-manager", "scale")]
        most = sum(in_flight(digits))
    digits.wait("one again", lambda: digits.read()["spec"]["replicas"] == 1)
    digits.wait("one pod", lambda: digits.status["replicas"] == 1)
    assert load.failures == []
    assert 0 < most <= CLIENTS
    assert made_of(digits) == before
    assert digits.wait_current()["readyReplicas"] == 1
    audit = digits.cluster.audit(since=since)
    written = [each for each in audit if each.writes and each.code == 200]
    here = [each for each in written if each.namespace == digits.namespace]
    by_hpa = [each for each in here if each.user == HPA_USER and each.resource == "modeldeployments/scale"]
    ours = [each for each in here if each.user == operator.user and each.resource == "deployments"]
    assert 2 <= len(ours) <= len(by_hpa), "at most one write of the Deployment for each of the autoscaler"
    fact = f"HPA: 1 -> {PODS} -> 1 pods in {len(by_hpa)} writes; {most:g} of {CLIENTS} requests in flight"
    request.config.stash.setdefault(FACTS, []).append(fact)


def test_the_selector_comes_with_the_first_status_so_that_only_the_pods_are_missing(digits: Deployed) -> None:
    unborn = Deployed(digits.cluster, digits.namespace, "unborn")
    seen = digits.api.watch("modeldeployments", fieldSelector=f"metadata.name={unborn.name}")
    next(seen)  # the list, which is empty
    unborn.apply(SPEC)
    first = next(body["status"] for _, body in seen if body["status"].get("conditions"))
    assert first["selector"] == names.selector_text(names.worker_selector(unborn.name))
    apply_sample(unborn)
    expected = ("False", "FailedGetPodsMetric")
    wait_until("no pods", lambda: hpa_condition(unborn, "ScalingActive") == expected)
    assert hpa_condition(unborn, "AbleToScale") == ("True", "SucceededGetScale")
    unborn.cluster.kubectl("-n", unborn.namespace, "delete", "mdep,hpa", unborn.name)


def test_zero_and_back_as_keda_scales_needs_no_job_and_no_revision(digits: Deployed) -> None:
    before = made_of(digits)
    apply_sample(digits)
    for replicas in (0, 1):
        digits.write_scale(replicas, "keda")
        digits.wait("so many pods", partial(has_pods, digits, replicas))
        digits.wait_current()
        wait_until("the HPA's view", partial(is_autoscaled, digits, replicas > 0))
    assert made_of(digits) == before
    assert deployment(digits)["spec"]["replicas"] == digits.read()["spec"]["replicas"] == 1


def has_pods(digits: Deployed, replicas: int) -> bool:
    """Return whether so many pods are ready, and the status says so."""
    return len(digits.ready_pods()) == replicas == digits.status.get("replicas")


def is_autoscaled(digits: Deployed, active: bool) -> bool:
    """Return whether the autoscaler says that it works, or that somebody scaled to zero."""
    expected = ("True", "ValidMetricFound") if active else ("False", "ScalingDisabled")
    return hpa_condition(digits, "ScalingActive") == expected


def test_one_that_aims_at_the_deployment_scales_it_without_to_and_fro_and_is_told_where_to_aim(
    digits: Deployed, operator: Operator, request: pytest.FixtureRequest
) -> None:
    since = now()
    apply_sample(digits, "Deployment")
    with Load(digits, CLIENTS):
        digits.wait("three", lambda: deployment(digits)["spec"]["replicas"] == PODS)
        message = digits.wait("told", lambda: told(digits))
        settled, generation = now(), deployment(digits)["metadata"]["generation"]
        wait_until("more looks of the autoscaler", lambda: looks(digits, settled) >= 3)
        body = deployment(digits)
        assert (body["spec"]["replicas"], body["metadata"]["generation"]) == (PODS, generation)
        assert owner_of_replicas(body) == [("kube-controller-manager", "scale")]
        writes = [each.resource for each in digits.writes_since(since, operator.user) if each.code == 200]
        assert writes.count("deployments") == 1, "replicas are left to it"
        assert digits.read()["spec"]["replicas"] == 1
        assert digits.condition("Ready")["status"] == "True"
        assert f"apiVersion {names.API_VERSION}, kind ModelDeployment, name digits" in message
        assert message in events(digits, "AutoscalerMisdirected")

        digits.wait("pods", lambda: len(digits.ready_pods()) == PODS)
        pods = {pod["metadata"]["uid"] for pod in digits.ready_pods()}
        apply_sample(digits)
        digits.cluster.kubectl("-n", digits.namespace, "scale", "mdep/digits", f"--replicas={PODS}")
        digits.wait_current()
        assert {pod["metadata"]["uid"] for pod in digits.ready_pods()} == pods
        assert owner_of_replicas(deployment(digits)) == [
            ("modelpress", None),
            ("kube-controller-manager", "scale"),
        ]
    digits.wait("one again", partial(has_pods, digits, 1))
    assert deployment(digits)["spec"]["replicas"] == digits.read()["spec"]["replicas"] == 1
    fact = f"HPA at the Deployment: 1 -> {PODS} pods, which stay; told where to aim, and handed over"
    request.config.stash.setdefault(FACTS, []).append(fact)


def told(digits: Deployed) -> str | None:
    """Return what Stalled says of an autoscaler that aims at the Deployment."""
    condition = digits.condition("Stalled")
    return condition["message"] if condition["reason"] == "AutoscalerMisdirected" else None


def events(digits: Deployed, reason: str) -> set[str]:
    """Return what events of a reason say."""
    found = digits.api.list("events", digits.namespace)
    return {event["message"] for event in found if event["reason"] == reason}
