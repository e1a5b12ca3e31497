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
    from modelpress.api.spec import Serving
    from modelpress.serving.worker import ProcessOptions, main

    fields = json.loads(sys.argv[1])
    # without the bounds of the spec: some tests hold requests for longer than it allows
    serving = Serving.model_construct(**fields.pop("serving", {}))
    config = WorkerConfig.model_validate(fields).model_copy(update={"serving": serving})
    options = json.loads(sys.argv[2])
    options["model_dir"] = Path(options["model_dir"])
    main(config, ProcessOptions(**options))
