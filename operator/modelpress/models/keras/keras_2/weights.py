"""Weights of an .h5 file of Keras 2, each layer's by its name.

Keras 3 reads the layers in its own order, and notices only where the shapes tell two of them apart. Inside of
a nested model the file has one list: of the layers in the order of the structure, first what they train, then
the rest.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import h5py
import keras
from keras.src.legacy.saving.legacy_h5_format import (
    load_attributes_from_hdf5_group,
    load_subset_weights_from_hdf5_group,
)

from modelpress.models.keras.keras_2 import calls


def load(model: keras.Model, config: Mapping[str, Any], group: h5py.Group) -> None:
    """Set the weights of a model to those in `group`; `config` is its structure, in the file's order.

    Raises ValueError where the file has other layers or shapes, KeyError where a group is missing.
    """
    layers = {layer.name: _variables(layer, entry) for layer, entry in _pairs(model, config)}
    expected = {name for name, variables in layers.items() if variables}
    stored = {
        calls.modern_name(name): group[name]
        for name in load_attributes_from_hdf5_group(group, "layer_names")
        if load_attributes_from_hdf5_group(group[name], "weight_names")
    }
    if different := sorted(expected ^ stored.keys()):
        raise ValueError(f"weights of layer {different[0]!r} are only in the file or only in its structure")
    for name, found in stored.items():
        values = load_subset_weights_from_hdf5_group(found)
        if len(values) != len(layers[name]):
            raise ValueError(f"layer {name!r} has {len(layers[name])} weights, the file {len(values)}")
        for variable, value in zip(layers[name], values, strict=True):
            if tuple(variable.shape) != tuple(value.shape):
                raise ValueError(f"weight {variable.path} is {tuple(variable.shape)}, not {value.shape}")
            variable.assign(value)
    for layer in model._flatten_layers():  # those inside of others too; there is no public way
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()  # it computes with copies of its variables


def _pairs(model: Any, config: Mapping[str, Any]) -> list[tuple[Any, Mapping[str, Any]]]:
    """Return the layers of a model with their part of the structure, in its order."""
    layers = {layer.name: layer for layer in model.layers}
    entries = [(_name(entry), entry) for entry in config["config"]["layers"]]
    return [(layers[name], entry) for name, entry in entries if name in layers]


def _variables(layer: Any, entry: Mapping[str, Any]) -> Sequence[Any]:
    trained, rest = _split(layer, entry)
    return [*trained, *rest]


def _split(layer: Any, entry: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
    if not isinstance(layer, keras.Model):
        return list(layer.trainable_weights), list(layer.non_trainable_weights)
    parts = [_split(inner, part) for inner, part in _pairs(layer, entry)]
    return [item for part in parts for item in part[0]], [item for part in parts for item in part[1]]


def _name(entry: Mapping[str, Any]) -> str:
    return str(entry.get("name") or entry["config"].get("name"))
