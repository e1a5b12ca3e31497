"""The Job as the process that a pod runs, against a layout directory."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from modelpress.api import contract
from modelpress.api.conditions import Reason
from modelpress.api.contract import JobFailure, JobRequest, JobResult
from modelpress.artifacts import manifest as manifests
from modelpress.artifacts import termination
from modelpress.artifacts.stores.base import open_store
from modelpress.compression import job
from modelpress.compression.report import document as report
from tests.support.models import positions
from tests.support.models.trained import DigitsModels
from tests.support.serving import grpc_client
from tests.support.serving.artifacts import Worker, worker


@dataclass(frozen=True)
class Ended:
    code: int
    message: str
    log: str

    def failure(self) -> JobFailure:
        return JobFailure.model_validate_json(self.message)


class Pod:
    """The folders and the environment of a Job's container."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = f"file://{folder}/store"
        self.message = folder / "termination-log"
        self.variables: dict[str, str] = {}  # more of them

    def start(self, request: dict[str, Any] | str) -> subprocess.Popen[str]:
        text = request if isinstance(request, str) else json.dumps(request)
        self.message.write_text("")
        environment = {
            # without what keeps TensorFlow quiet in the tests
            **{name: value for name, value in os.environ.items() if not name.startswith("TF_")},
            contract.REQUEST: text,
            contract.STORE: self.store,
            contract.WORK_DIR: str(self.folder / "work"),
            contract.TERMINATION_MESSAGE: str(self.message),
            contract.LOG_FORMAT: "json",
            **self.variables,
        }
        command = [sys.executable, "-m", "modelpress.compression.job"]
        return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)

    def run(self, request: dict[str, Any] | str) -> Ended:
        process = self.start(request)
        _, log = process.communicate(timeout=800)
        return Ended(process.returncode, self.message.read_text(), log)


def plain(log: str) -> list[str]:
    """Return the lines of a log that are no JSON."""
    return [line for line in log.splitlines() if not line.startswith("{")]


@pytest.fixture
def pod(tmp_path: Path) -> Pod:
    return Pod(tmp_path)


def request(path: Path, data: Path | None = None, **fields: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "name": "digits",
        "namespace": "default",
        "recipeHash": "1" * 64,
        "deviceType": "CPU",
        "model": {"uri": path.as_uri()},
        "compression": {"pruning": {"sparsity": "50%"}, "quantization": {"scheme": "Int8Dynamic"}},
        "optimization": {"weightClipping": {"min": "-1", "max": "1"}},
    }
    if data:
        base |= {"data": {"evaluation": {"uri": data.as_uri()}}, "evaluation": {"minScore": "100%"}}
    return {**base, **fields}


def test_the_second_run_finds_the_artifact_of_the_first_unless_it_is_damaged(
    pod: Pod, digits_models: DigitsModels
) -> None:
    asked = request(digits_models.saved_model, digits_models.flat_data)
    first = pod.run(asked)
    assert first.code == 0, first.log
    made = JobResult.model_validate_json(first.message)
    assert not made.reused
    assert made.original_bytes == 26_280
    assert made.scores is not None
    assert made.scores.original > 95
    assert len(first.message.encode()) <= contract.TERMINATION_MESSAGE_LIMIT

    lines = [json.loads(line) for line in first.log.splitlines() if line.startswith("{")]
    steps = {line["progress"]["step"] for line in lines if "progress" in line}
    assert {"compress", "evaluate the original", "evaluate the result"} <= steps
    others = plain(first.log)
    assert all("XNNPACK" in line for line in others), others

    second = pod.run({**asked, "recipeHash": "2" * 64})
    assert second.code == 0, second.log
    found = JobResult.model_validate_json(second.message)
    assert found == made.model_copy(update={"reused": True, "recipe_hash": "2" * 64})
    assert "evaluate" not in second.log

    open_store(pod.store).pull(made.artifact_digest, pod.folder / "pulled")
    assert manifests.load_verified(pod.folder / "pulled").artifact_key == made.artifact_key

    blobs = sorted(
        (pod.folder / "store" / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size
    )
    damaged = bytearray(blobs[-1].read_bytes())
    damaged[-20] ^= 1
    blobs[-1].write_bytes(damaged)
    third = pod.run(asked)
    assert third.code == 0, third.log
    assert "ArtifactCorrupt" in third.log
    again = JobResult.model_validate_json(third.message)
    assert (again.reused, again.artifact_key) == (False, made.artifact_key)
    open_store(pod.store).pull(again.artifact_digest, pod.folder / "pulled again")


def test_a_job_for_gpus_is_as_quiet(pod: Pod, digits_models: DigitsModels) -> None:
    scheme = {"quantization": {"scheme": "Int8Weights"}}
    asked = request(digits_models.saved_model, deviceType="GPU", compression=scheme)
    ended = pod.run(asked)
    assert ended.code == 0, ended.log
    assert plain(ended.log) == []


def test_a_subclassed_keras_file_is_final_and_says_how_to_export(
    pod: Pod, digits_models: DigitsModels
) -> None:
    ended = pod.run(request(digits_models.subclassed))
    assert ended.code == 65
    assert ended.failure().reason == "UnsupportedModel"
    assert 'model.export("model_dir")' in ended.failure().message


@pytest.fixture(scope="module")
def nested(digits_models: DigitsModels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained residual network with a nested model, beside its training.npz, with labels."""
    import keras
    from keras import layers as kl

    folder, digits = tmp_path_factory.mktemp("nested"), digits_models.digits
    rows = digits.train_x.reshape(-1, 8, 8, 1)
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 1), name="image")
    stem = kl.Conv2D(24, 3, padding="same", activation="relu", name="stem")(image)
    # between kernel and normalization, the activation keeps the converter from merging both into one tensor
    convolution = kl.Conv2D(24, 3, padding="same", activation="relu", name="inner")
    block = keras.Sequential([convolution, kl.BatchNormalization(momentum=0.9)], name="block")
    x = kl.Flatten()(kl.MaxPooling2D(2)(kl.ReLU()(kl.Add()([block(stem), stem]))))
    model = keras.Model(image, kl.Dense(10, activation="softmax", name="digit")(x))
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy")
    model.fit(rows, digits.train_y, epochs=6, batch_size=32, verbose=0)
    model.save(folder / "nested.keras")
    np.savez_compressed(folder / "training.npz", x=rows, y=digits.train_y)
    return folder / "nested.keras"


def test_channels_are_removed_trained_calibrated_and_the_result_serves(
    pod: Pod, nested: Path, digits_models: DigitsModels
) -> None:
    training = {"uri": (nested.parent / "training.npz").as_uri()}
    asked = request(
        nested,
        digits_models.image_data,
        compression={
            "pruning": {"sparsity": "33%", "granularity": "Channel"},
            "quantization": {"scheme": "Int8Static"},
        },
        optimization={"fineTuning": {"epochs": 3, "learningRate": "0.001"}},
    )
    asked["data"] |= {"training": training, "calibration": training}
    ended = pod.run(asked)
    assert ended.code == 0, ended.log
    made = JobResult.model_validate_json(ended.message)
    assert made.scores is not None
    assert made.scores.compressed > made.scores.original - 3
    folder = pod.folder / "pulled"
    open_store(pod.store).pull(made.artifact_digest, folder)
    told = report.load(folder)
    assert [step.name for step in told.passes] == ["pruning", "fineTuning", "quantization"]
    channels = {tensor.name: tensor.facts for tensor in told.passes[0].tensors}
    kernels = [facts for name, facts in channels.items() if name.endswith("kernel") and "digit" not in name]
    assert [(facts["outputChannelsBefore"], facts["outputChannelsAfter"]) for facts in kernels] == [
        (24, 16)
    ] * 2
    assert told.passes[1].training is not None
    assert told.passes[1].training.losses["digit"].count("0.5 x") == 2
    assert "512 of the 1,257 rows of data.calibration" in (told.passes[2].note or "")
    # the tensors of the nested model keep their names, by which layers and histograms are found
    assert all(item.after is not None for item in told.histograms)
    sizes = {layer.name: (layer.before, layer.after) for layer in told.layers}
    [inner] = [name for name in sizes if name.endswith("inner")]
    assert 0 < sizes[inner][1] < sizes[inner][0] / 4
    with worker(folder, pod.folder) as running:
        rows = digits_models.digits.test_x[:8].reshape(-1, 8, 8, 1)
        answer = running.predict({"instances": rows.tolist()}).json()["predictions"]
    assert (np.argmax(answer, axis=1) == digits_models.digits.test_y[:8]).sum() >= 7


def test_inputs_are_as_long_as_the_job_found_and_longer_ones_disturb_nobody(pod: Pod) -> None:
    saved = positions.save(pod.folder / "saved")
    ended = pod.run(request(saved, optimization=None, compression=None))
    assert ended.code == 0, ended.log
    assert all("XNNPACK" in line for line in plain(ended.log))
    folder, most = pod.folder / "pulled", positions.POSITIONS
    open_store(pod.store).pull(JobResult.model_validate_json(ended.message).artifact_digest, folder)
    told = report.load(folder).input_sizes
    assert told == manifests.load(folder).input_sizes
    assert told is not None
    assert told.known == ((16,),)  # there was no data
    assert told.memory[-1].shapes == ((most,),)
    with worker(folder, pod.folder) as running:
        assert lengths(running, most) == ["200 OK", "200 OK"]
        refused = f"'tokens': dimension 1 of shape [1,{most + 1}] is {most + 1}; at most {most} is accepted"
        assert lengths(running, most + 1) == [f"400 {refused}", f"INVALID_ARGUMENT {refused}"]
        [tokens] = running.client.get("/v2/models/digits").json()["inputs"]
        assert tokens["max_shape"] == [-1, most]
        assert lengths(running, 16) == ["200 OK", "200 OK"]
    with worker(folder, pod.folder, max_input_length=20) as running:
        assert lengths(running, 20) == ["200 OK", "200 OK"]
        assert all("is 21; at most 20 is accepted" in answer for answer in lengths(running, 21))


def lengths(running: Worker, length: int) -> list[str]:
    """Return the code, and OK or the error, for tokens of this length: over HTTP and gRPC."""
    tokens = np.zeros((1, length), "int32")
    client = grpc_client.Client(running.grpc)
    try:
        message = grpc_client.request(tokens, "tokens")
        message.inputs[0].datatype = "INT32"
        client("ModelInfer", message)
        over_grpc = "200 OK"
    except grpc.RpcError as error:
        over_grpc = f"{error.code().name} {error.details()}"
    finally:
        client.channel.close()
    answer = running.predict({"instances": tokens.tolist()})
    over_http = f"{answer.status_code} {answer.json().get('error', 'OK')}"
    return [said.replace("inputs[0] ", "").replace("instances ", "") for said in (over_http, over_grpc)]


def test_training_and_calibration_data_are_pinned_and_part_of_the_key(
    pod: Pod, digits_models: DigitsModels
) -> None:
    keys = []
    for count in (200, 300):
        path = pod.folder / "training.npz"
        np.savez(path, x=digits_models.digits.train_x[:count], y=digits_models.digits.train_y[:count])
        source = {"uri": path.as_uri(), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        asked = request(
            digits_models.saved_model,
            compression={"pruning": {"l0Penalty": "0.01"}, "quantization": {"scheme": "Int8Static"}},
            optimization={"fineTuning": {"epochs": 1}},
        )
        asked["data"] = {"training": source, "calibration": source}
        ended = pod.run(asked)
        assert ended.code == 0, ended.log
        keys.append(JobResult.model_validate_json(ended.message).artifact_key)
    assert keys[0] != keys[1]
    wrong = {"training": {**source, "sha256": "0" * 64}, "calibration": source}
    ended = pod.run({**asked, "data": wrong})
    assert ended.code == 65
    assert ended.failure().reason == "DigestMismatch"
    assert "spec.data.training" in ended.failure().message


def test_channels_of_a_saved_model_are_refused_before_anything_is_measured(
    pod: Pod, digits_models: DigitsModels
) -> None:
    pruning = {"pruning": {"sparsity": "50%", "granularity": "Channel"}}
    asked = request(digits_models.saved_model, digits_models.flat_data, compression=pruning)
    ended = pod.run(asked)
    assert ended.code == 65
    assert ended.failure().reason == "UnsupportedModel"
    assert "granularity: Channel needs layers" in ended.failure().message
    assert "evaluate" not in ended.log


def test_a_missing_model_is_final(pod: Pod) -> None:
    ended = pod.run(request(pod.folder / "none.keras"))
    assert ended.code == 66
    assert ended.failure().reason == "SourceNotFound"


def test_a_wrong_pin_is_final(pod: Pod, digits_models: DigitsModels) -> None:
    pinned = {"uri": digits_models.functional.as_uri(), "sha256": "0" * 64}
    ended = pod.run(request(digits_models.functional, model=pinned))
    assert ended.code == 65
    assert ended.failure().reason == "DigestMismatch"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"name": "x"}'])
def test_a_request_that_is_none_is_final(pod: Pod, text: str) -> None:
    ended = pod.run(text)
    assert ended.code == 64
    assert ended.failure().reason == "InvalidSpec"


def test_what_cannot_work_is_refused_before_any_download(pod: Pod) -> None:
    ended = pod.run(request(pod.folder / "none.keras", compression={"quantization": {"scheme": "BFloat16"}}))
    assert ended.code == 64
    assert ended.failure().reason == "InvalidSpec"


def test_sigterm_ends_the_job_at_once(pod: Pod, digits_models: DigitsModels) -> None:
    process = pod.start(request(digits_models.cnn, digits_models.image_data, optimization=None))
    assert process.stderr is not None
    for line in process.stderr:
        if '"compress"' in line:
            break
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=600) == 143
    assert not list((pod.folder / "store").rglob("*")), "it did not finish its work first"
    process.stderr.close()


@pytest.mark.parametrize(
    ("error", "reason"),
    [(MemoryError("x"), "OutOfMemory"), (ZeroDivisionError("internal text"), "JobFailed")],
)
def test_errors_of_our_own_show_no_internals(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception, reason: str
) -> None:
    """The error is planted: the real ones are bugs, or need a machine without memory."""

    def fail(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(job, "run", fail)
    asked = JobRequest.model_validate(request(tmp_path / "m.keras"))
    monkeypatch.setenv(contract.REQUEST, asked.model_dump_json(by_alias=True))
    monkeypatch.setenv(contract.STORE, f"file://{tmp_path}/store")
    monkeypatch.setenv(contract.WORK_DIR, str(tmp_path))
    told = tmp_path / "termination-log"
    monkeypatch.setenv(contract.TERMINATION_MESSAGE, str(told))
    assert termination.run_reporting(job.run_environment, unexpected=Reason.JOB_FAILED) == 70
    failure = JobFailure.model_validate_json(told.read_text())
    assert failure.reason == reason
    assert "internal text" not in failure.message
