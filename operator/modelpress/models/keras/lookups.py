"""What lies before the embeddings of a Keras structure: ids pass there, and half precision would change them.

float16 holds whole numbers up to 2,048, bfloat16 up to 256: a greater id would look up another row. Pure.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from modelpress.models.keras.versions import objects

Layer = dict[str, Any]


def before_embeddings(model: Layer) -> set[int]:
    """Return the id() of each layer that an embedding gets its ids from; of nested models of all in them."""
    return _walked(model)[0]


def _walked(model: Layer) -> tuple[set[int], list[bool]]:
    """Return those layers, and for each input of the model whether it reaches an embedding."""
    layers: list[Layer] = model["config"].get("layers", [])
    by_name = {_name(layer): layer for layer in layers}
    parents = {_name(layer): list(_parents(layers, index)) for index, layer in enumerate(layers)}
    kept: set[int] = set()
    waiting: list[str] = []
    for layer in layers:
        calls = parents[_name(layer)]
        if layer["class_name"] == "Embedding":
            waiting += [name for call in calls for name in call]
        elif "layers" in layer["config"]:
            inner, reached = _walked(layer)
            kept |= inner
            if any(reached):
                kept.add(id(layer))  # a model casts its inputs, too
            for call in calls:
                exact = len(call) == len(reached)
                waiting += [name for name, one in zip(call, reached, strict=True) if one] if exact else call
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in seen or name not in by_name:
            continue
        seen.add(name)
        kept |= {id(layer) for layer in objects(by_name[name])}
        waiting += [parent for call in parents[name] for parent in call]
    return kept, [name in seen for name in _inputs(model, layers)] or [_starts_with_embedding(layers)]


def _parents(layers: Sequence[Layer], index: int) -> Iterator[list[str]]:
    """Yield for each call of a layer the names of those that it gets tensors from, in order."""
    nodes = layers[index].get("inbound_nodes")
    if nodes is None:  # of a sequential model
        yield [_name(layers[index - 1])] if index else []
        return
    for node in nodes:
        yield list(_histories(node))


def _histories(node: Any) -> Iterator[str]:
    """Yield the names of layers in a call, and in a list of inputs: [name, call, tensor]."""
    if isinstance(node, dict):
        if isinstance(history := node.get("keras_history"), list) and history:
            yield str(history[0])
            return
        for value in node.values():
            yield from _histories(value)
    elif isinstance(node, list):
        if len(node) >= 3 and isinstance(node[0], str) and isinstance(node[1], int):
            yield node[0]
            return
        for item in node:
            yield from _histories(item)


def _inputs(model: Layer, layers: Sequence[Layer]) -> list[str]:
    """Return the names of a model's inputs; of a sequential model that of its InputLayer."""
    if "input_layers" in model["config"]:
        return list(_histories(model["config"]["input_layers"]))
    return [_name(layer) for layer in layers[:1] if layer["class_name"] == "InputLayer"]


def _starts_with_embedding(layers: Sequence[Layer]) -> bool:
    return bool(layers) and layers[0]["class_name"] == "Embedding"


def _name(layer: Layer) -> str:
    return str(layer["config"].get("name", layer.get("name", "")))
