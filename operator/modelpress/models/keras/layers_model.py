"""A model of Keras layers: a graph function like any other, and the layers behind it."""

from collections.abc import Mapping
from typing import Any, Self

import keras
import tensorflow as tf

from modelpress.models.graph_model import GraphModel, Signature
from modelpress.models.types import Kind


class LayersModel(GraphModel):
    """A `types.LoadedModel` that keeps its layers, so that a pass can train or rebuild them.

    `network` takes and returns flat lists of tensors, in the order of `inputs` and `outputs`. `names` are
    those of weights, by the identity of the TensorFlow variable; unset: the variables' own.
    """

    def __init__(
        self, network: keras.Model, signature: Signature, names: Mapping[int, str] | None = None
    ) -> None:
        arguments = [
            tf.TensorSpec(tensor.shape, tensor.dtype, name=f"input_{i}")
            for i, tensor in enumerate(network.inputs)
        ]

        def forward(*tensors: Any) -> Any:
            return tf.nest.flatten(network(list(tensors), training=False))

        function = tf.function(forward, input_signature=arguments).get_concrete_function()
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

    def replaced(self, network: keras.Model, names: Mapping[int, str]) -> Self:
        """Return a model of other layers with the same inputs and outputs, under the same names.

        `names` as in the constructor.
        """
        return type(self)(network, Signature(self.inputs, self.outputs), names)
