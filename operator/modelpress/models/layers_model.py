"""A model of Keras layers: a graph function like any other, and the layers behind it."""

from typing import Any, Self

import keras
import tensorflow as tf

from modelpress.models.graph_model import GraphModel, Signature
from modelpress.models.types import Kind


class LayersModel(GraphModel):
    """A `types.LoadedModel` that keeps its layers, so that a pass can train or rebuild them.

    `network` takes and returns flat lists of tensors, in the order of `inputs` and `outputs`.
    """

    def __init__(self, network: keras.Model, signature: Signature) -> None:
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
        self.network = network
        self.training_forward = lambda *tensors: tf.nest.flatten(network(list(tensors), training=True))
        self.random_states = tuple(
            variable.value for variable in network.variables if variable.name.endswith("seed_generator_state")
        )

    def replaced(self, network: keras.Model) -> Self:
        """Return a model of other layers with the same inputs and outputs, under the same names."""
        return type(self)(network, Signature(self.inputs, self.outputs))
