"""Tensor parallelism by DTensor: a model, or a stage of it, on a mesh of devices that share its weights.

Layers that are split compute their part of the output on each device; between layers the parts are gathered,
so that every layer takes whole tensors. What is not split is computed on every device. Batches are padded to
a few sizes, each of which is traced once; DTensor's graphs run without XLA.
https://www.tensorflow.org/guide/dtensor_overview
"""

import bisect
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.experimental import dtensor

from modelpress.artifacts import int4, weights
from modelpress.models.stored_model import StoredTensor
from modelpress.models.types import first_line, unsupported
from modelpress.serving.executors.base import Array
from modelpress.serving.executors.tensorflow.staging import StagedLayers

_DIMENSION = "tensor"
# what DTensor raises for an operator that it cannot split; a batch of zeros causes no other error of these
_REFUSALS = (
    tf.errors.InternalError,
    tf.errors.InvalidArgumentError,
    tf.errors.UnimplementedError,
    tf.errors.UnknownError,
)


class Mesh:
    """Devices in a row, and how arrays get there and back."""

    def __init__(self, devices: Sequence[str]) -> None:
        names = [name.removeprefix("/device:") for name in devices]
        self.size = len(names)
        self._mesh = dtensor.create_mesh([(_DIMENSION, self.size)], devices=names, mesh_name="-".join(names))

    def everywhere(self, value: Any) -> Any:
        """Put an array, or a tensor of any device, on every device."""
        tensor = value if tf.is_tensor(value) else _on_host(value)
        return dtensor.pack([tensor] * self.size, self._whole(tensor.shape.rank))

    def split(self, array: Array, axis: int) -> Any:
        """Put a part of an array on each device, without the whole on any of them."""
        names = [_DIMENSION if index == axis else dtensor.UNSHARDED for index in range(array.ndim)]
        parts = [_on_host(part) for part in np.split(array, self.size, axis)]
        return dtensor.pack(parts, dtensor.Layout(names, self._mesh))

    def gathered(self, value: Any) -> Any:
        """Return the whole of a tensor on every device, inside a function."""
        whole = dtensor.relayout(value, self._whole(value.shape.rank))
        mask = getattr(value, "_keras_mask", None)
        if mask is not None:
            whole._keras_mask = dtensor.relayout(mask, self._whole(mask.shape.rank))
        return whole

    def first(self, value: Any) -> Any:
        """Return what the first device has of a tensor."""
        return dtensor.unpack(value)[0]

    def _whole(self, rank: int) -> Any:
        return dtensor.Layout.replicated(self._mesh, rank=rank)


class _Held:
    """A stored variable on the mesh: integers with step and offset, or floats."""

    def __init__(self, tensor: StoredTensor, mesh: Mesh, axis: int | None) -> None:
        def put(array: Array) -> Any:
            split = axis is not None and array.shape[axis] > 1  # one step can stand for all channels
            return mesh.split(array, axis) if split and axis is not None else mesh.everywhere(array)

        self.parts: list[Any]
        if tensor.scale is None or tensor.bias is None:
            self.parts = [put(tensor.data)]
        else:  # int4 takes a byte here: packed ones cannot be split along an axis
            step = tensor.aligned(np.float32(1) / tensor.scale)
            self.parts = [put(integers(tensor)), put(step)]
            if tensor.bias.any():
                self.parts.append(put(tensor.aligned(tensor.bias.astype(np.float32))))

    @staticmethod
    def value(parts: Sequence[Any]) -> Any:
        """Return what the variable stands for, inside a function."""
        if len(parts) == 1:
            return parts[0]
        values = tf.cast(parts[0], tf.float32)
        if len(parts) == 3:
            values -= parts[2]
        return values * parts[1]


def integers(tensor: StoredTensor) -> Array:
    """Return the integers of a quantized variable, one in a byte."""
    if tensor.storage != "int4":
        return tensor.data
    count = int(np.prod(tensor.shape, dtype=np.int64))
    return int4.unpack(tensor.data, count).reshape(tensor.shape)


class MeshProgram:
    """The steps start..stop-1 of a model as one function of tensors on a mesh, traced for each batch size."""

    by_size = True  # traced for each batch size, so that batches are padded

    def __init__(
        self, staged: StagedLayers, steps: tuple[int, int], devices: Sequence[str], axes: Mapping[int, int]
    ) -> None:
        self._staged = staged
        self._start, self._stop = steps
        self._mesh = Mesh(devices)
        self._layer_variables = staged.graph.variables(*steps)
        held = self._hold(axes)
        self.variables = [one.parts for one in held]  # what is kept in the memory of the devices
        self._functions: dict[tuple[Any, ...], Any] = {}  # by the last step and the shapes of the values

    def __call__(self, values: Sequence[Any]) -> list[Any]:
        """Compute on the mesh, return whole tensors on its first device. Raises errors of TensorFlow."""
        return self._call(self._stop, values)

    def checked(self, values: Sequence[Any]) -> list[Any]:
        """Compute once. Raises UnsupportedModel, with the name of the layer that DTensor cannot compute."""
        try:
            return self(values)
        except _REFUSALS as error:
            stops = range(self._start + 1, self._stop + 1)
            failing = bisect.bisect_left(stops, True, key=lambda stop: self._fails(stop, values))
            if failing == len(stops):
                raise
            step = self._staged.graph.steps[self._start + failing]
            raise unsupported(
                f"parallelism.tensor is {self._mesh.size}, and layer {step.name}"
                f" ({type(step.operation).__name__}) cannot be computed on several devices: {_reason(error)}"
            ) from error

    def _call(self, stop: int, values: Sequence[Any]) -> list[Any]:
        """Compute the steps before `stop`, traced where these shapes are new."""
        given = [self._mesh.everywhere(value) for value in values]
        key = (stop, *(tuple(value.shape) for value in values))
        if key not in self._functions:
            self._functions[key] = self._traced(stop, given)
            # DTensor takes small tensors for constants until they change, then transforms anew: better now
            others = [self._mesh.everywhere(_other(value)) for value in values]
            with contextlib.suppress(tf.errors.OpError):  # they may not be valid
                self._functions[key](self.variables, others)
        return [self._mesh.first(result) for result in self._functions[key](self.variables, given)]

    def _fails(self, stop: int, values: Sequence[Any]) -> bool:
        """Whether the steps before `stop` cannot be computed."""
        try:
            self._call(stop, values)
        except _REFUSALS:
            return True
        return False

    def _traced(self, stop: int, given: Any) -> Any:
        """Return the steps before `stop` as a function of the variables' parts and the values.

        Constants of layers, such as those of Normalization, are captured, and must be on the mesh too.
        """

        def function(parts: Any, values: Any) -> Any:
            mapping = list(zip(self._layer_variables, map(_Held.value, parts), strict=True))
            return self._staged.compute((self._start, stop), values, mapping, self._mesh.gathered)

        specs = tf.nest.map_structure(
            lambda item: tf.TensorSpec(item.shape, item.dtype), [self.variables, given]
        )
        traced = tf.function(function).get_concrete_function(*specs)
        constants = [self._mesh.everywhere(np.asarray(item)) for item in traced.captured_inputs]
        traced.set_external_captures(constants)
        return traced

    def _hold(self, axes: Mapping[int, int]) -> list[_Held]:
        """Put the variables onto the mesh, in the order of the layers'."""
        layers = self._staged.layers
        axis_of = {layers.tensor(variable): axes.get(id(variable)) for variable in self._layer_variables}

        def keep(tensor: StoredTensor) -> _Held:
            return _Held(tensor, self._mesh, axis_of[tensor.name])

        held = layers.held(self._staged.stored(self._layer_variables), self._layer_variables, keep)
        found = []
        for variable in self._layer_variables:
            name = layers.tensor(variable)
            if name is None:
                empty = weights.plain(variable.path, np.zeros(variable.shape, variable.dtype))
                found.append(_Held(empty, self._mesh, None))
            else:
                found.append(held[name])
        return found


def _on_host(array: Array) -> Any:
    """Return a tensor in the memory of the host, from which a mesh copies: else the first GPU has it too."""
    with tf.device("/device:CPU:0"):
        return tf.constant(array)


def _other(value: Any) -> Array:
    """Return other numbers of the same shape and dtype."""
    array = np.asarray(value)
    return np.zeros_like(array) if array.all() else np.ones_like(array)


def _reason(error: tf.errors.OpError) -> str:
    """Return the first sentence of what DTensor says, without file and line of its sources."""
    return first_line(Exception(error.message)).rpartition("error: ")[2].partition(". ")[0]
