"""What the converter's messages say, and what happens when its process ends."""

import os
import signal
from pathlib import Path

import pytest

from modelpress.api.errors import DataError
from modelpress.compression.formats.litert.conversion_server import operations
from modelpress.compression.formats.litert.converter import Converter
from modelpress.models.types import ExportedModel


def test_operations_are_read_from_the_converters_messages() -> None:
    flex = "Some ops are not supported by the runtime\nFlex ops: Erfinv, TensorListStack\nDetails:\n"
    assert operations(flex) == ["Erfinv", "TensorListStack"]
    assert operations("<x>:1:1: error: 'tf.TensorListReserve' op requires element_shape") == [
        "TensorListReserve"
    ]
    place = 'loc(callsite(fused["TensorListReserve:", "lstm/a@__inference_f"] at fused["Call:", "c"]))'
    illegal = "'tf.TensorListReserve' op requires element_shape to be static"
    assert operations(f"<unknown>:0: error: {place}: {illegal}\n") == ["TensorListReserve"]
    assert operations("something else") == []


def test_a_killed_process_is_out_of_memory_and_the_next_request_starts_another(tmp_path: Path) -> None:
    model = ExportedModel(tmp_path / "nothing", ("x",), ("y",))
    with Converter(tmp_path) as converter:
        process = converter._process  # the process of this test, ended as the kernel ends one without memory
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(MemoryError):
            converter.convert(model, None, tmp_path / "out.tflite")
        with pytest.raises(DataError, match="cannot be converted"):  # it says why
            converter.convert(model, None, tmp_path / "out.tflite")
