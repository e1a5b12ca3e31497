"""The real cluster of these tests: started once a session, with the product installed as the README says."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from filelock import FileLock

from tests.e2e.node.cluster import Load, RealCluster, wait_for_registry
from tests.support import images
from tests.support.cluster.controlplane import wait_until
from tests.support.cluster.helpers import Deployed, merge
from tests.support.servers import binaries

PROJECT = Path(__file__).resolve().parents[3]
SYSTEM = "modelpress-system"
USERS = "users"
TAG = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
PROGRAMS = (
    "containerd",
    "runc",
    "ip",
    "nft",
    "iptables",
    "conntrack",
    "ipset",
    "buildah",
    "debootstrap",
    "nsenter",
)
FACTS = pytest.StashKey[list[str]]()
INSTALL_SECONDS = 240  # images are pulled meanwhile
JOB_SECONDS = 480


@dataclass(frozen=True)
class Installed:
    """A cluster with ModelPress in it, and what a test needs to use it."""

    cluster: RealCluster
    images: dict[str, str]  # the product's, by target
    model: Path  # folder of the demo's model and data
    facts: list[str]  # shown at the end of the session

    def kubectl(self, *arguments: str, **options: Any) -> str:
        """Run kubectl as administrator; return its output."""
        return self.cluster.control_plane.kubectl(*arguments, **options).stdout

    def deployed(self, name: str, namespace: str) -> Deployed:
        """Return a ModelDeployment."""
        return Deployed(self.cluster.control_plane, namespace, name)

    def load(self, namespace: str, model: str, *modes: str, rate: float = 10) -> Load:
        """Return a load from a pod of another namespace."""
        return Load(self.cluster, namespace, model, *modes, rate=rate)

    def secret(self, namespace: str) -> str:
        """Make the Secret with the bucket's credentials, as the sample has it; return its name."""
        (secret, _model) = self.sample()
        self.kubectl("apply", "-n", namespace, "-f", "-", input=yaml.safe_dump(secret))
        return str(secret["metadata"]["name"])

    def sample(self) -> tuple[Any, Any]:
        """The sample's two documents, with the credentials filled in."""
        secret, model = yaml.safe_load_all((PROJECT / "manifests/samples/digits.yaml").read_text())
        s3 = self.cluster.s3
        assert "AWS_ENDPOINT_URL" in secret["stringData"], "what everyone outside of AWS needs"
        secret["stringData"] |= {
            "AWS_ACCESS_KEY_ID": s3.key_id,
            "AWS_SECRET_ACCESS_KEY": s3.secret,
            "AWS_ENDPOINT_URL": s3.endpoint,
        }
        return secret, model

    def spec(self, change: dict[str, Any] | None = None) -> Any:
        """The sample's spec with a merge patch applied."""
        return merge(self.sample()[1]["spec"], change or {})


@pytest.fixture(scope="session")
def demo_model() -> Path:
    """The model and data that `make demo` makes, trained once for this version of its script."""
    script = PROJECT / "operator/modelpress/local/digits.py"
    folder = binaries.cache() / f"digits-{hashlib.sha256(script.read_bytes()).hexdigest()[:8]}"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            unfinished = Path(f"{folder}.new")
            train = (
                "import sys, pathlib; from modelpress.local import digits;"
                "digits.train(pathlib.Path(sys.argv[1]), lambda *_: None)"
            )
            subprocess.run([sys.executable, "-c", train, str(unfinished)], check=True, timeout=600)
            unfinished.rename(folder)
    return folder


@pytest.fixture(scope="session")
def real_cluster(demo_model: Path) -> Iterator[tuple[RealCluster, dict[str, str]]]:
    """Two nodes that pull the product's images from a registry."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if os.geteuid() or missing:
        pytest.fail(
            f"the real node needs root and Debian's packages (`make node-packages`); missing: {missing}"
        )
    storage = binaries.cache() / "image-registry"
    folder = binaries.cache() / "node-run"
    with FileLock(binaries.cache() / "node.lock"):
        cluster = RealCluster(folder, storage)
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)
        try:
            cluster.start_network()
            wait_for_registry(cluster.registry)
            pushed = _push_images(cluster.registry, demo_model, folder)
            cluster.start(pushed["pause"])
            yield cluster, pushed
        finally:
            cluster.stop()


@pytest.fixture(scope="session")
def installed(
    real_cluster: tuple[RealCluster, dict[str, str]], demo_model: Path, request: pytest.FixtureRequest
) -> Installed:
    """The product in the cluster: the README's kustomization, with the images of a registry of ours."""
    cluster, pushed = real_cluster
    facts = request.config.stash.setdefault(FACTS, [])
    found = Installed(cluster, pushed, demo_model, facts)
    for name in ("digits.keras", "digits-eval.npz"):
        cluster.s3.put(f"models/digits/{name}", (demo_model / name).read_bytes())
    cluster.add_storage_class()
    volume = cluster.folder / "volumes" / "registry"
    volume.mkdir(parents=True)
    cluster.add_volume("registry", "20Gi", volume)
    _start_client(found)
    overlay = _overlay(cluster)
    found.kubectl("apply", "-k", str(overlay))
    for name in ("modelpress-registry", "modelpress-operator"):
        found.kubectl("-n", SYSTEM, "rollout", "status", f"deploy/{name}", f"--timeout={INSTALL_SECONDS}s")
    found.kubectl("wait", "-n", USERS, "--for=condition=Ready", "pod/client", f"--timeout={INSTALL_SECONDS}s")
    return found


@pytest.fixture(scope="session")
def team(installed: Installed) -> str:
    """A namespace with Pod Security `restricted` and the bucket's Secret."""
    return make_namespace(installed, "ml")


@pytest.fixture(scope="session")
def digits(installed: Installed, team: str) -> Deployed:
    """The sample, applied, compressed and served."""
    deployed = installed.deployed("digits", team)
    deployed.apply(installed.spec())
    deployed.wait_current(JOB_SECONDS)
    return deployed


def make_namespace(installed: Installed, name: str) -> str:
    """Make a namespace in which only restricted pods may run, with the bucket's Secret."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    installed.cluster.apply(body)
    admin = installed.cluster.control_plane.admin
    wait_until("ServiceAccount", lambda: admin.find("serviceaccounts", name, "default"))
    installed.secret(name)
    return name


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the quick start first: on an empty cluster, where no finished artifact is found."""
    items.sort(key=lambda item: "test_quick_start" not in item.nodeid)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Show what was measured."""
    for fact in config.stash.get(FACTS, []):
        terminalreporter.write_line(f"[node] {fact}")


def _push_images(registry: str, model: Path, folder: Path) -> dict[str, str]:
    """Build all images and push them; return their names in the registry."""
    base = images.base_image()
    pushed = {}
    for target in ("operator", "compressor", "worker"):
        name = f"{registry}/modelpress/{target}:{TAG}"
        images.build(PROJECT, target, name, base)
        pushed[target] = name
    version = binaries.PROGRAMS["registry"].version.removeprefix("v")  # as manifests/registry has it
    context = folder / "images"
    shutil.copytree(PROJECT / "tests/e2e/node/images", context)
    shutil.copy(model / "digits-holdout.npz", context / "holdout.npz")
    shutil.copy(binaries.binary("registry"), context / "registry")
    for target, name in (
        ("pause", f"{registry}/pause:{TAG}"),
        ("client", f"{registry}/client:{TAG}"),
        ("registry", f"{registry}/library/registry:{version}"),  # docker.io is mirrored there
    ):
        images.build(context, target, name, base)
        pushed[target] = name
    for name in pushed.values():
        images.push(name)
    return pushed


def _overlay(cluster: RealCluster) -> Path:
    """Write the kustomization of the README, for the registry and the folder of these tests."""
    folder = cluster.folder / "install"
    folder.mkdir()
    readme = (PROJECT / "README.md").read_text()
    (text,) = re.findall(r"<<'END'\n(resources: .*?)END", readme, re.DOTALL)
    for shown, here in (
        ("registry.example.com/ml", cluster.registry),
        ("../manifests/operator", os.path.relpath(PROJECT / "manifests/operator", folder)),
    ):
        assert shown in text
        text = text.replace(shown, here)
    (folder / "kustomization.yaml").write_text(text)
    return folder


def _start_client(installed: Installed) -> None:
    """Start a pod of somebody else, in a namespace of its own."""
    cluster = installed.cluster
    container = {"name": "client", "image": installed.images["client"]}
    cluster.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": USERS}},
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "client", "namespace": USERS},
            "spec": {
                "nodeName": cluster.nodes[0].name,
                "terminationGracePeriodSeconds": 1,
                "automountServiceAccountToken": False,
                "containers": [container],
            },
        },
    )
