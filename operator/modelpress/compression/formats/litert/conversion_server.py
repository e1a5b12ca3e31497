"""The process that converts: it reads one JSON request a line and answers with one line.

A process of its own, because the converter can crash: measured with recurrent models. It stays for several
conversions, because importing TensorFlow takes longer than most of them: with the argument `tensorflow` it is
there before the first request.

Request: {"model": FOLDER, "inputs": [NAME], "outputs": [NAME], "target": FILE} makes a file in float32. With
"converter": SETTINGS (`schemes.ConverterSettings`) the converter quantizes; "calibration": FILE and "batch":
ROWS (`formats.calibration`) are its data for activations. With "quantizer": {"base": SETTINGS or null,
"exceptions": {SCOPE: SETTINGS}} (`schemes.QuantizerSettings`) the converted model "float32": FILE is
quantized instead, with the same data where the algorithm is GPTQ. Answer: {"error": null}, or {"error": TEXT,
"operations": [NAME]}, with "memory": true where memory ran out.
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from modelpress.compression import json_process
from modelpress.compression.formats.litert import edge_quantizer, tflite_file
from modelpress.compression.schemes import QuantizerSettings

TENSORFLOW = "tensorflow"  # the argument
_OPERATIONS = re.compile(r"^\s*(?:Flex|Custom|Some) ops: (.+)$", re.MULTILINE)
_LOCATION = re.compile(r"<unknown>:0: |loc\(.*\): ")  # where in the graph: long, and of no use to a reader
_OPERATION = re.compile(r"error: '?tf\.(\w+)'? op")


def main() -> None:
    """Answer requests until standard input ends."""
    answers = json_process.begin()
    if TENSORFLOW in sys.argv[1:]:
        import tensorflow  # noqa: F401, PLC0415 - so that the first request does not wait for it
    serve(sys.stdin, answers)


def serve(requests: IO[str], answers: IO[str]) -> None:
    """Answer each line of `requests` with a line of `answers`."""
    for line in requests:
        request = json.loads(line)
        try:
            _convert(request)
            answer: dict[str, Any] = {"error": None}
        except MemoryError:
            answer = {"error": "no memory is left", "operations": [], "memory": True}
        except Exception as error:  # the answer carries every failure to the parent
            answer = {"error": _reason(error), "operations": operations(str(error))}
        json_process.say(answers, answer)


def operations(message: str) -> list[str]:
    """Return the operations that the converter's message says it has no built-in operator for."""
    text = _LOCATION.sub("", message)
    listed = {name.strip() for names in _OPERATIONS.findall(text) for name in names.split(",")}
    return sorted(name for name in listed.union(_OPERATION.findall(text)) if name.isidentifier())


def _convert(request: dict[str, Any]) -> None:
    if quantizer := request.get("quantizer"):
        base = QuantizerSettings(**quantizer["base"]) if quantizer["base"] else None
        exceptions = {scope: QuantizerSettings(**found) for scope, found in quantizer["exceptions"].items()}
        rows = _rows(request) if request.get("calibration") else ()
        float32, target = Path(request["float32"]), Path(request["target"])
        edge_quantizer.quantize(float32, target, base, exceptions, rows)
        return
    import tensorflow as tf  # noqa: PLC0415 - this module is also imported for its protocol

    converter = tf.lite.TFLiteConverter.from_saved_model(request["model"])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if settings := request.get("converter"):
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.as_dtype(name) for name in settings["supported_types"]]
    if request.get("calibration"):
        converter.representative_dataset = lambda: _batches(request)
    Path(request["target"]).write_bytes(converter.convert())
    tflite_file.reorder(Path(request["target"]), request["inputs"], request["outputs"])


def _batches(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a calibration file as the inputs of calls, by name."""
    for call in _rows(request):
        yield dict(zip(request["inputs"], call, strict=True))


def _rows(request: dict[str, Any]) -> Iterator[list[Any]]:
    """Yield the rows of a calibration file as the inputs of calls, in the order of the model's inputs."""
    with np.load(request["calibration"], allow_pickle=False) as file:
        arrays = [file[str(index)] for index in range(len(file.files))]
    for start in range(0, len(arrays[0]), request["batch"]):
        yield [array[start : start + request["batch"]] for array in arrays]


def _reason(error: Exception) -> str:
    text = _LOCATION.sub("", str(error)).strip()
    return text.splitlines()[0][:300] if text else type(error).__name__


if __name__ == "__main__":
    main()
