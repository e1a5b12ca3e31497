"""A small cluster of real parts on this computer: two nodes and DNS.

Outside of it is what a user has: an image registry and an S3 server.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import httpx
import yaml

from tests.e2e.node.kubernetes_node import DNS_SERVICE, DOMAIN, KubernetesNode
from tests.e2e.node.machines import Machine, Network
from tests.support.cluster.controlplane import ControlPlane, wait_until
from tests.support.servers import binaries
from tests.support.servers.servers import S3

IMAGES_PORT, S3_PORT, API_PORT = 5001, 9000, 6443
STORAGE_CLASS = "local"
LOAD_SECONDS = 120  # for the answers that are outstanding when a load ends


class RealCluster:
    """Two nodes; the first machine also has the control plane, DNS and the servers outside of the cluster."""

    def __init__(self, folder: Path, images: Path) -> None:
        """`images` is the storage of the image registry, kept from run to run."""
        self.folder = folder
        self.machines = (Machine(1, folder), Machine(2, folder))
        self._network = Network(self.machines)
        self._images = images
        outside = self.machines[0].address
        self.registry = f"{outside}:{IMAGES_PORT}"
        self.s3 = S3(f"http://{outside}:{S3_PORT}")
        self.control_plane: ControlPlane
        self.nodes: tuple[KubernetesNode, ...] = ()

    def start_network(self) -> None:
        """Make the machines, and the servers outside of the cluster."""
        self._network.up()
        first = self.machines[0]
        configuration = first.folder / "images.yaml"
        storage = {"filesystem": {"rootdirectory": str(self._images)}}
        configuration.write_text(
            yaml.safe_dump({"version": 0.1, "storage": storage, "http": {"addr": self.registry}})
        )
        registry = ["env", "OTEL_TRACES_EXPORTER=none", str(binaries.binary("registry"))]
        first.run("images", *registry, "serve", str(configuration))
        address = self.s3.endpoint.removeprefix("http://")
        first.run("s3", str(binaries.binary("s3server")), address, self.s3.key_id, self.s3.secret)

    def start(self, pause: str) -> None:
        """Start control plane, DNS and nodes; `pause` is the image that holds a pod's namespaces."""
        first = self.machines[0]
        self.control_plane = ControlPlane(
            self.folder / "control-plane", first.address, first.prefix, API_PORT
        )
        self.control_plane.start()
        self._start_dns(first)
        mirrors = dict.fromkeys((self.registry, "docker.io"), f"http://{self.registry}")
        self.nodes = tuple(
            KubernetesNode(machine, self.control_plane, mirrors, pause) for machine in self.machines
        )
        for node in self.nodes:
            node.start(first.address)

    def stop(self) -> None:
        """Take everything away but the logs."""
        for machine in self.machines:
            machine.stop("kubelet")  # before its API server, which it would wait for
        if hasattr(self, "control_plane"):
            self.control_plane.stop()
        self._network.down()

    def add_volume(self, name: str, capacity: str, folder: Path) -> None:
        """Make a PersistentVolume of a folder on the first node, for whichever claim comes first."""
        self.apply(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": name},
                "spec": {
                    "capacity": {"storage": capacity},
                    "accessModes": ["ReadWriteOnce", "ReadWriteMany"],
                    "persistentVolumeReclaimPolicy": "Retain",
                    "storageClassName": STORAGE_CLASS,
                    "local": {"path": str(folder)},
                    "nodeAffinity": {"required": {"nodeSelectorTerms": [self._on(self.nodes[0])]}},
                },
            }
        )

    def add_storage_class(self) -> None:
        """Make the default StorageClass: volumes are made by hand, as on bare metal."""
        self.apply(
            {
                "apiVersion": "storage.k8s.io/v1",
                "kind": "StorageClass",
                "metadata": {
                    "name": STORAGE_CLASS,
                    "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
                },
                "provisioner": "kubernetes.io/no-provisioner",
                "volumeBindingMode": "WaitForFirstConsumer",
            }
        )

    def apply(self, *bodies: Mapping[str, object]) -> None:
        """kubectl apply."""
        self.control_plane.kubectl("apply", "-f", "-", input=yaml.safe_dump_all(bodies))

    def execute(self, namespace: str, pod: str, *command: str, check: bool = True) -> str:
        """Run a command in a pod and return its output."""
        done = self.control_plane.kubectl("-n", namespace, "exec", pod, "--", *command, check=check)
        return done.stdout

    @staticmethod
    def _on(node: KubernetesNode) -> dict[str, object]:
        label = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node.name]}
        return {"matchExpressions": [label]}

    def _start_dns(self, machine: Machine) -> None:
        corefile = machine.folder / "Corefile"
        corefile.write_text(f""".:53 {{
  bind {machine.address}
  errors
  kubernetes {DOMAIN} in-addr.arpa {{
    kubeconfig {self.control_plane.kubeconfig}
    pods insecure
    ttl 5
  }}
}}
""")
        machine.run("coredns", str(binaries.binary("coredns")), "-conf", str(corefile))
        ports = [{"name": name, "port": 53, "protocol": name.upper()} for name in ("udp", "tcp")]
        self.apply(
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": "kube-dns", "namespace": "kube-system"},
                "spec": {"clusterIP": DNS_SERVICE, "ports": ports},
            },
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {
                    "name": "kube-dns",
                    "namespace": "kube-system",
                    "labels": {"kubernetes.io/service-name": "kube-dns"},
                },
                "addressType": "IPv4",
                "endpoints": [{"addresses": [machine.address], "conditions": {"ready": True}}],
                "ports": ports,
            },
        )


class Load:
    """A load from a pod, begun on entry and read on exit: what was sent and lost in each mode."""

    def __init__(
        self, cluster: RealCluster, namespace: str, model: str, *modes: str, rate: float = 10
    ) -> None:
        self._cluster = cluster
        self._target = [f"{model}.{namespace}.svc.{DOMAIN}", model, str(rate), *modes]
        self.sent: dict[str, int] = {}
        self.lost: dict[str, list[str]] = {}

    def __enter__(self) -> "Load":
        # in the background of the pod: a kubelet that restarts cuts what is attached to it
        self._shell('rm -f /tmp/load; python3 /load.py "$@" >/tmp/load 2>&1 & echo $! >/tmp/load.pid')
        wait_until("load started", lambda: "started" in self._shell("cat /tmp/load"))
        return self

    def __exit__(self, *_: object) -> None:
        self._shell("kill $(cat /tmp/load.pid)")
        output = wait_until("load ended", lambda: self._ended(self._shell("cat /tmp/load")), LOAD_SECONDS)
        for mode, found in json.loads(output).items():
            self.sent[mode], self.lost[mode] = found["sent"], found["failures"]

    def _shell(self, script: str) -> str:
        return self._cluster.execute("users", "client", "sh", "-c", script, "load", *self._target)

    @staticmethod
    def _ended(output: str) -> str:
        last = output.splitlines()[-1]
        assert "Traceback" not in output, output
        return last if last.startswith("{") else ""


def wait_for_registry(host: str) -> None:
    """Return when an image registry answers."""
    wait_until(f"registry {host}", lambda: httpx.get(f"http://{host}/v2/", trust_env=False).is_success, 30)
