"""The lock files fit pyproject.toml, without a network. tests/e2e/images resolves those of the images."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).resolve().parents[2]
FOLDER = PROJECT / "operator/images/requirements"
EXTRAS = {
    "operator": ("operator",),
    "compressor": ("compression",),
    "worker": ("serving",),
    "worker-gpu": ("serving", "gpu"),
}
LOCKS = {name: FOLDER / f"{name}.txt" for name in (*EXTRAS, "build")} | {
    "dev": PROJECT / "tests/requirements.txt"
}
INSTALLERS = {"pip", "setuptools", "wheel", "uv", "build"}


def needed(extras: tuple[str, ...]) -> list[Requirement]:
    """Return the direct requirements of extras, those of our own extras in them too."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    lines = list(project["dependencies"])
    for extra in extras:
        for requirement in map(Requirement, project["optional-dependencies"][extra]):
            if requirement.name == project["name"]:
                lines += map(str, needed(tuple(requirement.extras)))
            else:
                lines.append(str(requirement))
    return [Requirement(line) for line in lines]


def locked(name: str) -> dict[str, list[Requirement]]:
    """Return the entries of a lock file by package; a package may have one for each kind of Python."""
    found: dict[str, list[Requirement]] = {}
    for line in re.findall(r"^[^\s#].*", LOCKS[name].read_text(), re.MULTILINE):
        requirement = Requirement(line.removesuffix(" \\"))
        found.setdefault(requirement.name, []).append(requirement)
    return found


@pytest.mark.parametrize(("name", "extras"), [*EXTRAS.items(), ("dev", ("dev",))])
def test_a_lock_file_has_each_direct_requirement_in_a_version_that_it_allows(
    name: str, extras: tuple[str, ...]
) -> None:
    lock = locked(name)
    for requirement in needed(extras):
        versions = [
            str(entry.specifier).removeprefix("==")
            for entry in lock.get(canonicalize_name(requirement.name), [])
        ]
        fitting = [version for version in versions if requirement.specifier.contains(version)]
        assert versions, f"{requirement} is not locked: make lock"
        assert versions == fitting, f"{requirement}: make lock"


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_file_pins_versions_with_hashes_and_names_no_registry(name: str) -> None:
    text = LOCKS[name].read_text()
    assert "://" not in text
    assert re.search(r"^\s*(-i|--index-url|--extra-index-url|--find-links|-f)\b", text, re.MULTILINE) is None
    entries = re.split(r"^(?=[^\s#])", text, flags=re.MULTILINE)[1:]
    assert entries
    for entry in entries:
        assert re.match(r"[a-z0-9.\-]+==\S+", entry), entry
        assert "--hash=sha256:" in entry, entry


@pytest.mark.parametrize("image", EXTRAS)
def test_a_lock_file_of_an_image_has_no_installer(image: str) -> None:
    assert INSTALLERS.isdisjoint(locked(image))


def test_the_operator_has_nothing_of_the_data_plane() -> None:
    assert {"numpy", "oras", "tensorflow-cpu", "tensorflow", "ai-edge-litert"}.isdisjoint(locked("operator"))
