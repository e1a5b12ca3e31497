"""Writes the models of `cases` and `functions` with the Keras of this environment.

    python -m tests.support.models.keras_2.write FOLDER tensorflow.keras|tf_keras NAME ...

NAME is layers, whole or functions. FOLDER/NAME/CASE gets model.h5, model.keras, of `SAVED` also the
SavedModel saved, and data.npz: inputs and what this Keras computes of them, both in the model's order.
FOLDER/settings.json gets what the classes of layers wrote as their settings, FOLDER/layer_names.txt all of
them. A case that this Keras has no layer for is left out.
"""

import importlib
import json
import sys
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.models.keras_2 import cases, functions

SETS = {"layers": cases.LAYERS, "whole": cases.WHOLE, "functions": functions.FUNCTIONS}
SAVED = ("adapted", "augmented", "translator")


def main(folder: Path, module: str, names: list[str]) -> None:
    """Write the sets of these names; see above."""
    warnings.simplefilter("ignore")
    keras = importlib.import_module(module) if module != "tensorflow.keras" else _tensorflow().keras
    settings: dict[str, dict[str, Any]] = {}
    for name in names:
        for case, make in SETS[name].items():
            try:
                model = make(keras)
            except (AttributeError, TypeError) as error:  # a layer that came later, or does not work there
                print(f"left out: {case}: {error}", file=sys.stderr)
                continue
            try:
                _write(folder / name / case.replace(" ", "_").replace("/", "by"), model)
            except Exception as error:
                raise RuntimeError(f"{name}: {case}") from error
            for layer in model._flatten_layers():
                if not isinstance(layer, keras.Model):
                    known = settings.setdefault(type(layer).__name__, {})
                    for key, value in layer.get_config().items():
                        known.setdefault(key, value)
            keras.backend.clear_session()
    kinds = (kind for kind in vars(keras.layers).values() if isinstance(kind, type))
    names = sorted({kind.__name__ for kind in kinds if issubclass(kind, keras.layers.Layer)})
    (folder / "layer_names.txt").write_text("\n".join(names), encoding="utf-8")
    text = json.dumps(settings, default=str, indent=1, sort_keys=True)
    (folder / "settings.json").write_text(text, encoding="utf-8")


def _tensorflow() -> Any:
    import tensorflow as tf

    return tf


def _write(folder: Path, model: Any) -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(zlib.crc32(folder.name.encode()))
    adapted = {
        weight.ref()
        for layer in model._flatten_layers()
        if type(layer).__name__ == "Normalization"
        for weight in layer.weights
    }
    for weight in model.weights:
        if weight.dtype.is_floating and weight.ref() not in adapted:
            values = rng.normal(0, 0.3, weight.shape)
            weight.assign(np.abs(values) + 0.2 if "variance" in weight.name else values)
    inputs = [_values(rng, tensor) for tensor in model.inputs]
    names = [tensor.name for tensor in model.inputs]
    given = dict(zip(names, inputs)) if isinstance(model.input, dict) else inputs  # noqa: B905
    outputs = model(given if len(inputs) > 1 or isinstance(given, dict) else inputs[0], training=False)
    if isinstance(outputs, dict):
        outputs = [outputs[key] for key in sorted(outputs)]
    outputs = outputs if isinstance(outputs, list | tuple) else [outputs]
    stored = {f"in_{i}": item for i, item in enumerate(inputs)}
    stored.update({f"out_{i}": np.asarray(item) for i, item in enumerate(outputs)})
    np.savez(folder / "data.npz", **stored)
    model.save(folder / "model.h5")
    try:
        model.save(folder / "model.keras")
    except TypeError as error:  # such as an ellipsis among indices
        print(f"no .keras file: {folder.name}: {error}", file=sys.stderr)
    if folder.name in SAVED:
        model.save(folder / "saved", save_format="tf")


def _values(rng: Any, tensor: Any) -> Any:
    shape = (3, *(6 if size is None else size for size in tensor.shape[1:]))
    if tensor.dtype.is_floating:
        return rng.normal(0, 1, shape).astype(np.float32)
    return rng.integers(0, 4, shape).astype(tensor.dtype.as_numpy_dtype)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
