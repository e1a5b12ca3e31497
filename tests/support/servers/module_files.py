"""Single files of other projects' Go modules, such as their CRDs: taken once into the test cache.

They come from the module proxy, and Go checks their sums as it does for what is built.
"""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock


class ModuleFile(NamedTuple):
    """A file of a module at a version."""

    module: str
    version: str
    path: str

    def place(self, cache: Path) -> Path:
        """Return where it is kept in the folder `cache`, whether it is there or not."""
        identity = hashlib.sha256("\0".join(self).encode()).hexdigest()[:8]
        return cache / f"{Path(self.path).stem}-{self.version}-{identity}{Path(self.path).suffix}"


# by the names that `make binaries` tells
MODULE_FILES = {
    "argo-application": ModuleFile(
        "github.com/argoproj/argo-cd/v3", "v3.3.0", "manifests/crds/application-crd.yaml"
    ),
    "flux-kustomization": ModuleFile(
        "github.com/fluxcd/kustomize-controller",
        "v1.7.3",
        "config/crd/bases/kustomize.toolkit.fluxcd.io_kustomizations.yaml",
    ),
    "flux-repository": ModuleFile(
        "github.com/fluxcd/source-controller",
        "v1.7.3",
        "config/crd/bases/source.toolkit.fluxcd.io_gitrepositories.yaml",
    ),
    "keda-scaledobject": ModuleFile(
        "github.com/kedacore/keda/v2", "v2.21.0", "config/crd/bases/keda.sh_scaledobjects.yaml"
    ),
}


def module_file(name: str, cache: Path, go: Path) -> Path:
    """Return the path of one of MODULE_FILES; `go` downloads its module first if need be."""
    file = MODULE_FILES[name]
    target = file.place(cache)
    with FileLock(f"{target}.lock"):
        if not target.exists():
            folder = _download(file, go)
            shutil.copyfile(folder / file.path, f"{target}.new")
            Path(f"{target}.new").rename(target)
    return target


def _download(file: ModuleFile, go: Path) -> Path:
    """Return the folder of a module in Go's own cache."""
    command = [str(go), "mod", "download", "-json", f"{file.module}@{file.version}"]
    environment = {**os.environ, "GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local"}
    with tempfile.TemporaryDirectory() as outside:  # of any module of ours
        done = subprocess.run(
            command, cwd=outside, env=environment, capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise RuntimeError(f"cannot download {file.module} {file.version}: {done.stdout}{done.stderr}")
    return Path(json.loads(done.stdout)["Dir"])
