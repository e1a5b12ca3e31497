"""What a garbage collection of the real registry leaves, and what manifests/registry/prune.sh removes."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from modelpress.api.conditions import Reason
from modelpress.api.errors import MissingError, UnavailableError
from modelpress.artifacts.image import kept_tag, key_tag, pack
from modelpress.artifacts.stores.base import Store, open_store
from tests.support.artifact_folders import KEY, contents, make
from tests.support.servers.binaries import binary
from tests.support.servers.servers import Registry, run_registry

PRUNE = Path(__file__).resolve().parents[3] / "manifests" / "registry" / "prune.sh"


class Collected:
    """A registry of its own, with the artifacts of one namespace."""

    def __init__(self, registry: Registry, folder: Path) -> None:
        self.registry = registry
        self.folder = folder
        self.repository = "modelpress/shop"
        self.store: Store = open_store(f"oci://{registry.host}/{self.repository}")

    def push(self, content: str, days: float = 0) -> str:
        """Store an artifact as if it had been pushed some days ago; all have the same key."""
        made = make(self.folder / content, {"model.tflite": content.encode() * 5000, "report.json": b"{}"})
        with pack(made) as image:
            digest = self.store.push(image, KEY)
        self.age(digest, days)
        return digest

    def age(self, digest: str, days: float) -> None:
        """Let an artifact be pushed some days ago."""
        link = self._manifests / "revisions/sha256" / digest.removeprefix("sha256:") / "link"
        pushed = time.time() - days * 86400
        os.utime(link, (pushed, pushed))

    def move_tag(self, tag: str, digest: str) -> None:
        """Give a tag to another artifact, as whoever reaches the registry may."""
        root = f"http://{self.registry.host}/v2/{self.repository}/manifests"
        kind = "application/vnd.oci.image.manifest.v1+json"
        manifest = httpx.get(f"{root}/{digest}", headers={"Accept": kind}, trust_env=False).raise_for_status()
        moved = httpx.put(
            f"{root}/{tag}", content=manifest.content, headers={"Content-Type": kind}, trust_env=False
        )
        moved.raise_for_status()

    def collect(self) -> None:
        """Run the registry's own garbage collection."""
        command = [str(binary("registry")), "garbage-collect", "--delete-untagged", str(self._config)]
        subprocess.run(command, check=True, capture_output=True, timeout=60)

    def prune(self, text: str) -> subprocess.CompletedProcess[str]:
        """Run the script as in the registry's container."""
        programs = self.folder / "bin"
        programs.mkdir(exist_ok=True)
        shutil.copyfile(PRUNE, programs / "prune.sh")
        if not (programs / "registry").exists():
            (programs / "registry").symlink_to(binary("registry"))
        environment = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "OTEL_TRACES_EXPORTER": "none",
            "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": str(self.registry.storage),
        }
        return subprocess.run(
            ["sh", str(programs / "prune.sh"), str(self._config)],
            input=text,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def has(self, digest: str) -> bool:
        """Whether a worker could fetch an artifact."""
        try:
            self.store.pull(digest, self.folder / "pulled")
        except MissingError:  # ArtifactLost
            return False
        return bool(contents(self.folder / "pulled"))

    @property
    def _config(self) -> Path:
        return self.registry.log.parent / "config.yml"

    @property
    def _manifests(self) -> Path:
        return self.registry.storage / "docker/registry/v2/repositories" / self.repository / "_manifests"


@pytest.fixture
def collected(tmp_path: Path) -> Iterator[Collected]:
    # as during the collection: nothing is kept in memory, nothing can be pushed in between
    settings = {"REGISTRY_STORAGE_CACHE_BLOBDESCRIPTOR": ""}
    with run_registry(tmp_path / "registry", settings=settings) as registry:
        yield Collected(registry, tmp_path)


def names(*digests: str) -> str:
    """Return the YAML of kubectl for ControllerRevisions with these artifacts."""
    items = [{"kind": "ControllerRevision", "data": {"artifactDigest": digest}} for digest in digests]
    return yaml.safe_dump({"apiVersion": "v1", "items": items, "kind": "List", "metadata": {}})


def test_a_collection_of_untagged_manifests_leaves_every_artifact_of_a_key(collected: Collected) -> None:
    first, second = collected.push("first"), collected.push("second")
    assert first != second
    collected.collect()
    assert collected.has(first)
    assert collected.has(second)
    assert collected.store.find(KEY) == second


def test_what_nothing_names_goes_after_a_week_and_all_else_stays(collected: Collected) -> None:
    live, unnamed, recent = (
        collected.push("live", days=30),
        collected.push("unnamed", days=8),
        collected.push("recent", days=6),
    )
    ended = collected.prune(names(live))
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith(f"removed {unnamed} from ./modelpress/shop")
    assert [collected.has(digest) for digest in (live, unnamed, recent)] == [True, False, True]
    assert collected.prune(names(live)).stdout.count("removed") == 0


def test_what_is_named_stays_where_somebody_took_its_tags(collected: Collected) -> None:
    live = collected.push("live", days=30)
    other = collected.push("other", days=30)
    collected.move_tag(kept_tag(live), other)
    collected.move_tag(key_tag(KEY), other)
    collected.age(other, days=30)  # moving tags has pushed it again
    assert collected.prune(names(live)).returncode == 0
    assert [collected.has(digest) for digest in (live, other)] == [True, False]


def test_a_read_only_registry_gives_and_takes_nothing(tmp_path: Path) -> None:
    with run_registry(tmp_path / "registry") as registry:
        digest = Collected(registry, tmp_path).push("before")
    settings = {"REGISTRY_STORAGE_MAINTENANCE_READONLY": '{"enabled":true}'}  # as docs/reference.md says
    with run_registry(tmp_path / "registry", settings=settings) as registry:
        collected = Collected(registry, tmp_path)
        assert collected.has(digest)
        with pytest.raises(UnavailableError) as caught:  # so the Job is made again later
            collected.push("meanwhile")
    assert caught.value.reason is Reason.STORE_UNAVAILABLE


@pytest.mark.parametrize("text", ["", "error: connection refused", names("sha256:" + "0" * 64)[:90]])
def test_nothing_goes_where_the_list_of_objects_is_cut_off(collected: Collected, text: str) -> None:
    unnamed = collected.push("unnamed", days=30)
    assert collected.prune(text).returncode == 65
    assert collected.has(unnamed)
