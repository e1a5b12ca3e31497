"""The GPU executor on logical devices of the CPU, each test in a process of its own: TensorFlow's devices are
chosen once in a process.
"""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest

from modelpress.serving.grpc import messages as pb
from tests.support.models import cache as model_cache
from tests.support.serving.artifacts import free_port, wait_ready

PROJECT = Path(__file__).resolve().parents[3]
SIZES = [1, 2, 4, 8, 16, 32, 64, 65]
# largest difference of an output, relative to the largest output, at least to 1; see docs/serving.md
TOLERANCE = {"float32": 1e-5, "int8": 2e-3, "int4": 2e-3, "float16": 2e-3, "bfloat16": 2e-2}


MODELS = ("mlp", "cnn", "attention", "text", "two")
SCHEMES = ("float32", "int8", "int4", "float16", "bfloat16")
WHOLE = [
    *(("mlp", scheme) for scheme in SCHEMES),
    *((name, "int8") for name in MODELS[1:]),
    ("attention", "int4"),
    ("masked", "int8"),
    ("graph", "int8"),
]
UNCOMPILED = [("strings", "float32", 1), ("free", "int8", 1), ("free", "int8", 3)]
Layout = tuple[int, int, int]  # data, pipeline, tensor
ONE, COPIES, STAGES, BOTH, SHARDS = (1, 1, 1), (2, 1, 1), (1, 3, 1), (2, 3, 1), (1, 1, 2)
GRID = (1, 2, 2)
PRODUCT = [(f"{name}-int8", layout) for name in MODELS for layout in (COPIES, STAGES, SHARDS, GRID)]
MEASURED = [(f"{name}-int8", SHARDS) for name in ("mlp", "cnn", "attention")]  # in bytes
CASES: list[tuple[str, Layout]] = [
    *((f"{name}-{scheme}", ONE) for name, scheme in WHOLE),
    *dict.fromkeys([*MEASURED, *PRODUCT]),
    *((f"{name}-{scheme}", (1, stages, 1)) for name, scheme, stages in UNCOMPILED),
    ("cnn-float32", BOTH),
    ("two-int8", BOTH),
    ("attention-int4", STAGES),
    ("mlp-int4", SHARDS),
    ("normalized-float32", SHARDS),
    ("attention-float32", (2, 1, 2)),
    ("mlp-int4", GRID),
    ("cnn-float32", (1, 3, 2)),
    ("nested-int8", STAGES),
    ("masked-int8", (1, 2, 1)),
    *(
        (f"{name}-float32", layout)
        for name in ("transformer", "attended")
        for layout in ((1, 6, 1), (1, 3, 2), SHARDS)  # six stages: all the devices
    ),
    *(
        REFUSED := [
            ("masked-int8", (1, 6, 1)),
            ("graph-int8", (1, 2, 1)),
            ("graph-int8", SHARDS),
            ("masked-int8", SHARDS),
            ("recurrent-int8", (1, 3, 2)),
            ("cnn-int8", (1, 1, 5)),
            ("free-int8", SHARDS),
        ]
    ),
    FAILING := ("picky-float32", ONE),
    *(BAD := [("text-float32", (1, 1, 2)), ("text-float32", (1, 3, 2)), ("text-float32", (2, 1, 2))]),
]
SERVED = [case for case in CASES if case not in (*REFUSED, FAILING)]


def tolerance(artifact: str) -> float:
    return TOLERANCE[artifact.rpartition("-")[2]]


@pytest.fixture(scope="session")
def gpu_artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with NAME-SCHEME and NAME-SCHEME.npz, as gpu_models.py writes them."""
    folder = tmp_path_factory.mktemp("gpu")
    model_cache.copy("tests.support.serving.gpu_models", folder)
    return folder


@dataclass(frozen=True)
class Results:
    """What gpu_check.py printed."""

    cases: dict[tuple[str, Layout], dict[str, Any]]
    warnings: list[str]


@pytest.fixture(scope="session")
def results(gpu_artifacts: Path) -> Results:
    """All cases, in two processes: once DTensor was used, TensorFlow compiles some programs twice."""
    meshes = [case for case in CASES if case[1][2] > 1]
    others = [case for case in CASES if case[1][2] == 1]
    found = [check(gpu_artifacts, cases) for cases in (meshes, others)]
    return Results(
        {case: result for one in found for case, result in one.cases.items()},
        [warning for one in found for warning in one.warnings],
    )


def check(folder: Path, cases: list[tuple[str, Layout]]) -> Results:
    """Run gpu_check.py."""
    asked = [
        {
            "artifact": name,
            "data": data,
            "pipeline": pipeline,
            "tensor": tensor,
            "refused": (name, layout) in BAD,
        }
        for name, layout in cases
        for data, pipeline, tensor in [layout]
    ]
    done = subprocess.run(
        [
            sys.executable,
            str(PROJECT / "tests/support/serving/gpu_check.py"),
            str(folder),
            json.dumps(asked),
        ],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=PROJECT,
    )
    *answered, last = [json.loads(line) for line in done.stdout.splitlines()]
    return Results(dict(zip(cases, answered, strict=True)), last["warnings"])


@pytest.mark.parametrize("case", SERVED, ids=str)
def test_every_batch_equals_one_device_and_nothing_is_compiled_for_it(
    results: Results, case: tuple[str, Layout]
) -> None:
    result = results.cases[case]
    assert result["error"] <= tolerance(case[0])
    assert result["traces"][1] == result["compilations"][1] == 0


@pytest.mark.parametrize("case", [case for case in SERVED if case[1] == ONE], ids=str)
def test_each_padded_size_is_compiled_once(results: Results, case: tuple[str, Layout]) -> None:
    result = results.cases[case]
    uncompiled = case[0] in [f"{name}-{scheme}" for name, scheme, _ in UNCOMPILED]
    assert [program["by_size"] for program in result["programs"]] == [not uncompiled]
    if not uncompiled:
        assert result["traces"][0] == result["compilations"][0] == len(SIZES)


def test_integers_stay_small_in_the_memory_of_the_device(results: Results) -> None:
    def size(artifact: str) -> int:
        (program,) = results.cases[artifact, ONE]["programs"]
        found: int = program["bytes"]
        return found

    kernels, last, biases = 64 * 64 + 64 * 32, 32 * 10, 64 + 32 + 10  # the last kernel is too small for int8
    floats = 4 * (last + biases + 64 + 32)  # one step for each output channel
    assert size("mlp-float32") == 4 * (kernels + last + biases)
    assert size("mlp-int8") == kernels + floats
    assert size("mlp-int4") == kernels / 2 + floats
    assert size("graph-int8") == size("mlp-float32")  # the graph of a SavedModel reads floats


@pytest.mark.parametrize("case", [case for case in SERVED if case[1] != ONE], ids=str)
def test_copies_stages_and_shards_are_on_devices_of_their_own(
    results: Results, case: tuple[str, Layout]
) -> None:
    programs = results.cases[case]["programs"]
    data, pipeline, tensor = case[1]
    assert len(programs) == data * pipeline
    used = [device for program in programs for device in program["devices"]]
    assert len(used) == len(set(used)) <= data * pipeline * tensor
    copies = [
        sum(program["bytes"] for program in programs[start : start + pipeline])
        for start in range(0, len(programs), pipeline)
    ]
    assert len(set(copies)) == 1
    if (case[0], ONE) in results.cases and tensor == 1:  # stages share the variables, none holds all
        assert copies[0] == results.cases[case[0], ONE]["programs"][0]["bytes"]


def test_a_device_of_a_mesh_holds_its_part_of_the_weights(results: Results) -> None:
    def size(artifact: str, layout: Layout) -> int:
        found: int = results.cases[artifact, layout]["programs"][0]["bytes"]
        return found

    assert size("mlp-int8", SHARDS) == size("mlp-int8", ONE) / 2
    assert size("mlp-int4", SHARDS) == size("mlp-int8", SHARDS)  # an int4 takes a byte there
    assert size("attention-int8", SHARDS) < 0.55 * size("attention-int8", ONE)  # normalization is whole
    assert size("cnn-int8", SHARDS) > 0.9 * size("cnn-int8", ONE)  # convolutions are whole


@pytest.mark.parametrize("case", BAD, ids=str)
def test_a_batch_that_a_mesh_refuses_disturbs_no_other(results: Results, case: tuple[str, Layout]) -> None:
    refusals = results.cases[case]["refusals"]
    assert len(refusals) == 19
    assert {text.strip() for text in refusals} == {"indices[1,0] = 999 is not in [0, 100)"}


def test_the_operator_that_xla_does_not_know_is_named(results: Results) -> None:
    assert "XLA cannot compile UniqueWithCounts: the model runs as a graph, without XLA." in results.warnings


def test_what_cannot_be_cut_or_split_is_refused(results: Results) -> None:
    refusals = {case: results.cases[case] for case in REFUSED}
    assert {refusal["reason"] for refusal in refusals.values()} == {"UnsupportedModel"}
    messages = {case: refusal["message"] for case, refusal in refusals.items()}
    few = messages["masked-int8", (1, 6, 1)]
    assert few.endswith("the model has 3 parts that can be cut: at most 3 stages")
    assert messages["graph-int8", (1, 2, 1)] == messages["graph-int8", SHARDS]
    assert messages["graph-int8", SHARDS].endswith("this one is a SavedModel")
    for case in (("masked-int8", SHARDS), ("recurrent-int8", (1, 3, 2))):
        assert re.search(r"layer lstm\w* \(LSTM\) cannot be computed on several devices", messages[case])
    whole = messages["cnn-int8", (1, 1, 5)]
    assert "no layer can be split over 5 devices" in whole
    assert whole.endswith("the largest layer is conv2d_1 (Conv2D)")
    free = messages["free-int8", SHARDS]
    assert free.startswith("parallelism.tensor needs inputs of fixed sizes beside the batch; ")
    assert free.endswith(" has shape [-1, -1, 6]")


def test_a_model_that_fails_on_zeros_is_said_in_one_line(results: Results) -> None:
    failure = results.cases[FAILING]
    assert failure["reason"] == "ModelLoadFailed"
    assert failure["message"] == "the model fails on zeros: assertion failed: [rows are zeros]"


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            "Graph execution error:\n\nDetected at node Gather defined at (most recent call last):\n"
            '  File "<stdin>", line 6, in <module>\n\nindices[0,1] = 99 is not in [0, 10)\n'
            "\t [[{{node Gather}}]] [Op:__inference_on_device_29]",
            "indices[0,1] = 99 is not in [0, 10)",
        ),
        (
            "Graph execution error:\n\n2 root error(s) found.\n"
            "  (0) INVALID_ARGUMENT: assertion failed: [x]\n\t [[{{node Assert}}]]\n"
            "  (1) INVALID_ARGUMENT: assertion failed: [y]\n\t [[{{node Assert_1}}]]\n"
            "0 successful operations.\n0 derived errors ignored. [Op:__inference_f_65]",
            "assertion failed: [x]",
        ),
        (
            "{{function_node __wrapped__GatherV2_device_/CPU:0}} indices[0] = 9 is not in [0, 3) "
            "[Op:GatherV2] name: ",
            "indices[0] = 9 is not in [0, 3)",
        ),
        ("", "InvalidArgumentError"),
    ],
)
def test_what_a_message_of_tensorflow_says_is_wrong(message: str, expected: str) -> None:
    import tensorflow as tf

    from modelpress.serving.executors.tensorflow.program import why

    assert why(tf.errors.InvalidArgumentError(None, None, message)) == expected


def serve(artifact: Path, folder: Path, port: int, **variables: str) -> subprocess.Popen[bytes]:
    environment = {key: value for key, value in os.environ.items() if key != "MODELPRESS_LOGICAL_DEVICES"}
    places = {"MODELPRESS_TERMINATION_MESSAGE": str(folder / "termination"), "CUDA_VISIBLE_DEVICES": "-1"}
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "modelpress", "serve", str(artifact), f"--port={port}", "--name=digits"],
            env={**environment, **places, **variables},
            stderr=log,
            cwd=PROJECT,
        )


def test_without_a_gpu_the_worker_says_so_and_ends(gpu_artifacts: Path, tmp_path: Path) -> None:
    process = serve(gpu_artifacts / "mlp-int8", tmp_path, free_port())
    assert process.wait(120) == 65
    told = json.loads((tmp_path / "termination").read_text())
    assert told["reason"] == "ModelLoadFailed"
    assert told["message"].startswith("no GPU is visible to this worker; MODELPRESS_LOGICAL_DEVICES=1")


def predict(address: str, array: Any) -> Any:
    """Return the values of the only output, by PredictionService."""
    with grpc.insecure_channel(address) as channel:
        asked = pb.ModelMetadataRequest(name="digits").SerializeToString()
        answer = channel.unary_unary("/inference.GRPCInferenceService/ModelMetadata")(asked, timeout=30)
        (described,) = pb.ModelMetadataResponse.FromString(answer).inputs
        request = pb.PredictRequest()
        request.model_spec.name = "digits"
        tensor = request.inputs[described.name]
        tensor.dtype, tensor.tensor_content = 1, array.astype("float32").tobytes()
        for size in array.shape:
            tensor.tensor_shape.dim.add(size=size)
        call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        outputs = pb.PredictResponse.FromString(call(request.SerializeToString(), timeout=30)).outputs
    (output,) = outputs.values()
    return list(output.float_val)


def test_a_worker_rehearses_on_its_cpu_with_a_warning(gpu_artifacts: Path, tmp_path: Path) -> None:
    port, grpc_port = free_port(), free_port()
    variables = {
        "MODELPRESS_LOGICAL_DEVICES": "1",
        "MODELPRESS_WORKER_CONFIG": '{"parallelism":{"data":2},"serving":{"maxBatchSize":2}}',
        "MODELPRESS_GRPC_PORT": str(grpc_port),
    }
    process = serve(gpu_artifacts / "mlp-int8", tmp_path, port, **variables)
    try:
        with (
            httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client,
            np.load(gpu_artifacts / "mlp-int8.npz") as arrays,
        ):
            wait_ready(client, process, tmp_path / "log")
            body = {"instances": arrays["input_0"][:11].tolist()}
            answer = client.post("/v1/models/digits:predict", json=body)
            assert answer.status_code == 200, answer.text
            np.testing.assert_allclose(
                answer.json()["predictions"], arrays["output_0"][:11], atol=TOLERANCE["int8"]
            )
            # messages of the same names as those that TensorFlow registers in the worker's process
            predicted = predict(f"127.0.0.1:{grpc_port}", arrays["input_0"][:11])
            np.testing.assert_allclose(
                predicted, np.array(answer.json()["predictions"]).ravel(), rtol=1e-6, atol=1e-6
            )
    finally:
        process.terminate()
        process.wait(30)
    assert "2 logical devices of the CPU stand in for GPUs" in (tmp_path / "log").read_text()
