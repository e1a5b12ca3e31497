"""Container images for tests, built by buildah without a daemon: needs root, buildah and debootstrap.

docker.io may be out of reach, so the base is Debian's own, made by debootstrap once a week. It trusts what
this machine trusts, as the base of a company behind a proxy would.
"""

import contextlib
import os
import shutil
import ssl
import subprocess
import time
from pathlib import Path

from filelock import FileLock

from tests.support.servers.binaries import cache

PACKAGES = ("python3", "python3-venv", "ca-certificates")
CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"
_EPOCH = "315532800"  # as operator/images/images.sh
# What buildah may say on a busy machine before it has begun: it runs from a sealed copy of itself.
_NOT_BEGUN = "sealing memfd copy: Device or resource busy"
_ATTEMPTS = 5
_BEGUN_SECONDS = 2.0


def missing() -> str | None:
    """Return why no image can be built here, or None."""
    programs = [name for name in ("buildah", "debootstrap") if shutil.which(name) is None]
    if programs:
        return f"images are built with {' and '.join(programs)}: not on PATH"
    return None if os.geteuid() == 0 else "images are built as root, with debootstrap"


def base_image(release: str = "bookworm") -> str:
    """Return the name of an image of a Debian release with Python, made anew each week."""
    name = f"localhost/modelpress-base:{release}-{time.strftime('%G-%V', time.gmtime())}"
    with FileLock(cache() / f"base-{release}.lock"):
        if not exists(name):
            _forget_old(release)
            _make_base(release, name)
    return name


def build(context: Path, target: str, tag: str, base: str) -> None:
    """Build a target of the Dockerfile in `context`; unchanged steps come from the cache."""
    options = ("--layers", "--timestamp", _EPOCH, "--build-arg", f"BASE={base}")
    buildah("build", *options, "--target", target, "--tag", tag, str(context))


def exists(name: str) -> bool:
    """Return whether the storage has an image."""
    return run(["buildah", "inspect", "--type", "image", name]).returncode == 0


def push(name: str) -> None:
    """Push an image to a registry that speaks plain HTTP."""
    buildah("push", "--quiet", "--tls-verify=false", name, f"docker://{name}")


def export(name: str, file: Path) -> None:
    """Write an image as an archive that `ctr images import` reads."""
    buildah("push", "--quiet", name, f"docker-archive:{file}:{name}")


def unpacked_bytes(name: str) -> int:
    """Return how many bytes the files of an image have, unpacked; a file with two names counts once."""
    identifier = buildah("from", "--pull-never", name).strip()
    try:
        root = Path(buildah("mount", identifier).strip())
        files = {
            (status.st_ino, status.st_dev): status.st_size
            for folder, _, names in os.walk(root)
            for status in (os.lstat(Path(folder) / file) for file in names)
        }
        return sum(files.values())
    finally:
        buildah("rm", identifier)


def buildah(*arguments: str) -> str:
    """Run buildah on the tests' storage; return its output. An error shows the last lines of what it said."""
    command = ["nice", "buildah", *arguments]
    done = run(command)
    if done.returncode:
        said = (done.stdout + done.stderr)[-4000:]
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {said}")
    return done.stdout


def run(command: list[str], seconds: float | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command of buildah within a time; return what came of it."""
    for _ in range(_ATTEMPTS):
        done = subprocess.run(
            command, env=environment(), capture_output=True, text=True, check=False, timeout=seconds
        )
        if _NOT_BEGUN not in done.stderr:
            break
    return done


def start(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    """Start a command of buildah in the background; what it says goes to `log`."""
    for _ in range(_ATTEMPTS):
        with log.open("wb") as output:
            process = subprocess.Popen(command, env=environment(), stdout=output, stderr=subprocess.STDOUT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_BEGUN_SECONDS)
        if process.returncode is None or _NOT_BEGUN not in log.read_text():
            break
    return process


def environment() -> dict[str, str]:
    """The environment in which buildah uses the tests' storage, and needs no more than a container has."""
    folder = cache() / "buildah"
    folder.mkdir(exist_ok=True)
    file = folder / "storage.conf"
    if not file.exists():
        places = f'graphroot = "{folder}/root"\nrunroot = "{folder}/run"\n'
        file.write_text(f'[storage]\ndriver = "{_driver(folder)}"\n{places}')
    return {**os.environ, "CONTAINERS_STORAGE_CONF": str(file), "BUILDAH_ISOLATION": "chroot"}


def _driver(folder: Path) -> str:
    """Return the fastest storage driver that works for a folder: not overlay on top of overlay."""
    kind = subprocess.run(["stat", "-f", "-c", "%T", str(folder)], capture_output=True, text=True, check=True)
    return "vfs" if "overlay" in kind.stdout else "overlay"


def _forget_old(release: str) -> None:
    """Remove the bases of earlier weeks and all steps that are kept only to build faster on them."""
    names = buildah("images", "--format", "{{.Name}}:{{.Tag}}").split()
    for name in names:
        if name.startswith(f"localhost/modelpress-base:{release}-"):
            buildah("rmi", "--force", name)
    buildah("rmi", "--prune")


def _make_base(release: str, name: str) -> None:
    folder = cache() / f"base-{release}"
    rootfs = folder / "rootfs"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    options = ["--variant=minbase", f"--include={','.join(PACKAGES)}"]
    command = ["nice", "debootstrap", *options, release, str(rootfs)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stdout[-2000:]}")
    for unneeded in (*rootfs.glob("var/cache/apt/archives/*.deb"), *rootfs.glob("var/lib/apt/lists/*_*")):
        unneeded.unlink()
    trusted = ssl.get_default_verify_paths().cafile
    if trusted:
        shutil.copyfile(trusted, rootfs / CERTIFICATES)
    archive = folder / "rootfs.tar"
    subprocess.run(["tar", "--one-file-system", "-C", str(rootfs), "-cf", str(archive), "."], check=True)
    (folder / "Dockerfile").write_text('FROM scratch\nADD rootfs.tar /\nCMD ["python3"]\n')
    buildah("build", "--tag", name, str(folder))
    shutil.rmtree(folder)
