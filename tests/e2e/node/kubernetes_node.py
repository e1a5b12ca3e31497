"""What makes a machine a node: containerd, kubelet, kube-proxy and a NetworkPolicy engine."""

import json
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

import httpx
import yaml

from tests.e2e.node.machines import Machine
from tests.support.cluster.controlplane import ControlPlane, wait_until
from tests.support.servers import binaries

SERVICES = "10.96.0.0/16"
DNS_SERVICE = "10.96.0.10"
DOMAIN = "cluster.local"
HEALTH = 10248  # port of the kubelet
PLUGINS = "/usr/lib/cni"  # of Debian's package containernetworking-plugins


class KubernetesNode:
    """One node of the cluster; `registries` maps a registry's host to the URL that images come from."""

    def __init__(
        self, machine: Machine, control_plane: ControlPlane, registries: Mapping[str, str], pause: str
    ) -> None:
        self.machine = machine
        self.name = machine.name
        self.socket = machine.runtime / "containerd.sock"
        self._control_plane = control_plane
        self._registries = registries
        self._pause = pause

    def start(self, name_server: str) -> None:
        """Start everything; returns when the node takes pods."""
        self._configure(name_server)
        self.machine.run("containerd", "containerd", "--config", str(self._file("containerd.toml")))
        wait_until("containerd answers", self._containerd_answers, 30)
        self.start_kubelet()
        proxy = binaries.kubernetes("kube-proxy")
        self.machine.run("kube-proxy", *proxy, f"--config={self._file('kube-proxy.yaml')}")
        # NetworkPolicies only: routes are the machines', Services kube-proxy's
        self.machine.run(
            "kube-router",
            str(binaries.binary("kube-router")),
            f"--kubeconfig={self._control_plane.kubeconfig}",
            "--run-router=false",
            "--run-service-proxy=false",
            "--run-firewall=true",
            "--enable-cni=false",
            f"--hostname-override={self.name}",
            f"--service-cluster-ip-range={SERVICES}",
        )
        self._control_plane.kubectl("wait", "--for=condition=Ready", f"node/{self.name}", "--timeout=90s")

    def start_kubelet(self) -> None:
        """Start the kubelet, and wait until it answers and the API server knows the node."""
        self._run_kubelet()
        wait_until("kubelet answers", self._kubelet_answers)
        wait_until("node registered", lambda: self._control_plane.admin.find("nodes", None, self.name))

    def _run_kubelet(self) -> None:
        self.machine.run(
            "kubelet",
            *binaries.kubernetes("kubelet"),
            f"--config={self._file('kubelet.yaml')}",
            f"--kubeconfig={self._kubeconfig}",
            f"--root-dir={self._file('kubelet')}",
            f"--cert-dir={self._file('kubelet-certificates')}",
            f"--hostname-override={self.name}",
            f"--node-ip={self.machine.address}",
            "--v=1",
        )

    def _kubelet_answers(self) -> bool:
        """Whether the kubelet is up; one that ended is started again, as systemd does.

        All kubelets of a computer share one folder for device plugins, which no flag moves: two that start at
        once may end each other.
        """
        if not self.machine.runs("kubelet"):
            self._run_kubelet()
            return False
        try:
            return httpx.get(f"http://{self.machine.address}:{HEALTH}/healthz", trust_env=False).is_success
        except httpx.TransportError:
            return False

    def restart_kubelet(self) -> None:
        """Kill the kubelet and start it again, as an update of the node does; pods go on."""
        self.machine.stop("kubelet", signal.SIGKILL)
        self.start_kubelet()

    def kill_container(self, identity: str) -> None:
        """Kill a container's processes from outside; `identity` as a pod's status names it."""
        command = ["ctr", "--address", str(self.socket), "--namespace", "k8s.io", "tasks", "kill"]
        subprocess.run([*command, "--signal", "SIGKILL", identity.removeprefix("containerd://")], check=True)

    def _file(self, name: str) -> Path:
        return self.machine.folder / name

    def _containerd_answers(self) -> bool:
        command = ["ctr", "--address", str(self.socket), "version"]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0

    def _configure(self, name_server: str) -> None:
        self._kubeconfig = self._control_plane.client_kubeconfig(f"system:node:{self.name}", "system:nodes")
        self._write_network()
        self._write_containerd()
        self._file("resolv.conf").write_text(f"nameserver {name_server}\n")
        self._file("kubelet.yaml").write_text(yaml.safe_dump(self._kubelet()))
        self._file("kube-proxy.yaml").write_text(yaml.safe_dump(self._proxy()))

    def _write_network(self) -> None:
        bridge = {
            "type": "bridge",
            "bridge": "cni0",
            "isGateway": True,
            "ipMasq": False,  # the other machines have routes to the pods
            "hairpinMode": True,  # a pod may call its own Service
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": self.machine.pods, "gateway": self.machine.gateway}]],
                "routes": [{"dst": "0.0.0.0/0"}],
                "dataDir": str(self._file("addresses")),
            },
        }
        chain = {"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge]}
        folder = self._file("cni")
        folder.mkdir()
        (folder / "10-pods.conflist").write_text(json.dumps(chain))

    def _write_containerd(self) -> None:
        hosts = self._file("registries")
        for host, url in self._registries.items():
            (hosts / host).mkdir(parents=True)
            (hosts / host / "hosts.toml").write_text(
                f'server = "{url}"\n[host."{url}"]\n  capabilities = ["pull", "resolve"]\n'
            )
        state = self.machine.runtime
        self._file("containerd.toml").write_text(f"""version = 2
root = "{self._file("containerd")}"
state = "{state}/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
  address = "{self.socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{self._pause}"
  restrict_oom_score_adj = true # root of a container may not lower it
  disable_apparmor = true
  enable_unprivileged_ports = true
  netns_mounts_under_state_dir = true # goes with the machine
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{PLUGINS}"
    conf_dir = "{self._file("cni")}"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{hosts}"
""")

    def _kubelet(self) -> dict[str, object]:
        authority = self._control_plane.authority
        certificate, key = authority.server(f"kubelet-{self.name}", [self.machine.address, self.name])
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "healthzBindAddress": self.machine.address,
            "healthzPort": HEALTH,
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(authority.certificate)},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": str(certificate),
            "tlsPrivateKeyFile": str(key),
            "clusterDNS": [DNS_SERVICE],
            "clusterDomain": DOMAIN,
            "resolvConf": str(self._file("resolv.conf")),
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{self.name}",
            "enforceNodeAllocatable": ["pods"],
            "failSwapOn": False,
            "containerRuntimeEndpoint": f"unix://{self.socket}",
            "podLogsDir": str(self._file("pod-logs")),
            "evictionHard": {
                "memory.available": "100Mi",
                "nodefs.available": "1%",
                "imagefs.available": "1%",
            },
            "imageGCHighThresholdPercent": 100,  # a full disk is not this node's business
            "imageGCLowThresholdPercent": 99,
            "nodeStatusUpdateFrequency": "2s",
            "syncFrequency": "20s",
        }

    def _proxy(self) -> dict[str, object]:
        kubeconfig = self._control_plane.client_kubeconfig("system:kube-proxy")
        return {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            "hostnameOverride": self.name,
            "clusterCIDR": "10.244.0.0/16",
            "clientConnection": {"kubeconfig": str(kubeconfig)},
            "conntrack": {"maxPerCore": 0},
        }
