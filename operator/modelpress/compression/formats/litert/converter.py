"""The client of `conversion_server`: starts it early, restarts it after a crash."""

import logging
import signal
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from modelpress.api.schemes import Scheme
from modelpress.compression import schemes
from modelpress.compression.formats.calibration import Calibration
from modelpress.compression.formats.litert import tflite_file
from modelpress.compression.formats.litert.conversion_server import TENSORFLOW
from modelpress.compression.json_process import JsonProcess
from modelpress.compression.schemes import Algorithm, QuantizerSettings
from modelpress.models.types import ExportedModel, unsupported

_log = logging.getLogger(__name__)
_SERVER = "modelpress.compression.formats.litert.conversion_server"
_CONTROL_FLOW = ("WHILE", "IF", "CALL")  # operators that crashed the converter, measured


@dataclass(frozen=True)
class Material:
    """What some schemes need besides the model: the converted float32 file, and data for calibration.

    `exceptions` are the schemes of single operators (`edge_quantizer.quantize`), `algorithm` that of the
    others.
    """

    float32: Path
    calibration: Calibration | None = None
    exceptions: Mapping[str, Scheme] = field(default_factory=dict)
    algorithm: Algorithm | None = None


class Converter:
    """Converts models to .tflite in another process, which lives as long as this context."""

    def __init__(self, folder: Path, *, whole: bool = True) -> None:
        """`whole`: models are converted, and not .tflite files quantized alone: TensorFlow is needed."""
        self._log_file = folder / "converter.log"
        self._arguments = (TENSORFLOW,) if whole else ()
        self._process: JsonProcess | None = None

    def __enter__(self) -> Self:
        self._start()  # while this process loads the model, that one loads TensorFlow
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process at once."""
        if self._process is not None:
            self._process.close()
            self._process = None

    def convert(
        self,
        model: ExportedModel | None,
        scheme: Scheme | None,
        target: Path,
        material: Material | None = None,
    ) -> None:
        """Write `model` as a .tflite file with a scheme, which needs `material`; None is float32.

        Without `model` the file of `material` is all that there is, and schemes of the quantizer can be had.

        Raises UnsupportedModel, naming the operations without a built-in operator, and MemoryError where the
        process had too little memory, or was killed.
        """
        request: dict[str, Any] = {"target": str(target)}
        if model:
            request |= {"model": str(model.folder), "inputs": model.inputs, "outputs": model.outputs}
        if material:
            settings = _settings(scheme, material, whole=model is not None)
            request |= {"float32": str(material.float32), **settings}
        if material and material.calibration:
            request |= {
                "calibration": str(material.calibration.path),
                "batch": material.calibration.batch,
            }
        name = scheme.value if scheme else "none (float32)"
        answer = self._ask(request, name)
        if answer["error"] is None:
            return
        if answer.get("memory"):
            raise MemoryError(f"the converter: {answer['error']}")
        _log.info("The converter said: %s", answer["error"])
        if names := answer["operations"]:
            raise unsupported(f"LiteRT has no built-in operator for {', '.join(names)}{_hint(names)}")
        raise unsupported(f"the model cannot be converted with scheme {name}: {answer['error']}")

    def _ask(self, request: dict[str, Any], scheme: str) -> dict[str, Any]:
        process = self._process or self._start()
        if (answer := process.ask(request)) is not None:
            return answer
        code = process.wait()
        self._process = None
        _log.error(
            "The converter ended with %d: %s", code, self._log_file.read_text(errors="replace")[-2000:]
        )
        if code == -signal.SIGKILL:
            raise MemoryError("the converter was killed")
        raise unsupported(
            f"the model cannot be converted with scheme {scheme}: the converter crashed"
            f"{_control_flow(request)}"
        )

    def _start(self) -> JsonProcess:
        self._process = JsonProcess(_SERVER, self._log_file, *self._arguments)
        return self._process


def _settings(scheme: Scheme | None, material: Material, *, whole: bool) -> dict[str, Any]:
    """Return which tool is asked for, and its settings; `whole`: the converter has the model itself."""
    exceptions = material.exceptions
    if whole and not exceptions and scheme and (converter := schemes.litert(scheme).converter):
        return {"converter": asdict(converter)}
    return {
        "quantizer": {
            "base": asdict(_quantizer(scheme, material.algorithm)) if scheme else None,
            "exceptions": {scope: asdict(_quantizer(other)) for scope, other in exceptions.items()},
        }
    }


def _quantizer(scheme: Scheme, algorithm: Algorithm | None = None) -> QuantizerSettings:
    if (settings := schemes.litert(scheme).quantizer) is None:
        known = ", ".join(item.value for item in Scheme if _has_quantizer(item))
        raise unsupported(f"operators of a .tflite file cannot have scheme {scheme.value}, but {known}")
    return replace(settings, algorithm=algorithm) if algorithm else settings


def _has_quantizer(scheme: Scheme) -> bool:
    litert = schemes.SCHEMES[scheme].litert if scheme in schemes.SCHEMES else None
    return litert is not None and litert.quantizer is not None


def _control_flow(request: Mapping[str, Any]) -> str:
    """Return the usual cause of a crash where the model has it."""
    path = request.get("float32")
    names = tflite_file.read(Path(path)).operators if path else ()
    found = [name for name in _CONTROL_FLOW if name in names]
    return f" (its operators {', '.join(found)}: export recurrent layers with unroll=True)" if found else ""


def _hint(names: list[str]) -> str:
    if any(name.startswith("TensorList") for name in names):
        return (
            ": recurrent layers need a fixed length of at most 512 in a .keras or .h5 file, and unroll=True"
            " or a fixed batch size in a SavedModel"
        )
    return ""
