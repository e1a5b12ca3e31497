"""Settings of layers that Keras 2 writes and Keras 3 does not take, by layer, with their defaults.

None: any value means the same to a trained model. Written by a program, which asks both libraries:
python -m tests.support.models.keras_2.dropped_table
"""

from typing import Any

DROPPED: dict[str, dict[str, Any]] = {
    "Conv1DTranspose": {"groups": 1},
    "Conv2DTranspose": {"groups": 1},
    "Conv3DTranspose": {"groups": 1},
    "ConvLSTM1D": {"time_major": False},
    "ConvLSTM2D": {"time_major": False},
    "ConvLSTM3D": {"time_major": False},
    "DepthwiseConv1D": {"groups": 1},
    "DepthwiseConv2D": {"groups": 1},
    "Discretization": {"trainable": None},
    "GRU": {"time_major": False},
    "LSTM": {"time_major": False},
    "MultiHeadAttention": {
        "key_shape": None,
        "query_shape": None,
        "softmax_robust_masking": False,
        "value_shape": None,
    },
    "RNN": {"time_major": False},
    "RandomBrightness": {"rng_type": None},
    "RandomContrast": {"rng_type": None},
    "RandomFlip": {"rng_type": None},
    "RandomHeight": {"rng_type": None},
    "RandomRotation": {"rng_type": None},
    "RandomTranslation": {"rng_type": None},
    "RandomWidth": {"rng_type": None},
    "RandomZoom": {"rng_type": None},
    "SeparableConv1D": {"groups": 1, "kernel_constraint": None, "kernel_regularizer": None},
    "SeparableConv2D": {"groups": 1, "kernel_constraint": None, "kernel_regularizer": None},
    "SimpleRNN": {"time_major": False},
    "SpatialDropout1D": {"noise_shape": None, "trainable": None},
    "SpatialDropout2D": {"noise_shape": None, "trainable": None},
    "SpatialDropout3D": {"noise_shape": None, "trainable": None},
}
