"""A worker with one more executor: numpy, which doubles. Usage: as run_worker.py.

It goes through the seams that CONTRIBUTING.md names for a new executor, and through nothing else.
"""

import json
import sys
from pathlib import Path

from modelpress.api.contract import WorkerConfig
from modelpress.api.spec import Parallelism, Serving
from modelpress.artifacts.manifest import ArtifactManifest
from modelpress.serving.executors.base import Array, Arrays, Executor
from modelpress.serving.executors.runtimes import RUNTIMES, LoadCopies, Runtime
from modelpress.serving.worker import ProcessOptions, main


class Doubling:
    """Multiplies by the number in the model's file; its second output says how many rows came in one call."""

    def __init__(self, factor: int) -> None:
        self._factor = factor

    def run(self, inputs: Arrays) -> list[Array]:
        """Compute the outputs."""
        (values,) = inputs
        return [values * self._factor, values[:, :1] * 0 + len(values)]

    def close(self) -> None:
        """Nothing to free."""


def load_copies(
    folder: Path, manifest: ArtifactManifest, parallelism: Parallelism, serving: Serving
) -> list[list[Executor]]:
    """Return an executor for each copy."""
    factor = int((folder / manifest.model_file).read_text())
    return [[Doubling(factor)] for _ in range(parallelism.data)]


def import_runtime() -> LoadCopies:
    """Import what computes: here nothing."""
    return load_copies


RUNTIMES["numpy"] = Runtime("numpy", import_runtime, "and numpy is not installed")

if __name__ == "__main__":
    sys.modules["ai_edge_litert"] = sys.modules["tensorflow"] = None  # type: ignore[assignment]  # not needed
    options = json.loads(sys.argv[2])
    options["model_dir"] = Path(options["model_dir"])
    main(WorkerConfig.from_json(sys.argv[1]), ProcessOptions(**options))
