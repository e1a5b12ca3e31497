"""Runs a worker with an importer that refuses TensorFlow.

Usage: run_worker.py WORKER_CONFIG PROCESS_OPTIONS, both as JSON.
"""

import json
import sys
from pathlib import Path


class NoTensorFlow:
    """Refuses what a CPU worker must not need."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        package = name.partition(".")[0]
        if package in ("tensorflow", "keras", "kopf", "kubernetes", "sklearn") or name == "modelpress.models":
            raise ImportError(f"{name} must not be imported by a worker")


if __name__ == "__main__":
    sys.meta_path.insert(0, NoTensorFlow())
    from modelpress.api.contract import WorkerConfig
    from modelpress.serving.worker import ProcessOptions, main

    options = json.loads(sys.argv[2])
    options["model_dir"] = Path(options["model_dir"])
    main(WorkerConfig.from_json(sys.argv[1]), ProcessOptions(**options))
