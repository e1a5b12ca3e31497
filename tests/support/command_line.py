"""The command line in the process of a test, and manifests to try it with."""

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from modelpress import cli
from tests.support import manifest_table

GOOD = manifest_table.manifest()
TWO_PODS = "  parallelism: {pipeline: 2, podsPerReplica: 2}\n"  # not supported yet
WITH_SECRET = GOOD.replace('digits.keras"', 'digits.keras", secretRef: {name: keys}')


def modelpress(*arguments: str, env: dict[str, str] | None = None) -> Result:
    """Run a command."""
    return CliRunner().invoke(cli.main, arguments, prog_name="modelpress", env=env)


def write(folder: Path, text: str) -> str:
    """Write a manifest; return its path."""
    path = folder / "manifest.yaml"
    path.write_text(text)
    return str(path)


def command(name: str, folder: Path) -> list[str]:
    """Return the arguments of a command that reads the manifest of a folder."""
    more = {"run": ["--state", str(folder / "state")], "compress": ["-o", str(folder / "out")]}
    return [name, "-f", str(folder / "manifest.yaml"), *more.get(name, ())]


def refused(name: str, content: str | bytes, folder: Path) -> Result:
    """Run a command with a manifest that it must refuse before it writes anything."""
    (folder / "manifest.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    result = CliRunner().invoke(cli.main, command(name, folder))
    assert sorted(path.name for path in folder.iterdir()) == ["manifest.yaml"], "nothing was begun"
    return result


def with_secret(name: Any = "keys", **fields: Any) -> str:
    """Return a manifest whose model needs a Secret, behind that Secret with these fields."""
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, **fields}
    return f"{json.dumps(body)}\n---\n{WITH_SECRET}"
