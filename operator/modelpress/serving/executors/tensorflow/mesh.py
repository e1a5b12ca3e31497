"""Tensor parallelism by DTensor: one model on a mesh of devices, its weights split over them.

Layers that are split compute their part of the output on each device; between layers the parts are gathered,
so that every layer takes whole tensors. What is not split is computed on every device. Batches are padded to
a few sizes, each of which is traced once; DTensor's graphs run without XLA.
https://www.tensorflow.org/guide/dtensor_overview
"""

import bisect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.experimental import dtensor

from modelpress.artifacts import int4, weights
from modelpress.models.graph_model import Signature as ModelSignature
from modelpress.models.layer_graph import LayerGraph
from modelpress.models.stored_model import StoredLayers, StoredTensor
from modelpress.models.types import first_line, unsupported
from modelpress.serving.executors.base import Array, Arrays, InputError, rows
from modelpress.serving.executors.tensorflow import sharding
from modelpress.serving.executors.tensorflow.executor import pad
from modelpress.serving.executors.tensorflow.program import why
from modelpress.serving.executors.tensorflow.sizes import padded

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

    def everywhere(self, array: Array) -> Any:
        """Put an array on every device."""
        return dtensor.pack([_on_host(array)] * self.size, self._whole(np.ndim(array)))

    def split(self, array: Array, axis: int) -> Any:
        """Put a part of an array on each device, without the whole on any of them."""
        names = [_DIMENSION if place == axis else dtensor.UNSHARDED for place in range(array.ndim)]
        parts = [_on_host(part) for part in np.split(array, self.size, axis)]
        return dtensor.pack(parts, dtensor.Layout(names, self._mesh))

    def gathered(self, value: Any) -> Any:
        """Return the whole of a tensor on every device, inside a function."""
        whole = dtensor.relayout(value, self._whole(value.shape.rank))
        mask = getattr(value, "_keras_mask", None)
        if mask is not None:
            whole._keras_mask = dtensor.relayout(mask, self._whole(mask.shape.rank))
        return whole

    def array(self, value: Any) -> Array:
        """Return a tensor that is whole on every device."""
        return np.asarray(dtensor.unpack(value)[0])

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


class MeshExecutor:
    """A whole model on a mesh."""

    def __init__(
        self, structure: Path, signature: ModelSignature, devices: Sequence[str], sizes: list[int]
    ) -> None:
        self._signature = signature
        self._sizes = sizes
        self._mesh = Mesh(devices)
        layers = StoredLayers(structure, signature)
        self._graph = LayerGraph(layers.network)
        self._network_variables = layers.network.variables
        held = self._hold(layers, structure.with_name(weights.WEIGHTS_FILE))
        self.variables = [one.parts for one in held]  # what is kept in the memory of the devices
        self._functions: dict[tuple[Any, ...], Any] = {}  # by the number of steps and the shapes of inputs

    def run(self, inputs: Arrays) -> list[Array]:
        """Compute the outputs of `inputs`."""
        count = rows(inputs)
        given = pad(inputs, padded(count, self._sizes))
        try:
            return self._call(len(self._graph.steps), given, count)
        except (tf.errors.InvalidArgumentError, tf.errors.OutOfRangeError) as error:
            raise InputError(why(error)) from error

    def close(self) -> None:
        """Free the variables."""
        self.variables, self._functions = [], {}

    def check(self, inputs: Arrays) -> None:
        """Compute once. Raises UnsupportedModel, with the name of the layer that DTensor cannot compute."""
        try:
            self._call(len(self._graph.steps), inputs, rows(inputs))
        except _REFUSALS as error:
            guilty = bisect.bisect_left(
                range(1, len(self._graph.steps) + 1), True, key=lambda stop: self._fails(stop, inputs)
            )
            if guilty == len(self._graph.steps):
                raise
            step = self._graph.steps[guilty]
            raise unsupported(
                f"parallelism.tensor is {self._mesh.size}, and layer {step.name}"
                f" ({type(step.operation).__name__}) cannot be computed on several devices: {_reason(error)}"
            ) from error

    def _call(self, stop: int, inputs: Arrays, count: int) -> list[Array]:
        """Compute the first `stop` steps, traced where these shapes are new."""
        given = [self._mesh.everywhere(array) for array in inputs]
        key = (stop, *(array.shape for array in inputs))
        if key not in self._functions:
            self._functions[key] = self._traced(stop, given)
        results = self._functions[key](self.variables, given)
        return [self._mesh.array(result)[:count] for result in results]

    def _fails(self, stop: int, inputs: Arrays) -> bool:
        """Whether the first `stop` steps cannot be computed."""
        try:
            self._call(stop, inputs, rows(inputs))
        except _REFUSALS:
            return True
        return False

    def _traced(self, stop: int, given: Any) -> Any:
        """Return the first `stop` steps as a function of the variables' parts and the inputs.

        Constants of layers, such as those of Normalization, are captured, and must be on the mesh too.
        """
        graph, whole = self._graph, stop == len(self._graph.steps)

        def function(parts: Any, inputs: Any) -> Any:
            values = zip(self._network_variables, map(_Held.value, parts), strict=True)
            with keras.StatelessScope(state_mapping=list(values)):
                found = graph.entered(inputs)
                for place in range(stop):
                    found = graph.run(place, place + 1, found)
                    for number in graph.steps[place].writes:
                        found[number] = self._mesh.gathered(found[number])
            results = [found[number] for number in graph.alive(stop)]
            if whole:
                specs = self._signature.outputs
                results = [tf.cast(value, spec.dtype) for value, spec in zip(results, specs, strict=True)]
            return results

        specs = tf.nest.map_structure(
            lambda item: tf.TensorSpec(item.shape, item.dtype), [self.variables, given]
        )
        traced = tf.function(function).get_concrete_function(*specs)
        constants = [self._mesh.everywhere(np.asarray(item)) for item in traced.captured_inputs]
        traced.set_external_captures(constants)
        return traced

    def _hold(self, layers: StoredLayers, file: Path) -> list[_Held]:
        """Put all variables onto the mesh, in the order of the network's."""
        axes = sharding.axes(self._graph, self._mesh.size)
        places = {layers.tensor(variable): axes.get(id(variable)) for variable in self._network_variables}

        def keep(tensor: StoredTensor) -> _Held:
            return _Held(tensor, self._mesh, places[tensor.name])

        held = layers.held(weights.read(file), self._network_variables, keep)
        found = []
        for variable in self._network_variables:
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


def _reason(error: tf.errors.OpError) -> str:
    """Return the first sentence of what DTensor says, without the place in a source file."""
    return first_line(Exception(error.message)).rpartition("error: ")[2].partition(". ")[0]
