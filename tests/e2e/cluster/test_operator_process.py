"""The operator's process as its image runs it, and what it tells the kubelet."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.cluster.test_control_loop import MANIFESTS
from tests.support.cluster.by_hand import ARGUMENTS
from tests.support.cluster.controlplane import ControlPlane, free_port, wait_until
from tests.support.unnamed import unnamed_user


@contextmanager
def operator_of(kubeconfig: Path, log: Path, *, prefix: tuple[str, ...] = ()) -> Iterator[tuple[Any, str]]:
    """Run an operator with an empty environment; yield its process and the root of its endpoints."""
    port = free_port()
    command = [*prefix, sys.executable, "-m", "modelpress", "operator", *ARGUMENTS, f"--liveness-port={port}"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env={"KUBECONFIG": str(kubeconfig)}, cwd="/", stdout=output, stderr=output
        )
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def answer(url: str) -> httpx.Response:
    return wait_until("an answer", lambda: httpx.get(url, trust_env=False))


def ready(process: Any, url: str, log: Path) -> None:
    def check() -> bool:
        assert process.poll() is None, log.read_text()
        return answer(f"{url}/readyz").status_code == 200

    wait_until("ready", check)


def test_the_operator_works_as_a_uid_without_a_name_in_an_empty_environment(
    control_plane: ControlPlane, crd: str, namespace: str, tmp_path: Path
) -> None:
    control_plane.kubectl("apply", "-f", str(MANIFESTS / "operator" / "namespace.yaml"))
    control_plane.kubectl("apply", "-k", str(MANIFESTS / "rbac"))
    kubeconfig = control_plane.kubeconfig_for_service_account("modelpress-system", "modelpress-operator")
    log = tmp_path / "operator.log"
    with operator_of(kubeconfig, log, prefix=tuple(unnamed_user())) as (process, url):
        ready(process, url, log)
        spec = {"model": {"uri": "https://example.com/digits.keras"}, "devices": {"type": "CPU"}}
        body = {"apiVersion": "modelpress.dev/v1alpha1", "kind": "ModelDeployment", "spec": spec}
        control_plane.admin.create("modeldeployments", namespace, {**body, "metadata": {"name": "digits"}})
        wait_until("a Job", lambda: control_plane.admin.list("jobs", namespace))


def test_the_operator_is_ready_once_it_may_list_and_its_watches_have_listed(
    control_plane: ControlPlane, crd: str, namespace: str, tmp_path: Path
) -> None:
    control_plane.kubectl("apply", "-k", str(MANIFESTS / "rbac"))
    kubectl = control_plane.kubectl
    kubectl("-n", namespace, "create", "serviceaccount", "late")
    kubeconfig = control_plane.kubeconfig_for_service_account(namespace, "late")
    log = tmp_path / "operator.log"
    with operator_of(kubeconfig, log) as (process, url):
        waiting = answer(f"{url}/readyz")
        assert (waiting.status_code, "ModelDeployments" in waiting.text) == (503, True)
        assert answer(f"{url}/healthz").status_code == 200  # a restart would not help
        binding = f"late-{namespace}"
        kubectl(
            *("create", "clusterrolebinding", binding, "--clusterrole=modelpress-operator"),
            f"--serviceaccount={namespace}:late",
        )
        try:
            ready(process, url, log)
        finally:
            kubectl("delete", "clusterrolebinding", binding)

        def unready() -> bool:
            return answer(f"{url}/readyz").status_code == 503

        wait_until("a failed resync seen", unready)


def test_the_operator_listens_on_ipv6_and_ipv4(control_plane: ControlPlane, crd: str, tmp_path: Path) -> None:
    with operator_of(control_plane.kubeconfig, tmp_path / "operator.log") as (_, url):
        assert answer(f"{url}/healthz").status_code == 200
        assert answer(f"{url.replace('127.0.0.1', '[::1]')}/healthz").status_code == 200
