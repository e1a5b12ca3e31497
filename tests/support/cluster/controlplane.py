"""A real etcd, API server, controller-manager and scheduler on loopback, for one test session."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import yaml
from kubernetes import client, config

from tests.support.cluster.api import Api, ApiError
from tests.support.cluster.certificates import Authority
from tests.support.servers import binaries

T = TypeVar("T")
KUBERNETES_SERVICE = "10.96.0.1"
_UNTHROTTLED = ("--kube-api-qps=1000", "--kube-api-burst=1000")  # as in large clusters
WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata"}],
}


@dataclass(frozen=True)
class Request:
    """One line of the audit log."""

    user: str
    verb: str
    resource: str  # with the subresource, such as pods/status
    namespace: str
    name: str
    code: int
    at: str  # RFC 3339 with microseconds: sorts as text
    agent: str
    message: str  # of an error

    @property
    def writes(self) -> bool:
        """Whether the verb may change something."""
        return self.verb in WRITES


def wait_until(what: str, check: Callable[[], T | None], seconds: float = 60, every: float = 0.1) -> T:
    """Return the first true value of `check`; ApiError counts as not yet. AssertionError after `seconds`."""
    deadline = time.monotonic() + seconds
    last: object = None
    while time.monotonic() < deadline:
        try:
            last = check()
        except (ApiError, httpx.TransportError) as error:
            last = error
        else:
            if last:
                return last
        time.sleep(every)
    raise AssertionError(f"not within {seconds:g} s: {what}; last seen: {str(last)[:2000]}")


def free_port() -> int:
    """Return a TCP port of the loopback interface that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class ControlPlane:
    """Starts on `start()`, ends its own processes on `stop()`; logs stay in `folder`."""

    source = "controlplane"  # of its programs, see binaries.kubernetes

    def __init__(
        self, folder: Path, address: str = "127.0.0.1", prefix: tuple[str, ...] = (), port: int | None = None
    ) -> None:
        """Listen on `address`; `prefix` stands before each command, such as that of a network namespace."""
        self.folder = folder
        self._address = address
        self._prefix = prefix
        self.authority = Authority(folder / "certificates")
        self._processes: dict[str, subprocess.Popen[bytes]] = {}  # in the order of their start
        self._arguments: dict[str, tuple[str, ...]] = {}
        self._etcd = f"http://127.0.0.1:{free_port()}"
        self.server = f"https://{address}:{port or free_port()}"
        self.audit_log = folder / "audit.log"
        self.kubeconfig = self.client_kubeconfig("admin", "system:masters")
        self.admin = self.api_as("admin", "system:masters")
        self.api: client.ApiClient = config.new_client_from_config(  # type: ignore[no-untyped-call]
            str(self.kubeconfig)
        )

    # life

    def start(self) -> None:
        """Start everything and wait until a pod could be scheduled."""
        self._start_etcd()
        self._start_api_server()
        wait_until("API server ready", lambda: self.admin.request("GET", "/readyz"), 120)
        # only now: before, the controller-manager gives up because its configuration is not readable yet
        self._start_controllers()
        wait_until("default ServiceAccount", lambda: self.admin.find("serviceaccounts", "default", "default"))

    def stop(self) -> None:
        """End all processes, each before those that it needs."""
        self.admin.close()
        self.api.close()  # type: ignore[no-untyped-call]
        for process in reversed(self._processes.values()):
            _end(process)

    # for tests

    @contextmanager
    def without_api_server(self, *, frozen: bool) -> Iterator[None]:
        """Have no answer from the API server in a block: it stands still, or has ended and starts anew."""
        process = self._processes["kube-apiserver"]
        if frozen:
            process.send_signal(signal.SIGSTOP)
        else:
            _end(process)
        try:
            yield
        finally:
            if frozen:
                process.send_signal(signal.SIGCONT)
            else:
                self._run("kube-apiserver", *self._arguments["kube-apiserver"])  # with the same keys
            wait_until("API server ready", lambda: self.admin.request("GET", "/readyz"), 120)

    def kubectl(
        self, *arguments: str, input: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl as administrator."""
        command = self.kubectl_command(*arguments)
        environment = {**os.environ, "KUBECACHEDIR": str(self.folder / "kubectl")}
        done = subprocess.run(
            command, input=input, capture_output=True, text=True, env=environment, timeout=120, check=False
        )
        if check and done.returncode:
            raise AssertionError(
                f"kubectl {' '.join(arguments)}: {done.returncode}: {done.stdout}{done.stderr}"
            )
        return done

    def kubectl_command(self, *arguments: str) -> list[str]:
        """Return the command line of kubectl as administrator."""
        return [
            *binaries.kubernetes("kubectl", self.source),
            "--kubeconfig",
            str(self.kubeconfig),
            *arguments,
        ]

    def api_as(self, user: str, *groups: str) -> Api:
        """Return a client that is `user`."""
        return Api(self.server, self.authority.certificate, self.authority.client(user, *groups))

    def kubeconfig_for_service_account(self, namespace: str, name: str) -> Path:
        """Return a kubeconfig file with a fresh token of an existing ServiceAccount."""
        where = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        answer = self.admin.request("POST", where, {"spec": {"expirationSeconds": 7200}})
        return self._write_kubeconfig(f"{namespace}-{name}", {"token": answer["status"]["token"]})

    def audit(self, *, user: str | None = None, since: str = "") -> list[Request]:
        """Return the requests so far, oldest first; only those of `user` and from `since` on."""
        found = []
        for line in self.audit_log.read_text().splitlines():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:  # the last line is being written
                continue
            request = _request(entry)
            if (user is None or request.user == user) and request.at >= since:
                found.append(request)
        return found

    # parts

    def _start_etcd(self) -> None:
        peer = f"http://127.0.0.1:{free_port()}"
        self._run(
            "etcd",
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={self._etcd}",
            f"--advertise-client-urls={self._etcd}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",
        )

    def _start_api_server(self) -> None:
        policy = self.folder / "audit-policy.yaml"
        policy.write_text(yaml.safe_dump(AUDIT_POLICY))
        names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", self._address]
        certificate, key = self.authority.server("kube-apiserver", [*names, "127.0.0.1", KUBERNETES_SERVICE])
        kubelet_certificate, kubelet_key = self.authority.client("kube-apiserver-kubelet", "system:masters")
        front_certificate, front_key = self.authority.client("front-proxy-client")
        token_public, token_key = self.authority.key_pair("service-account")
        authority = self.authority.certificate
        self._run(
            "kube-apiserver",
            f"--etcd-servers={self._etcd}",
            f"--bind-address={self._address}",
            f"--advertise-address={self._address}",
            f"--secure-port={self.server.rpartition(':')[2]}",
            # a loopback address cannot be an endpoint
            f"--endpoint-reconciler-type={'none' if self._address == '127.0.0.1' else 'lease'}",
            "--service-cluster-ip-range=10.96.0.0/16",
            f"--kubelet-certificate-authority={authority}",
            f"--kubelet-client-certificate={kubelet_certificate}",
            f"--kubelet-client-key={kubelet_key}",
            "--kubelet-preferred-address-types=InternalIP",
            "--authorization-mode=Node,RBAC",
            f"--tls-cert-file={certificate}",
            f"--tls-private-key-file={key}",
            f"--client-ca-file={authority}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={token_public}",
            f"--service-account-signing-key-file={token_key}",
            f"--requestheader-client-ca-file={authority}",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-username-headers=X-Remote-User",
            f"--proxy-client-cert-file={front_certificate}",
            f"--proxy-client-key-file={front_key}",
            f"--audit-policy-file={policy}",
            f"--audit-log-path={self.audit_log}",
        )

    def _start_controllers(self) -> None:
        manager = self.client_kubeconfig("system:kube-controller-manager")
        self._run(
            "kube-controller-manager",
            f"--kubeconfig={manager}",
            f"--authentication-kubeconfig={manager}",
            f"--authorization-kubeconfig={manager}",
            f"--root-ca-file={self.authority.certificate}",
            f"--service-account-private-key-file={self.authority.folder / 'service-account.key'}",
            "--use-service-account-credentials",
            "--leader-elect=false",
            "--node-monitor-period=1s",
            "--horizontal-pod-autoscaler-sync-period=1s",
            *_UNTHROTTLED,
            "--bind-address=127.0.0.1",
            f"--secure-port={free_port()}",
        )
        scheduler = self.client_kubeconfig("system:kube-scheduler")
        self._run(
            "kube-scheduler",
            f"--kubeconfig={scheduler}",
            f"--authentication-kubeconfig={scheduler}",
            f"--authorization-kubeconfig={scheduler}",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            f"--secure-port={free_port()}",
        )

    def _run(self, program: str, *arguments: str) -> None:
        self._arguments[program] = arguments
        with (self.folder / f"{program}.log").open("ab") as log:
            process = subprocess.Popen(
                [*self._prefix, *binaries.kubernetes(program, self.source), *arguments],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
            )
        self._processes[program] = process

    def client_kubeconfig(self, user: str, *groups: str) -> Path:
        """Return a kubeconfig file of `user`."""
        certificate, key = self.authority.client(user, *groups)
        return self._write_kubeconfig(
            user.replace(":", "-"), {"client-certificate": str(certificate), "client-key": str(key)}
        )

    def _write_kubeconfig(self, name: str, user: dict[str, str]) -> Path:
        cluster = {"server": self.server, "certificate-authority": str(self.authority.certificate)}
        body: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": name}}],
            "current-context": "test",
        }
        path = self.folder / f"{name}.kubeconfig"
        path.write_text(yaml.safe_dump(body))
        return path


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _request(entry: dict[str, Any]) -> Request:
    target = entry.get("objectRef", {})
    resource = "/".join(filter(None, (target.get("resource"), target.get("subresource"))))
    return Request(
        user=entry["user"].get("username", ""),
        verb=entry["verb"],
        resource=resource or entry["requestURI"],
        namespace=target.get("namespace", ""),
        name=target.get("name", ""),
        code=entry.get("responseStatus", {}).get("code", 0),
        at=entry["requestReceivedTimestamp"],
        agent=entry.get("userAgent", ""),
        message=entry.get("responseStatus", {}).get("message", ""),
    )


def tally(requests: Iterable[Request]) -> dict[str, int]:
    """Return how many requests there were of each verb and resource, the most frequent first."""
    counts: dict[str, int] = {}
    for request in requests:
        word = f"{request.verb} {request.resource}"
        counts[word] = counts.get(word, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
