"""`modelpress run` and `compress` as programs, on a model that was trained on real images."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.models.trained import DigitsModels

MANIFEST = """
apiVersion: modelpress.dev/v1alpha1
kind: ModelDeployment
metadata: {{name: digits}}
spec:
  model: {{uri: functional.keras}}
  data: {{evaluation: {{uri: {data}}}}}
  compression: {{quantization: {{scheme: Int8Dynamic}}}}
  evaluation: {{minScore: {score}, maxDrop: 1%}}
  devices: {{type: CPU}}
"""


class Run:
    """`modelpress run` in the background; its standard error goes to a file."""

    def __init__(self, manifest: Path, state: Path, *arguments: str) -> None:
        self.errors = manifest.with_suffix(".err")
        command = [sys.executable, "-m", "modelpress", "run", "-f", str(manifest), "--state", str(state)]
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                [*command, *arguments], stdout=subprocess.PIPE, stderr=errors, text=True
            )
        self.printed: list[str] = []

    def url(self) -> str:
        assert self.process.stdout
        for line in self.process.stdout:
            self.printed.append(line)
            match = re.search(r"is ready: (http://\S+)", line)
            if match:
                return match[1]
        raise AssertionError(f"not ready: {self.errors.read_text()}")

    def finish(self) -> int:
        assert self.process.stdout
        self.printed.extend(self.process.stdout)
        return self.process.wait(60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, digits_models: DigitsModels) -> Path:
    """A folder with manifests beside links to the model and the data; the state is shared by the tests."""
    made = tmp_path_factory.mktemp("run")
    (made / "functional.keras").symlink_to(digits_models.functional)
    (made / "flat.npz").symlink_to(digits_models.flat_data)
    (made / "good.yaml").write_text(MANIFEST.format(data="flat.npz", score="90%"))
    (made / "strict.yaml").write_text(MANIFEST.format(data="flat.npz", score="100%"))
    (made / "missing.yaml").write_text(MANIFEST.format(data="none.npz", score="90%"))
    return made


@pytest.fixture
def started() -> Iterator[list[Run]]:
    runs: list[Run] = []
    yield runs
    for run in runs:
        run.process.kill()
        run.process.wait()


def test_from_manifest_to_prediction_and_nothing_left(
    folder: Path, digits_models: DigitsModels, started: list[Run]
) -> None:
    state = folder / "state"
    run = Run(folder / "good.yaml", state)
    started.append(run)
    url = run.url()
    family = psutil.Process(run.process.pid).children(recursive=True)
    images, labels = digits_models.digits.test_x, digits_models.digits.test_y
    tensor = httpx.get(f"{url}/v2/models/digits").json()["inputs"][0]["name"]
    right = 0
    for start in range(0, len(images), 50):
        rows = images[start : start + 50]
        inputs = [{"name": tensor, "shape": rows.shape, "datatype": "FP32", "data": rows.ravel().tolist()}]
        answer = httpx.post(f"{url}/v2/models/digits/infer", json={"inputs": inputs}).json()["outputs"][0]
        for row, label in enumerate(labels[start : start + 50]):
            scores = answer["data"][row * 10 : row * 10 + 10]
            right += scores.index(max(scores)) == label
    run.process.send_signal(signal.SIGTERM)
    assert run.finish() == 0
    shown = re.search(r"Accuracy\s+\S+ -> (\S+)%", "".join(run.printed))
    assert shown
    assert float(shown[1]) == pytest.approx(100 * right / len(images), abs=1e-5)
    assert len(family) >= 2  # the janitor and the worker
    _, alive = psutil.wait_procs(family, timeout=30)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]
    assert not list((state / "runs").glob("digits"))

    again = Run(folder / "good.yaml", state)
    started.append(again)
    assert again.url()
    again.process.send_signal(signal.SIGINT)
    assert again.finish() == 0
    assert "reused the artifact of an earlier run" in again.errors.read_text()


def test_a_gate_that_cannot_be_met_ends_with_reason_and_report(folder: Path, started: list[Run]) -> None:
    run = Run(folder / "strict.yaml", folder / "state")
    started.append(run)
    assert run.finish() == 65
    last = run.errors.read_text().splitlines()[-1]
    assert re.fullmatch(r"error: EvaluationFailed: minScore: Accuracy is [0-9.]+%, below 100%", last)
    assert "Scores on" in "".join(run.printed)


def test_a_job_that_fails_ends_with_its_reason(folder: Path, started: list[Run]) -> None:
    run = Run(folder / "missing.yaml", folder / "state")
    started.append(run)
    assert run.finish() == 66
    errors = run.errors.read_text().splitlines()
    assert errors[-1].startswith("error: SourceNotFound: spec.data.evaluation:")
    logs = next(line for line in errors if line.startswith("logs are in "))
    assert list(Path(logs.removeprefix("logs are in ")).glob("*/job.log"))


def test_a_signal_while_it_compresses_ends_everything(
    folder: Path, started: list[Run], tmp_path: Path
) -> None:
    run = Run(folder / "good.yaml", tmp_path / "state")
    started.append(run)
    parent = psutil.Process(run.process.pid)
    while not any("job" in process.cmdline() for process in parent.children()):
        assert run.process.poll() is None
        time.sleep(0.05)
    family = parent.children(recursive=True)
    run.process.send_signal(signal.SIGTERM)
    assert run.finish() == 128 + signal.SIGTERM
    _, alive = psutil.wait_procs(family, timeout=30)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


def test_the_same_resource_cannot_run_twice(folder: Path, started: list[Run], tmp_path: Path) -> None:
    first = Run(folder / "good.yaml", tmp_path / "state")
    started.append(first)
    while not (tmp_path / "state" / "runs" / "digits").exists():
        time.sleep(0.05)
    second = subprocess.run(first.process.args, check=False, capture_output=True, text=True, timeout=60)
    assert second.returncode == 64
    assert second.stderr == f"error: digits already runs with the state folder {tmp_path / 'state'}\n"
    first.process.send_signal(signal.SIGTERM)
    first.finish()


def test_a_taken_port_is_said_before_anything_runs(folder: Path, tmp_path: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        run = Run(folder / "good.yaml", tmp_path / "state", "--port", port)
        assert run.finish() == 64
    assert run.errors.read_text() == f"error: --port {port}: Address already in use\n"


def test_compress_writes_a_layout_that_report_and_serve_read(folder: Path, tmp_path: Path) -> None:
    def modelpress(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "modelpress", *arguments]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=800)

    out = tmp_path / "out"
    done = modelpress("compress", "-f", str(folder / "good.yaml"), "-o", str(out))
    assert done.returncode == 0, done.stderr
    assert (out / "index.json").exists()
    assert re.search(r"artifact sha256:[0-9a-f]{64} is in ", done.stdout)
    shown = modelpress("report", str(out))
    assert shown.returncode == 0
    assert "Int8Dynamic" in shown.stdout
    as_json = modelpress("report", str(out), "--json")
    assert '"schemaVersion": 1' in as_json.stdout
    strict = modelpress("compress", "-f", str(folder / "strict.yaml"), "-o", str(out))
    assert strict.returncode == 65
    assert strict.stderr.splitlines()[-1].startswith("error: EvaluationFailed: minScore")

    half = folder / "half.yaml"
    half.write_text((folder / "good.yaml").read_text().replace("Int8Dynamic", "Float16"))
    assert modelpress("compress", "-f", str(half), "-o", str(out)).returncode == 0
    assert "Float16" in modelpress("report", str(out)).stdout
    assert modelpress("compress", "-f", str(folder / "good.yaml"), "-o", str(out)).returncode == 0
    assert "Int8Dynamic" in modelpress("report", str(out)).stdout, "a reused artifact is the newest"

    port = _free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "modelpress", "serve", str(out), "--name", "digits", "--port", port],
        stderr=subprocess.DEVNULL,
    )
    try:
        assert _answers(f"http://127.0.0.1:{port}/v2/models/digits/ready", server)
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0


def _free_port() -> str:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def _answers(url: str, server: "subprocess.Popen[bytes]") -> bool:
    while server.poll() is None:
        try:
            if httpx.get(url).status_code == 200:
                return True
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    return False
