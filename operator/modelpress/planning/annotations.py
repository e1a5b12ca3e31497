"""Annotations of the spec's pods that would undo the Pod Security Standard `restricted`.

A pod's security is in its fields, which ModelPress sets. Some annotations change it past them: old ones of
Kubernetes itself, and those with which container runtimes and their plugins add devices, mounts, kernel
settings or another confinement. Most work only where a node's owner allows them; no worker needs one. Those
that attach other networks are refused, too: a NetworkPolicy governs the pod's first network only. Pure.
"""

from collections.abc import Iterator, Mapping

from modelpress.api.spec import Spec
from modelpress.api.validation.fields import shown

_SHOWN = 100  # characters of a value in a message
# A profile is as good as the field; none is not.
_APPARMOR = "container.apparmor.security.beta.kubernetes.io/"
_KUBERNETES = (
    "container.seccomp.security.alpha.kubernetes.io/",
    "seccomp.security.alpha.kubernetes.io/",
    "security.alpha.kubernetes.io/",  # sysctls
)
# pkg/annotations of CRI-O: before and since 1.35. Those of CPU performance are not among them.
_CRIO = (
    "io.kubernetes.cri-o.",
    "seccomp-profile.kubernetes.cri-o.io",
    *(
        f"{name}.crio.io"
        for name in (
            "cgroup2-mount-hierarchy-rw",
            "devices",
            "disable-fips",
            "link-logs",
            "platform-runtime-path",
            "pod-linux-overhead",
            "pod-linux-resources",
            "seccomp-notifier-action",
            "seccomp-profile",
            "spoofed",
            "try-skip-volume-selinux-label",
            "umask",
            "unified-cgroup",
            "userns-mode",
        )
    ),
    "io.containers.trace-syscall",
)
_RUNTIMES = (
    "org.systemd.property.",  # runc: properties of the unit on the host
    "org.criu.config",
    "run.oci.",  # crun
    "io.katacontainers.config_path",
    "io.katacontainers.config.agent.",
    "io.katacontainers.config.runtime.",  # Kata's own allow-list guards config.hypervisor
    "io.katacontainers.pkg.oci.",
    "dev.gvisor.flag.",
    "dev.gvisor.internal.",
)
_PLUGINS = (  # devices and mounts
    "cdi.k8s.io/",
    "cdi-devices.nri.io",
    "devices.nri.io",
    "mounts.nri.io",
    "cdi-devices.noderesource.dev",
    "devices.noderesource.dev",
    "mounts.noderesource.dev",
)
_NETWORKS = (  # additional networks of Multus, which no NetworkPolicy governs
    "k8s.v1.cni.cncf.io/",
    "v1.multus-cni.io/",
)
_REFUSED = (*_KUBERNETES, *_CRIO, *_RUNTIMES, *_PLUGINS, *_NETWORKS)


def weakening(spec: Spec) -> str | None:
    """Return which annotation of the spec is refused, or None."""
    parts = {"worker": spec.worker, "job": spec.job}
    found = (
        f"spec.{part}.annotations: {key}: {shown(value[:_SHOWN])} {_effect(key)}"
        for part, settings in parts.items()
        for key, value in _refused((settings and settings.annotations) or {})
    )
    return next(found, None)


def _effect(key: str) -> str:
    if key.startswith(_NETWORKS):
        return "would attach networks that the pod's NetworkPolicy does not govern"
    return "would loosen the pod's security, which ModelPress keeps at the Pod Security Standard restricted"


def weakens(key: str, value: str) -> bool:
    """Return whether an annotation would undo something of a pod's security."""
    if key.startswith(_APPARMOR):
        return value != "runtime/default" and not value.startswith("localhost/")
    return key.startswith(_REFUSED)


def _refused(annotations: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    return ((key, value) for key, value in annotations.items() if weakens(key, value))
