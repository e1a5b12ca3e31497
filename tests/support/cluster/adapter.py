"""The operator's adapter to a real API server, for tests."""

from pathlib import Path
from typing import Any

from kubernetes import client, config

from modelpress.api import names
from modelpress.controllers.job_slots import JobSlots, Limits
from modelpress.controllers.kubernetes_cluster import KubernetesCluster
from modelpress.controllers.lists import whole
from modelpress.controllers.resources import WATCHED
from modelpress.controllers.rest import Rest
from modelpress.controllers.store import Store
from modelpress.planning.types import Key, Observed
from tests.support.cluster.controlplane import ControlPlane


class ClusterFixture:
    """The adapter, and a store that `look` fills as watches would."""

    def __init__(self, control_plane: ControlPlane, kubeconfig: Path, namespace: str) -> None:
        self.api = control_plane.admin
        self.namespace = namespace
        self.key = Key(namespace, "digits")
        configuration = client.Configuration()
        config.load_kube_config(str(kubeconfig), client_configuration=configuration)  # type: ignore[no-untyped-call]
        self.rest = Rest(configuration)
        self.store = Store()
        self.cluster = KubernetesCluster(self.rest, self.store, JobSlots(Limits(2, 2)))
        self.api.create("modeldeployments", namespace, self.resource())
        self.look()

    def resource(self, name: str = "digits") -> dict[str, Any]:
        """A ModelDeployment to create."""
        spec = {"model": {"uri": "https://example.com/digits.keras"}, "devices": {"type": "CPU"}}
        return {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": spec,
        }

    def look(self) -> None:
        """Fill the store with what the API server has, and nothing else."""
        listed = set()
        for resource in WATCHED:
            for item in self.api.list(resource.plural, self.namespace, resource.label or ""):
                self.store.put(whole(item, resource))
                listed.add(item["metadata"]["uid"])
        for resource in WATCHED:
            for uid in self.store.all_of(resource.kind).keys() - listed:
                self.store.remove(uid)

    def observe(self) -> Observed:
        """Look, and observe the ModelDeployment."""
        self.look()
        observed = self.cluster.observe(self.key)
        assert observed is not None
        return observed

    def child(self, api_version: str, kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
        """An object as the planner renders it."""
        uid = self.api.get("modeldeployments", self.namespace, "digits")["metadata"]["uid"]
        owner = {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "name": "digits",
            "uid": uid,
            "controller": True,
        }
        return {
            "apiVersion": api_version,
            "kind": kind,
            "metadata": {
                "name": name,
                "namespace": self.namespace,
                "labels": names.labels("digits", "worker"),
                "ownerReferences": [owner],
            },
            "spec": spec,
        }

    def deployment(self, **pod: Any) -> dict[str, Any]:
        """A Deployment without replicas."""
        labels = names.worker_selector("digits")
        container = {"name": "worker", "image": "example.com/worker:1", "env": [{"name": "A", "value": "1"}]}
        return self.child(
            "apps/v1",
            "Deployment",
            "digits",
            {
                "replicas": 0,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [container], **pod}},
            },
        )

    def job(self, name: str, **fields: Any) -> dict[str, Any]:
        """A Job that starts no pod."""
        pod = {"restartPolicy": "Never", "containers": [{"name": "job", "image": "example.com/job:1"}]}
        spec = {"suspend": True, "template": {"spec": pod}, **fields}
        return self.child("batch/v1", "Job", name, spec)

    def service(self, ports: tuple[int, ...] = (80,), **metadata: Any) -> dict[str, Any]:
        """A load balancer's Service, its labels and annotations replaced or added to."""
        listed = [{"name": f"http-{port}", "port": port, "targetPort": "http"} for port in ports]
        spec = {"type": "LoadBalancer", "selector": names.worker_selector("digits"), "ports": listed}
        body = self.child("v1", "Service", "digits", spec)
        labels = {**metadata.pop("labels", {}), **body["metadata"]["labels"]}
        body["metadata"] |= {**metadata, "labels": labels}
        return body
