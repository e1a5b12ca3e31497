"""The table of manifests with their verdicts, read from tests/support/data/manifests.yaml."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

TABLE = Path(__file__).resolve().parent / "data" / "manifests.yaml"
HEAD = "apiVersion: modelpress.dev/v1alpha1\nkind: ModelDeployment\nmetadata:\n"
NAME = "name: digits\n"
GPU = 'spec:\n  model: {uri: "s3://models/digits.keras"}\n'
CPU = GPU + "  devices: {type: CPU}\n"


@dataclass(frozen=True)
class Row:
    """One manifest and every line that the API server says of it; no line: it accepts the manifest."""

    title: str
    text: str
    errors: tuple[str, ...] = ()


def rows() -> list[Row]:
    """Return the table."""
    return [_row(entry) for entry in yaml.safe_load(TABLE.read_text())]


def manifest(*, spec: str = "", metadata: str = NAME, base: str = CPU) -> str:
    """Return the text of a ModelDeployment; `spec` and `metadata` hold lines without their indent."""
    return HEAD + _indented(metadata) + base + _indented(spec)


def _row(entry: dict[str, Any]) -> Row:
    if "manifest" in entry:
        text = entry["manifest"]
    elif "metadata" in entry:
        text = manifest(metadata=entry["metadata"])
    elif "gpu" in entry:
        text = manifest(spec=entry["gpu"], base=GPU)
    else:
        text = manifest(spec=entry["spec"])
    return Row(entry["title"], text, tuple(entry.get("errors", ())))


def _indented(text: str) -> str:
    return "".join(f"  {line}\n" for line in text.splitlines())
