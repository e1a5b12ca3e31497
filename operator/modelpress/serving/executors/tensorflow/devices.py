"""The devices of this process: its GPUs, or logical devices of the CPU to rehearse without any."""

import functools
import logging
import os
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from tensorflow.experimental import dtensor

from modelpress.api.conditions import Reason
from modelpress.api.contract import LOGICAL_DEVICES
from modelpress.api.errors import DataError

logger = logging.getLogger(__name__)


def claim(count: int, *, mesh: bool = False) -> list[str]:
    """Return the names of `count` devices, such as /device:GPU:0; before anything is computed.

    The memory of GPUs is taken as it is needed; those of a mesh talk over NCCL. Raises DataError
    (ModelLoadFailed) where there are too few.
    """
    gpus = tf.config.list_physical_devices("GPU")
    names = _take(gpus, count, mesh=mesh) if gpus else _rehearse(count)
    if mesh:
        _block_until_computed()
    return names


def _take(gpus: Sequence[Any], count: int, *, mesh: bool) -> list[str]:
    if len(gpus) < count:
        raise DataError(
            Reason.MODEL_LOAD_FAILED,
            f"parallelism needs {count} GPUs (data x tensor x pipeline), and this worker sees {len(gpus)}",
        )
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    if mesh:
        os.environ.setdefault("DTENSOR_GPU_USE_NCCL_COMMUNICATION", "1")
        dtensor.initialize_accelerator_system("GPU")
    return [f"/device:GPU:{number}" for number in range(count)]


@functools.cache
def _block_until_computed() -> None:
    """Let DTensor return when a function was computed. There is no public way.

    Else an error of one call makes later ones fail too, whose values are right: of any mesh.
    """
    dtensor._reset_dtensor_device(is_async=False)


def _rehearse(count: int) -> list[str]:
    if os.environ.get(LOGICAL_DEVICES) != "1":
        raise DataError(
            Reason.MODEL_LOAD_FAILED,
            f"no GPU is visible to this worker; {LOGICAL_DEVICES}=1 in worker.env lets its CPU stand in for"
            " GPUs, to rehearse",
        )
    logger.warning(
        "No GPU is visible, and %s=1: %d logical devices of the CPU stand in for GPUs. This is a rehearsal.",
        LOGICAL_DEVICES,
        count,
    )
    cpu = tf.config.list_physical_devices("CPU")[0]
    if len(tf.config.get_logical_device_configuration(cpu) or ()) < count:
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
    return [f"/device:CPU:{number}" for number in range(count)]
