"""Which runtime computes an artifact: one entry for each form of its manifest, imported when it is loaded.

A new executor is a module of its own with a function such as LoadCopies, and an entry here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from modelpress import logs
from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError
from modelpress.api.spec import Parallelism, Serving
from modelpress.artifacts.manifest import ArtifactManifest, Form
from modelpress.serving.executors.base import Executor


class LoadCopies(Protocol):
    """Builds the executors of an artifact."""

    def __call__(
        self, folder: Path, manifest: ArtifactManifest, parallelism: Parallelism, serving: Serving
    ) -> list[list[Executor]]:
        """Return a list of `parallelism.data` copies; each is its stages in order, as executors.

        Batches have up to `serving.max_batch_size` rows. Blocks. Raises DataError: ModelLoadFailed for what
        cannot be read, UnsupportedModel for a parallelism that the runtime does not have, OutOfMemory.
        """


@dataclass(frozen=True)
class Runtime:
    """What computes the artifacts of one form."""

    platform: str  # its name in the protocols' metadata
    load_copies: Callable[[], LoadCopies]  # imports the runtime; raises ImportError where it is not installed
    if_missing: str  # completes "the artifact is of form x, ..." where it is not installed


def _litert() -> LoadCopies:
    from modelpress.serving.executors.litert import load_copies  # noqa: PLC0415

    return load_copies


def _tensorflow() -> LoadCopies:
    logs.quiet_tensorflow("2")
    from modelpress.serving.executors.tensorflow.loading import load_copies  # noqa: PLC0415

    return load_copies


RUNTIMES: dict[str, Runtime] = {
    Form.TFLITE: Runtime(
        "litert",
        _litert,
        "for CPU devices, and this worker cannot import LiteRT: install modelpress[serving]",
    ),
    Form.TENSORFLOW: Runtime(
        "tensorflow",
        _tensorflow,
        "for GPU devices, and this worker cannot import TensorFlow: serve one that was compressed with"
        " devices.type: CPU, or with the image for GPUs",
    ),
}


def runtime_of(form: str) -> Runtime:
    """Return the entry of a form. Raises DataError (ModelLoadFailed) where there is none."""
    if form not in RUNTIMES:
        raise _load_failed(form, f"which this release cannot load; accepted are {', '.join(RUNTIMES)}")
    return RUNTIMES[form]


def load_copies(
    folder: Path, manifest: ArtifactManifest, parallelism: Parallelism, serving: Serving
) -> list[list[Executor]]:
    """Do what LoadCopies says, with the runtime of the manifest's form, which is imported now."""
    runtime = runtime_of(manifest.form)
    try:
        loader = runtime.load_copies()
    except ImportError as error:
        raise _load_failed(manifest.form, runtime.if_missing) from error
    return loader(folder, manifest, parallelism, serving)


def _load_failed(form: str, what: str) -> DataError:
    return DataError(Reason.MODEL_LOAD_FAILED, f"the artifact is of form {form}, {what}")
