"""The images at work: a Job and a worker, run as the user of pods."""

import contextlib
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import psutil

from modelpress.api.contract import JobResult
from tests.e2e.images.conftest import Container
from tests.support import images
from tests.support.models.trained import DigitsModels
from tests.support.servers.servers import free_port

REQUEST = {
    "name": "digits",
    "namespace": "default",
    "recipeHash": "1" * 64,
    "deviceType": "CPU",
    "model": {"uri": "file:///work/in/model.keras"},
    "data": {name: {"uri": "file:///work/in/data.npz"} for name in ("calibration", "evaluation")},
    "compression": {"quantization": {"scheme": "Int8Static"}},
    "evaluation": {"minScore": "90%"},
}


def test_a_job_and_a_worker_do_their_work(
    container: Callable[[str], Container], digits_models: DigitsModels, tmp_path: Path
) -> None:
    for name in ("in", "work", "store"):
        (tmp_path / name).mkdir()
    shutil.copyfile(digits_models.cnn, tmp_path / "in/model.keras")
    shutil.copyfile(digits_models.image_data, tmp_path / "in/data.npz")
    for path in (tmp_path, *tmp_path.rglob("*")):
        path.chmod(0o777)
    volume = f"--volume={tmp_path}:/work"
    job = container("compressor").run(
        "modelpress",
        "job",
        options=(volume,),
        MODELPRESS_REQUEST=json.dumps(REQUEST),
        MODELPRESS_STORE="file:///work/store/layout",
        MODELPRESS_WORK_DIR="/work/work",
        MODELPRESS_TERMINATION_MESSAGE="/work/message",
    )
    assert job.returncode == 0, job.stderr[-3000:]
    result = JobResult.model_validate_json((tmp_path / "message").read_text())
    assert result.scores is not None
    assert result.scores.compressed > 90

    port = free_port()
    serve = ["modelpress", "serve", "/work/store/layout", f"--port={port}"]
    command = ["buildah", "run", volume, container("worker").identifier, "--", *serve]
    worker = images.start(command, tmp_path / "worker.log")
    try:
        url = f"http://127.0.0.1:{port}/v1/models/model:predict"
        with np.load(digits_models.image_data) as data:
            rows, digits = data["x"][:20], data["y"][:20]
        for _ in range(600):
            if worker.poll() is not None:
                break
            with contextlib.suppress(httpx.ConnectError):
                answer = httpx.post(url, json={"instances": rows.tolist()}, trust_env=False, timeout=60)
                if answer.status_code != 503:  # else it is still loading
                    break
            time.sleep(0.1)
        assert worker.poll() is None, (tmp_path / "worker.log").read_text()[-2000:]
        assert answer.status_code == 200, answer.text
        predicted = np.argmax(np.asarray(answer.json()["predictions"]), axis=-1)
        assert (predicted == digits).sum() >= 18
    finally:
        # the worker first: nothing ends it when buildah is gone
        if worker.poll() is None:
            for process in reversed(psutil.Process(worker.pid).children(recursive=True)):
                process.terminate()
            worker.terminate()
        worker.wait(60)
