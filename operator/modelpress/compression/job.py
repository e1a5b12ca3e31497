"""The program of a compression Job: download, find or make the artifact, store it, report.

Its result is a JobResult in the termination message and exit code 0, also where the gate will fail. Its
failure is a JobFailure and an exit code of sysexits.h, which says whether another try can help.
"""

import logging
import os
import shutil
import signal
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple, NoReturn

from pydantic import TypeAdapter, ValidationError

from modelpress import logs
from modelpress.api import contract
from modelpress.api.conditions import Reason
from modelpress.api.contract import JobRequest, JobResult
from modelpress.api.errors import ModelPressError, UsageError
from modelpress.artifacts import image, manifest
from modelpress.artifacts.key import artifact_key, key_recipe
from modelpress.artifacts.manifest import ArtifactManifest
from modelpress.artifacts.sources import base as sources
from modelpress.artifacts.stores.base import Store, open_store
from modelpress.artifacts.termination import required, run_reporting, write
from modelpress.compression import recipe

_log = logging.getLogger("modelpress.compression.job")  # also when run as a program
_TERMINATED = 128 + signal.SIGTERM


def main() -> NoReturn:
    """Run the Job that the environment describes (api.contract), write its termination message, exit."""
    logs.configure()
    logs.quiet_tensorflow()
    _exit_on_sigterm()
    sys.exit(run_reporting(run_environment, unexpected=Reason.JOB_FAILED))


def run(
    request: JobRequest,
    store: Store,
    work_dir: Path,
    secrets: Path | None,
    known: Mapping[str, str] | None = None,
) -> JobResult:
    """Find or make the artifact of a request in `store`; scratch files go to `work_dir`.

    `secrets` is the folder of contract.SECRETS. `known` is contract.KNOWN_ARTIFACTS: None where the store is
    believed what it has of a key. Raises the errors of `api.errors`.
    """
    plan = recipe.of(request)  # what this release cannot do is refused before anything is downloaded
    model = sources.fetch(
        request.model, work_dir / "source", secrets=_folder(secrets, contract.MODEL_SECRET), what="spec.model"
    )
    data = {
        role: sources.fetch(source, work_dir / role, secrets=_folder(secrets, role), what=f"spec.data.{role}")
        for role, source in plan.data.items()
    }
    digests = {role: found.sha256 for role, found in data.items()}
    key = artifact_key(model.sha256, digests, key_recipe(request), version("modelpress"))
    finished = store.find(key) if known is None else known.get(key)
    wanted = _Wanted(key, f"sha256:{model.sha256}")
    if finished and (found := _find(store, finished, wanted, work_dir / "found")):
        return _result(request, found.manifest, found.digest, reused=True)

    from modelpress.compression import pipeline  # noqa: PLC0415 - a found artifact does not wait for TensorFlow

    out = work_dir / "artifact"
    shutil.rmtree(out, ignore_errors=True)  # an earlier try in the same folder may have left it
    paths = {role: found.path for role, found in data.items()}
    inputs = pipeline.Inputs(
        model=model.path,
        evaluation=paths.get("evaluation"),
        source_digest=wanted.source_digest,
        artifact_key=key,
        calibration=paths.get("calibration"),
        training=paths.get("training"),
    )
    made = pipeline.compress(request, inputs, out, work_dir / "scratch")
    with image.pack(out) as packed:
        digest = store.push(packed, key)
    _log.info("Stored the artifact.", extra={"digest": digest, "key": key})
    return _result(request, made, digest, reused=False)


class _Wanted(NamedTuple):
    """What an artifact must say of itself to be reused."""

    artifact_key: str
    source_digest: str


@dataclass(frozen=True)
class _Found:
    digest: str
    manifest: ArtifactManifest


def _find(store: Store, digest: str, wanted: _Wanted, target: Path) -> _Found | None:
    """Return a finished artifact; one that is lost, damaged or another one is made again."""
    try:
        store.pull(digest, target)
        found = _Found(digest, manifest.load_verified(target))
    except ModelPressError as error:
        if error.reason not in (Reason.ARTIFACT_LOST, Reason.ARTIFACT_CORRUPT):
            raise
        _log.warning("%s: %s: the artifact is made again", error.reason, error.message)
        return None
    if (found.manifest.artifact_key, found.manifest.source_digest) != wanted:
        _log.warning("%s is of another model or recipe: the artifact is made again", digest)
        return None
    _log.info("Found a finished artifact of this key: nothing is compressed again.", extra={"digest": digest})
    return found


def _result(request: JobRequest, made: ArtifactManifest, digest: str, *, reused: bool) -> JobResult:
    return JobResult(
        recipe_hash=request.recipe_hash,
        source_digest=made.source_digest,
        artifact_key=made.artifact_key,
        artifact_digest=digest,
        reused=reused,
        original_bytes=made.original_bytes,
        compressed_bytes=made.compressed_bytes,
        scores=made.scores,
        warnings=made.warnings,
        layers=made.has_layers,
    )


def run_environment() -> None:
    """Run what the environment describes, and write the JobResult as the termination message."""
    try:
        request = JobRequest.model_validate_json(required(contract.REQUEST))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(Reason.INVALID_SPEC, f"{contract.REQUEST}: {where}: {first['msg']}") from error
    secrets = Path(os.environ[contract.SECRETS]) if os.environ.get(contract.SECRETS) else None
    store = open_store(
        required(contract.STORE),
        plain_http_registry=os.environ.get(contract.PLAIN_HTTP_REGISTRY) or None,
        secrets=_folder(secrets, contract.STORAGE_SECRET),
    )
    result = run(request, store, Path(required(contract.WORK_DIR)), secrets, _known())
    _log.info("The Job is done.", extra={"result": result.to_wire()})
    write(contract.result_text(result))


def _known() -> dict[str, str] | None:
    """Return contract.KNOWN_ARTIFACTS."""
    text = os.environ.get(contract.KNOWN_ARTIFACTS)
    if text is None:
        return None
    try:
        return TypeAdapter(dict[str, str]).validate_json(text)
    except ValidationError as error:
        raise UsageError(
            Reason.INVALID_SPEC, f"{contract.KNOWN_ARTIFACTS}: is not JSON that maps keys to digests"
        ) from error


def _folder(secrets: Path | None, name: str) -> Path | None:
    folder = secrets / name if secrets else None
    return folder if folder and folder.is_dir() else None


def _exit_on_sigterm() -> None:
    """End at once on SIGTERM, also while TensorFlow computes: a handler of Python would wait for it.

    As the first process of a container this one has no default action for the signal.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing)
    signal.signal(signal.SIGTERM, lambda *_: None)  # or the wake-up would not be written

    def wait() -> None:
        while signal.SIGTERM not in os.read(reading, 64):
            pass
        os._exit(_TERMINATED)

    threading.Thread(target=wait, name="sigterm", daemon=True).start()


if __name__ == "__main__":
    main()
