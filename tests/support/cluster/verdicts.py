"""What kstatus and Argo CD make of objects: the real library and the shipped health script in a real Lua."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.support.cluster.api import Json
from tests.support.servers import needs
from tests.support.servers.binaries import binary

PROJECT = Path(__file__).resolve().parents[3]
ARGOCD = PROJECT / "manifests" / "gitops" / "argocd"
CUSTOMIZATION = ARGOCD / "resource_customizations" / "modelpress.dev" / "ModelDeployment"


class Verdict(NamedTuple):
    """The words of both tools."""

    kstatus: str
    argocd: str


class Health(NamedTuple):
    """What Argo CD shows of an object."""

    status: str
    message: str


def judge(objects: Sequence[Json], script: Path = CUSTOMIZATION / "health.lua") -> list[Verdict]:
    """Return what both tools say of each object."""
    return [
        Verdict(answer["kstatus"]["status"], answer["argocd"]["status"]) for answer in _ask(objects, script)
    ]


def health(objects: Sequence[Json]) -> list[Health]:
    """Return the health of each object, with its message."""
    return [Health(**answer["argocd"]) for answer in _ask(objects, CUSTOMIZATION / "health.lua")]


def _ask(objects: Sequence[Json], script: Path) -> list[Json]:
    needs.program("verdicts")
    lines = "".join(json.dumps(body) + "\n" for body in objects)
    done = subprocess.run(
        [str(binary("verdicts")), str(script)], input=lines, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]
