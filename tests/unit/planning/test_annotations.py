"""Annotations that would undo the Pod Security Standard restricted: refused, and no others."""

import json
from typing import Any

import pytest

from modelpress.api.spec import Spec
from modelpress.planning.annotations import weakening
from tests.unit.planning.fake_cluster import SPEC, FakeCluster, ready_cluster

REFUSED = {
    "container.apparmor.security.beta.kubernetes.io/worker": "unconfined",
    "container.seccomp.security.alpha.kubernetes.io/worker": "unconfined",
    "seccomp.security.alpha.kubernetes.io/pod": "unconfined",
    "security.alpha.kubernetes.io/unsafe-sysctls": "kernel.msgmax=1",
    "security.alpha.kubernetes.io/sysctls": "kernel.shm_rmid_forced=1",
    "io.kubernetes.cri-o.Devices": "/dev/fuse",
    "io.kubernetes.cri-o.userns-mode": "auto",
    "io.kubernetes.cri-o.UnifiedCgroup.worker": "memory.high=1",
    "seccomp-profile.kubernetes.cri-o.io/POD": "example.com/profile",
    "devices.crio.io": "/dev/fuse",
    "userns-mode.crio.io": "auto",
    "seccomp-profile.crio.io/worker": "example.com/profile",
    "unified-cgroup.crio.io/worker": "memory.high=1",
    "io.containers.trace-syscall": "of:/tmp/profile",
    "org.systemd.property.SuccessAction": "'poweroff-force'",
    "org.criu.config": "/tmp/criu",
    "run.oci.keep_original_groups": "1",
    "io.katacontainers.config.runtime.disable_guest_seccomp": "true",
    "io.katacontainers.config_path": "/tmp/kata",
    "dev.gvisor.flag.network": "host",
    "cdi.k8s.io/fuse": "example.com/class=fuse",
    "devices.nri.io/container.worker": "- path: /dev/fuse",
    "mounts.nri.io": "- source: /",
    "devices.noderesource.dev/pod": "- path: /dev/fuse",
    "k8s.v1.cni.cncf.io/networks": "storage-network",
    "v1.multus-cni.io/default-network": "kube-system/flat",
}
HARMLESS = {
    "container.apparmor.security.beta.kubernetes.io/worker": "runtime/default",
    "container.apparmor.security.beta.kubernetes.io/job": "localhost/strict",
    "kubectl.kubernetes.io/default-container": "worker",
    "prometheus.io/scrape": "true",
    "sidecar.istio.io/inject": "false",
    "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
    "cpu-quota.crio.io": "disable",
    "io.katacontainers.config.hypervisor.default_vcpus": "4",
    "example.com/io.kubernetes.cri-o.Devices": "not the runtime's",
    "security.example.com/reviewed": "yes",
}


@pytest.mark.parametrize("part", ["worker", "job"])
@pytest.mark.parametrize("key", REFUSED)
def test_an_annotation_that_loosens_the_pod_is_refused_by_field_and_key(part: str, key: str) -> None:
    spec = Spec.model_validate({**SPEC, part: {"annotations": {**HARMLESS, key: REFUSED[key]}}})
    why = weakening(spec)
    assert why is not None
    assert why.startswith(f"spec.{part}.annotations: {key}: {json.dumps(REFUSED[key])} ")


def test_other_annotations_are_left_alone() -> None:
    harmless = {"annotations": HARMLESS}
    assert weakening(Spec.model_validate({**SPEC, "worker": harmless, "job": harmless})) is None
    settings: list[dict[str, Any]] = [{}, {"worker": {}}, {"worker": {"annotations": {}}}]
    for fields in settings:
        assert weakening(Spec.model_validate({**SPEC, **fields})) is None


BAD: dict[str, Any] = {"worker": {"annotations": {"devices.crio.io": "/dev/fuse"}}}


def test_a_new_resource_with_one_makes_nothing_and_says_so() -> None:
    cluster = FakeCluster({**SPEC, **BAD})
    assert cluster.settle() == [["status"]]
    assert cluster.says("Stalled") == ("True", "InvalidPodSettings")
    assert "devices.crio.io" in cluster.condition("Stalled")["message"]


def test_an_edit_with_one_leaves_the_pods_that_serve() -> None:
    cluster = ready_cluster()
    template = cluster.only("Deployment")["spec"]["template"]
    cluster.edit(**BAD)
    cluster.settle()
    assert cluster.says("Available") == ("True", "Available")
    assert cluster.only("Deployment")["spec"]["template"] == template
