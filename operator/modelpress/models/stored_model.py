"""A model of a stored structure and stored variables, ready to run: the form for GPU devices.

The compression Job measures it with this code, and workers serve with it. Of layers, variables stay in memory
as they are stored (int8, two int4 in a byte, float16, ...) and become floats inside the function, where a
compiler fuses that into the operation that reads them. The variables of a SavedModel become floats when they
are loaded: its graph reads them as such.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, Protocol, TypeVar

import keras
import numpy as np
import tensorflow as tf

from modelpress.models import structure
from modelpress.models.graph_model import Signature, computing
from modelpress.models.types import Array, Arrays, first_line, invalid, unsupported


class StoredTensor(Protocol):
    """A variable as it is stored: integers q with scale and bias, x_q = round(x * scale + bias), or floats.

    `data` has the shape `shape`, but storage int4: two signed ones in a byte of a flat uint8 array, the first
    in the lower half. `scale` (float32) and `bias` (int32) have one number for each channel of an axis, or
    one for all.
    """

    @property
    def name(self) -> str:
        """Unique."""
        ...

    @property
    def storage(self) -> str:
        """int4, int8, or another numpy name."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the variable."""
        ...

    @property
    def data(self) -> Array:
        """The numbers that are stored."""
        ...

    @property
    def scale(self) -> Array | None:
        """None: not quantized."""
        ...

    @property
    def bias(self) -> Array | None:
        """The zero points."""
        ...

    def aligned(self, numbers: Array) -> Array:
        """Return scales or zero points in a shape that meets the variable's."""
        ...

    def values(self) -> Array:
        """Return the numbers that it stands for."""
        ...


class StoredModel:
    """Inputs, outputs and a TensorFlow function between them.

    `function` takes and returns lists of tensors in the order of `inputs` and `outputs`, with their dtypes; a
    worker traces it anew to compile it. `variables` are what it keeps in the memory of the device.
    """

    def __init__(self, signature: Signature, function: Any, variables: Sequence[tf.Variable]) -> None:
        self.owner: object = None  # what must live as long as the model
        self.compute = "float32"  # what most layers compute in
        self.inputs = signature.inputs
        self.outputs = signature.outputs
        self.variables = tuple(variables)
        arguments = [
            tf.TensorSpec([None if size < 0 else size for size in spec.shape], spec.dtype)
            for spec in self.inputs
        ]

        def forward(*tensors: Any) -> list[Any]:
            results = function(tensors)
            return [tf.cast(result, spec.dtype) for result, spec in zip(results, self.outputs, strict=True)]

        self.function = tf.function(forward, input_signature=arguments)

    def call(self, inputs: Arrays) -> dict[str, Array]:
        """Compute the outputs of one batch."""
        tensors = [tf.constant(inputs[spec.name], dtype=spec.dtype) for spec in self.inputs]
        with computing():
            results = self.function(*tensors)
        return {spec.name: np.asarray(result) for spec, result in zip(self.outputs, results, strict=True)}


def load(path: Path, tensors: Iterable[StoredTensor], signature: Signature) -> StoredModel:
    """Build the model of a structure file with the variables stored for it.

    `signature` has inputs and outputs in the order in which the structure was written. Raises InvalidModel
    where structure, variables and signature do not belong together, UnsupportedModel where the layers cannot
    compute in the dtype that the structure says.
    """
    if path.name == structure.LAYERS_FILE:
        return _layers(path, tensors, signature)
    return _graph(path, tensors, signature)


class Held:
    """A stored variable in the memory of the device."""

    def __init__(self, tensor: StoredTensor) -> None:
        self.shape = tensor.shape
        self._packed = tensor.storage == "int4"
        self._data = tf.Variable(tensor.data, trainable=False, name=tensor.name)
        self._offset = self._step = None
        if tensor.scale is not None and tensor.bias is not None:
            step = tensor.aligned(np.float32(1) / tensor.scale)
            self._step = tf.Variable(step, trainable=False, name=f"{tensor.name}/step")
            if tensor.bias.any():
                offset = tensor.aligned(tensor.bias.astype(np.float32))
                self._offset = tf.Variable(offset, trainable=False, name=f"{tensor.name}/offset")

    @property
    def variables(self) -> list[tf.Variable]:
        """What it takes in memory."""
        return [item for item in (self._data, self._step, self._offset) if item is not None]

    def value(self) -> Any:
        """Return the tensor that it stands for, inside a function: float32 of integers."""
        if self._step is None:
            return self._data.value()
        values = tf.cast(self._integers(), tf.float32)
        if self._offset is not None:
            values -= self._offset
        return values * self._step

    def _integers(self) -> Any:
        if not self._packed:
            return self._data.value()
        packed = self._data.value()
        count = int(np.prod(self.shape, dtype=np.int64))
        halves = tf.stack([tf.bitwise.bitwise_and(packed, 15), tf.bitwise.right_shift(packed, 4)], axis=-1)
        flat = tf.reshape(halves, [-1])[:count]
        return tf.reshape(tf.cast(tf.bitwise.bitwise_xor(flat, 8), tf.int8) - 8, self.shape)


Kept = TypeVar("Kept")


class StoredLayers:
    """The layers of a structure file, whose variables have no value of their own.

    `network` takes and returns flat lists of tensors in the order of the manifest's inputs and outputs.
    Raises InvalidModel where structure and signature do not belong together.
    """

    def __init__(self, path: Path, signature: Signature) -> None:
        found = structure.read_layers(path)
        self.file = path.name
        self.network = found.network
        self.compute = found.compute
        _check_count(path, len(self.network.inputs), len(self.network.outputs), signature)
        self._slots = {
            id(variable): slot for variable, slot in zip(found.network.variables, found.slots, strict=True)
        }

    def expected(self, variables: Iterable[keras.Variable]) -> dict[str, tuple[int, ...]]:
        """Return name and shape of each stored tensor that these variables take their values from."""
        slots = (self._slots[id(variable)] for variable in variables)
        return {slot.tensor: slot.shape for slot in slots if slot.tensor is not None}

    def tensor(self, variable: keras.Variable) -> str | None:
        """Return the name of a variable's stored tensor; None where no output depends on it."""
        return self._slots[id(variable)].tensor

    def hold(self, tensors: Iterable[StoredTensor], variables: Iterable[keras.Variable]) -> "Holding":
        """Put the stored tensors of some variables into the memory of the device of the current scope.

        `tensors` are exactly those of `expected`. Raises InvalidModel where they are not.
        """
        return Holding(self, self.held(tensors, variables, Held))

    def held(
        self,
        tensors: Iterable[StoredTensor],
        variables: Iterable[keras.Variable],
        keep: Callable[[StoredTensor], Kept],
    ) -> dict[str, Kept]:
        """Return what `keep` makes of each stored tensor of some variables, by its name; as `hold`."""
        expected = self.expected(variables)
        held: dict[str, Kept] = {}
        for tensor in tensors:
            if expected.get(tensor.name) != tensor.shape:
                raise invalid(f"{self.file}: has no variable {tensor.name} of shape {list(tensor.shape)}")
            held[tensor.name] = keep(tensor)
        if missing := sorted(expected.keys() - held.keys()):
            raise invalid(f"{self.file}: nothing is stored for the variable {missing[0]}")
        return held


class Holding:
    """Variables of layers in the memory of one device."""

    def __init__(self, layers: StoredLayers, held: Mapping[str, Held]) -> None:
        self._layers = layers
        self._held = held

    @property
    def variables(self) -> list[tf.Variable]:
        """What is in memory."""
        return [variable for item in self._held.values() for variable in item.variables]

    def value(self, variable: keras.Variable) -> Any:
        """Return the tensor that a variable of the layers stands for, inside a function."""
        name = self._layers.tensor(variable)
        if name is None:
            return tf.zeros(variable.shape, variable.dtype)
        return self._held[name].value()


def _layers(path: Path, tensors: Iterable[StoredTensor], signature: Signature) -> StoredModel:
    layers = StoredLayers(path, signature)
    network = layers.network
    holding = layers.hold(tensors, network.variables)

    def function(inputs: Sequence[Any]) -> Any:
        trainable = [holding.value(variable) for variable in network.trainable_variables]
        others = [holding.value(variable) for variable in network.non_trainable_variables]
        outputs, _ = network.stateless_call(trainable, others, list(inputs), training=False)
        return tf.nest.flatten(outputs)

    model = StoredModel(signature, function, holding.variables)
    model.compute = layers.compute
    return _checked(path, model)


def _graph(path: Path, tensors: Iterable[StoredTensor], signature: Signature) -> StoredModel:
    loaded = structure.read_graph(path)
    served = dict(loaded.signatures).get(structure.SIGNATURE)
    variables = list(getattr(loaded, "stored", ()))
    if served is None:
        raise invalid(f"{path.name}: has no signature {structure.SIGNATURE}")
    _check_count(path, len(served.structured_input_signature[1]), len(served.structured_outputs), signature)
    count = 0
    for tensor, variable in zip_longest(tensors, variables):
        if tensor is None:
            break
        if variable is None or tuple(variable.shape) != tensor.shape:
            raise invalid(f"{path.name}: has no variable {tensor.name} of shape {list(tensor.shape)}")
        variable.assign(tf.cast(tensor.values(), variable.dtype))
        count += 1
    if count < len(variables):
        raise invalid(f"{path.name}: has {len(variables)} variables, {count} are stored")

    def function(inputs: Sequence[Any]) -> Any:
        results = served(**{f"input_{index}": value for index, value in enumerate(inputs)})
        return [results[f"output_{index}"] for index in range(len(results))]

    model = StoredModel(signature, function, variables)
    model.owner = loaded  # TensorFlow frees the variables with the object that was loaded
    return _checked(path, model)


def _check_count(path: Path, inputs: int, outputs: int, signature: Signature) -> None:
    if (inputs, outputs) != (len(signature.inputs), len(signature.outputs)):
        raise invalid(
            f"{path.name}: has {inputs} inputs and {outputs} outputs, the manifest"
            f" {len(signature.inputs)} and {len(signature.outputs)}"
        )


def _checked(path: Path, model: StoredModel) -> StoredModel:
    """Trace the function once, so that what does not fit is said now."""
    try:
        model.function.get_concrete_function()
    except MemoryError:
        raise
    except Exception as error:  # a layer can raise anything, such as for a dtype
        raise unsupported(f"{path.name}: the model cannot compute: {first_line(error)}") from error
    return model
