"""Which forms serve on which type of devices. Must not import TensorFlow."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelpress.api.schemes import DeviceType
from modelpress.compression.formats.base import Maker
from modelpress.compression.formats.litert.backend import LiteRTMaker
from modelpress.compression.formats.litert.converter import Converter


@contextmanager
def maker(device: DeviceType, work_dir: Path) -> Iterator[Maker]:
    """Yield what makes the forms of a type of devices; what it starts ends with the context."""
    if device is DeviceType.GPU:
        from modelpress.compression.formats.tensorflow.backend import TensorFlowMaker  # noqa: PLC0415 - TensorFlow

        yield TensorFlowMaker()
        return
    with Converter(work_dir) as converter:
        yield LiteRTMaker(converter)
