"""What the peers compute with: the same Keras model in TensorFlow, or the same .tflite file in LiteRT.

Runs in the environments of the peers, as the programs beside it do.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import numpy as np


def load(stem: Path, runtime: str) -> Callable[[Any], Any]:
    """Return a function from float32 rows to float32 rows."""
    return _tensorflow(stem.with_suffix(".keras")) if runtime == "tensorflow" else _litert(stem)


def _tensorflow(path: Path) -> Callable[[Any], Any]:
    import keras
    import tensorflow as tf

    model = keras.models.load_model(path)
    signature = [tf.TensorSpec([None, *model.inputs[0].shape[1:]], tf.float32)]
    function = tf.function(lambda x: model(x, training=False), input_signature=signature)
    compiled = function.get_concrete_function()
    return lambda rows: compiled(tf.constant(np.asarray(rows, np.float32))).numpy()


def _litert(stem: Path) -> Callable[[Any], Any]:
    import threading

    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(stem.with_suffix(".tflite")), num_threads=1)
    entry = interpreter.get_input_details()[0]["index"]
    result = interpreter.get_output_details()[0]["index"]
    lock = threading.Lock()

    def run(rows: Any) -> Any:
        rows = np.asarray(rows, np.float32)
        with lock:
            interpreter.resize_tensor_input(entry, rows.shape)
            interpreter.allocate_tensors()
            interpreter.set_tensor(entry, rows)
            interpreter.invoke()
            return interpreter.get_tensor(result)

    return run
