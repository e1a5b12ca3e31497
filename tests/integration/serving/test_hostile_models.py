"""Models with broken operators are refused, and do not end the worker: artifacts may be anybody's."""

import os
import shutil
import signal
from pathlib import Path

import pytest
from ai_edge_litert import schema_py_generated as schema

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError
from modelpress.artifacts import allowed_operators, manifest
from modelpress.artifacts.digests import file_sha256
from modelpress.serving.executors.litert import LiteRTExecutor
from modelpress.serving.loading import load
from tests.support.hostile.tflite import MODELS, HostileModel, packed
from tests.support.serving.artifacts import failure, start


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_a_broken_operator_is_refused_by_name(model: HostileModel, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        load(model.write(tmp_path / "artifact"))
    assert caught.value.reason is Reason.MODEL_LOAD_FAILED
    assert model.words in caught.value.message


def test_the_worker_ends_with_one_line_and_not_by_a_signal(tmp_path: Path) -> None:
    process, _, termination, log = start(MODELS[0].write(tmp_path / "artifact"), tmp_path)
    told = failure(process, termination, 65)
    assert told.reason is Reason.MODEL_LOAD_FAILED
    assert told.message == "model.tflite ends the process that loads or calls it: SIGSEGV"
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize("name", ["skip-int8", "two-float32", "dilated-static", "products-float16"])
def test_a_model_without_the_settings_of_one_operator_ends_nothing(
    artifacts: Path, tmp_path: Path, name: str
) -> None:
    path = artifacts / name / "model.tflite"
    count = len(_model(path).subgraphs[0].operators)
    refused = 0
    for index in range(count):
        model = _model(path)
        operator = model.subgraphs[0].operators[index]
        if operator.builtinOptions is None:
            continue
        operator.builtinOptions, operator.builtinOptionsType = None, 0
        try:
            load(_with_model(artifacts / name, tmp_path / str(index), packed(model)))
        except DataError as error:
            refused += "without its settings" in error.message
    assert refused > 0


def _model(path: Path) -> schema.ModelT:
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes(), 0))


def _with_model(artifact: Path, folder: Path, content: bytes) -> Path:
    shutil.copytree(artifact, folder)
    (folder / "model.tflite").write_bytes(content)
    found = manifest.load(folder)
    files = {**found.files, "model.tflite": file_sha256(folder / "model.tflite")}
    manifest.save(found.model_copy(update={"files": files}), folder)
    return folder


def test_the_list_of_operators_says_what_the_schema_says() -> None:
    codes = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    tables = {code: name for name, code in vars(schema.BuiltinOptions).items() if not name.startswith("_")}
    for code, (name, table) in allowed_operators.ACCEPTED.items():
        assert codes[code] == name
        if table is not None:  # a table without fields has nothing to be read
            assert vars(getattr(schema, f"{tables[table]}T")()), name
    state = {"CUSTOM", "CALL_ONCE", "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "HASHTABLE"}
    assert state.isdisjoint(name for name, _ in allowed_operators.ACCEPTED.values())


def test_a_trial_that_the_kernel_kills_is_out_of_memory(
    artifacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(_self: object, _inputs: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(LiteRTExecutor, "run", killed)  # in the child, where the kernel would do it
    with pytest.raises(DataError) as caught:
        load(artifacts / "seed-int8")
    assert caught.value.reason is Reason.OUT_OF_MEMORY
