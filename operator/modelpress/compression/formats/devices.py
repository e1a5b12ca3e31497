"""Which formats serve on which type of devices."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelpress.api.schemes import DeviceType
from modelpress.compression.formats.base import FormatBackend
from modelpress.compression.formats.litert import source
from modelpress.compression.formats.litert.backend import LiteRTBackend
from modelpress.compression.formats.litert.converter import Converter


@contextmanager
def backend(device: DeviceType, work_dir: Path, model: Path) -> Iterator[FormatBackend]:
    """Yield what makes the formats of the file `model` for devices; what it starts ends with the context."""
    if device is DeviceType.GPU:
        from modelpress.compression.formats.tensorflow.backend import TensorFlowBackend  # noqa: PLC0415 - TensorFlow

        yield TensorFlowBackend()
        return
    with Converter(work_dir, whole=not source.recognised(model)) as converter:
        yield LiteRTBackend(converter)
