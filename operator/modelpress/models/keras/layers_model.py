"""A model of Keras layers: a graph function like any other, and the layers behind it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import keras
import tensorflow as tf

from modelpress.models.graph_model import GraphModel, Signature
from modelpress.models.keras import unrolled
from modelpress.models.types import ExportedModel, Kind


class LayersModel(GraphModel):
    """A `types.LoadedModel` that keeps its layers, so that a pass can train or rebuild them.

    `network` takes and returns flat lists of tensors, in the order of `inputs` and `outputs`. `names` are
    those of weights, by the identity of the TensorFlow variable; unset: the variables' own.
    """

    def __init__(
        self, network: keras.Model, signature: Signature, names: Mapping[int, str] | None = None
    ) -> None:
        function = _traced(network)
        used = {id(variable) for variable in function.variables}  # not those that only training needs
        variables = [variable.value for variable in network.variables if id(variable.value) in used]
        super().__init__(Kind.LAYERS, signature, function, variables)
        for weight in self.weights:
            weight.name = (names or {}).get(id(weight.variable), weight.name)
        self.network = network
        self.training_forward = lambda *tensors: tf.nest.flatten(network(list(tensors), training=True))
        self.random_states = tuple(
            variable.value for variable in network.variables if variable.name.endswith("seed_generator_state")
        )

    def export(self, folder: Path) -> ExportedModel:
        """Write a SavedModel; loops of recurrent layers become their steps, where the rows are free."""
        loops = unrolled.loops(self.network)
        has_free_rows = all(spec.shape[0] == -1 for spec in self.inputs)
        if not (loops and has_free_rows and unrolled.can_be_unrolled(self._function)):
            return super().export(folder)
        with unrolled.unrolled(loops):
            return self._export(_traced(self.network), folder)

    def replaced(self, network: keras.Model, names: Mapping[int, str]) -> Self:
        """Return a model of other layers with the same inputs and outputs, under the same names.

        `names` as in the constructor.
        """
        return type(self)(network, Signature(self.inputs, self.outputs), names)


def _traced(network: keras.Model) -> Any:
    """Return the network in inference mode as a concrete function of flat lists."""
    arguments = [
        tf.TensorSpec(tensor.shape, tensor.dtype, name=f"input_{i}")
        for i, tensor in enumerate(network.inputs)
    ]

    def forward(*tensors: Any) -> Any:
        return tf.nest.flatten(network(list(tensors), training=False))

    return tf.function(forward, input_signature=arguments).get_concrete_function()
