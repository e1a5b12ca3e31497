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
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn

from pydantic import ValidationError

from modelpress import logs
from modelpress.api import contract
from modelpress.api.conditions import Reason
from modelpress.api.contract import JobFailure, JobRequest, JobResult
from modelpress.api.errors import ModelPressError, UsageError
from modelpress.artifacts import image, manifest, sources
from modelpress.artifacts.key import artifact_key, key_recipe
from modelpress.artifacts.manifest import ArtifactManifest
from modelpress.artifacts.stores import Store, open_store
from modelpress.compression import recipe

_log = logging.getLogger("modelpress.compression.job")  # also when run as a program
_INTERNAL = 70  # EX_SOFTWARE
_TERMINATED = 128 + signal.SIGTERM
_MESSAGE = 3000  # characters, as JobFailure allows


def main() -> NoReturn:
    """Run the Job that the environment describes (api.contract), write its termination message, exit."""
    logs.configure()
    _exit_on_sigterm()
    message, code = outcome()
    if path := os.environ.get(contract.TERMINATION_MESSAGE):
        Path(path).write_text(message, encoding="utf-8")
    sys.exit(code)


def run(request: JobRequest, store: Store, work_dir: Path, secrets: Path | None) -> JobResult:
    """Find or make the artifact of a request in `store`; scratch files go to `work_dir`.

    `secrets` is the folder of contract.SECRETS. Raises the errors of `api.errors`.
    """
    recipe.of(request)  # what this release cannot do is refused before anything is downloaded
    data_source = request.data.evaluation if request.evaluation and request.data else None
    model = sources.fetch(
        request.model, work_dir / "source", secrets=_folder(secrets, contract.MODEL_SECRET), what="spec.model"
    )
    data = data_source and sources.fetch(
        data_source,
        work_dir / "evaluation",
        secrets=_folder(secrets, "evaluation"),
        what="spec.data.evaluation",
    )
    digests = {"evaluation": data.sha256} if data else {}
    key = artifact_key(model.sha256, digests, key_recipe(request), version("modelpress"))
    if digest := store.find(key):
        _log.info(
            "Found a finished artifact of this key: nothing is compressed again.", extra={"digest": digest}
        )
        store.pull(digest, work_dir / "found")
        return _result(request, manifest.load_verified(work_dir / "found"), digest, reused=True)

    from modelpress.compression import pipeline  # noqa: PLC0415 - a found artifact does not wait for TensorFlow

    out = work_dir / "artifact"
    shutil.rmtree(out, ignore_errors=True)  # of an earlier try in the same folder
    inputs = pipeline.Inputs(model.path, data.path if data else None, f"sha256:{model.sha256}", key)
    made = pipeline.compress(request, inputs, out, work_dir / "scratch")
    with image.pack(out) as packed:
        digest = store.push(packed, key)
    _log.info("Stored the artifact.", extra={"digest": digest, "key": key})
    return _result(request, made, digest, reused=False)


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
    )


def outcome() -> tuple[str, int]:
    """Return the termination message and the exit code."""
    try:
        result = _run_environment()
    except ModelPressError as error:
        _log.error("%s: %s", error.reason, error.message)
        return failure(error.reason, error.message), error.exit_code
    except MemoryError:
        _log.exception("Out of memory.")
        return failure(Reason.OUT_OF_MEMORY, "the Job needs more memory than it may use"), _INTERNAL
    except Exception as error:
        _log.exception("Unexpected error.")  # the traceback stays in the log
        text = f"unexpected {type(error).__name__}; the Job's log has more"
        return failure(Reason.JOB_FAILED, text), _INTERNAL
    _log.info("The Job is done.", extra={"result": result.to_wire()})
    return result.model_dump_json(by_alias=True, exclude_none=True), 0


def _run_environment() -> JobResult:
    try:
        request = JobRequest.model_validate_json(_variable(contract.REQUEST))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(Reason.INVALID_SPEC, f"{contract.REQUEST}: {where}: {first['msg']}") from error
    secrets = Path(os.environ[contract.SECRETS]) if os.environ.get(contract.SECRETS) else None
    store = open_store(
        _variable(contract.STORE),
        plain_http_registry=os.environ.get(contract.PLAIN_HTTP_REGISTRY) or None,
        secrets=_folder(secrets, contract.STORAGE_SECRET),
    )
    return run(request, store, Path(_variable(contract.WORK_DIR)), secrets)


def _variable(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise UsageError(Reason.INVALID_SPEC, f"the environment variable {name} is not set")
    return value


def _folder(secrets: Path | None, name: str) -> Path | None:
    folder = secrets / name if secrets else None
    return folder if folder and folder.is_dir() else None


def failure(reason: Reason, message: str) -> str:
    """Return a JobFailure that fits into a termination message, which counts bytes."""
    line = " ".join(message.split())[:_MESSAGE]
    while True:
        text = JobFailure(reason=reason, message=line).model_dump_json(by_alias=True)
        if len(text.encode()) <= contract.TERMINATION_MESSAGE_LIMIT:
            return text
        line = line[: len(line) * 3 // 4]


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
