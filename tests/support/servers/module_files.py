"""Files of other projects as their Go modules publish them, such as a CustomResourceDefinition.

They are taken into the cache once, and pinned by their content.
"""

import hashlib
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ModuleFile:
    """A file of a Go module at a version."""

    module: str
    version: str
    path: str
    sha256: str


FILES = {
    "keda-crd": ModuleFile(
        "github.com/kedacore/keda/v2",
        "v2.21.0",
        "config/crd/bases/keda.sh_scaledobjects.yaml",
        "af35555862a83933b074af14ad439c4b4ceabaf4daa3e9338e9b23e36d308d80",
    ),
}


def place(name: str, cache: Path) -> Path:
    """Return where a file of FILES lies in the folder `cache`, there or not."""
    file = FILES[name]
    return cache / f"{name}-{file.version}-{file.sha256[:8]}{Path(file.path).suffix}"


def taken(name: str, cache: Path, go: Path) -> Path:
    """Return the path of a file of FILES, taking it with the compiler `go` first where it is not there."""
    file, target = FILES[name], place(name, cache)
    if target.exists():
        return target
    environment = {**os.environ, "GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local"}
    command = [str(go), "mod", "download", "-json", f"{file.module}@{file.version}"]
    done = subprocess.run(command, cwd=cache, env=environment, check=True, capture_output=True, text=True)
    content = (Path(json.loads(done.stdout)["Dir"]) / file.path).read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != file.sha256:
        raise RuntimeError(f"{file.module}@{file.version}: {file.path} has the sha256 {found}")
    scratch = target.with_suffix(f".{os.getpid()}")
    scratch.write_bytes(content)
    shutil.move(scratch, target)
    return target
