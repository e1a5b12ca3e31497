"""The part of a SavedModel that its serving signature reaches; the rest is never loaded.

Keras 2 stores much that serves nobody: what saves, what trains, what adapted a Normalization layer to data,
what draws random numbers. Only what stays is checked, and nothing else can be called: it is not in what
TensorFlow loads.
"""

from collections.abc import Iterable
from typing import Any

from modelpress.models.types import invalid, unsupported

_DEFAULT = "serving_default"
_EMPTY = "_generic_user_object"  # TensorFlow's name of an object without anything of its own
_CUSTOM_GRADIENT = "_gradient_op_type"


def keep_signature(graph: Any, name: str) -> None:
    """Take everything out of a graph of a SavedModel that its signature does not need, in place.

    Raises UnsupportedModel where no signature can be chosen, InvalidModel where the parts do not fit.
    """
    objects, library = graph.object_graph_def, graph.graph_def.library
    try:
        chosen, holder = _signature(objects, name)
        served = set(_functions(objects.nodes[holder]))
        bound = {holder, *(i for key in served for i in objects.concrete_functions[key].bound_inputs)}
        _ = [objects.nodes[i] for i in bound]
    except IndexError as error:
        raise invalid(f"{name}: the graph names an object that it has not") from error
    _keep(_signatures(objects), lambda child: child.local_name == chosen)
    known = {function.signature.name: function for function in library.function}
    reached = _reached(served, known, library)
    _keep(library.function, lambda item: item.signature.name in reached)
    _keep(library.gradient, lambda item: item.function_name in reached)
    _keep(library.registered_gradients, lambda item: item.gradient_func in reached)
    _keep(graph.graph_def.node, lambda item: item.op == "Const")  # the graph only gives values of constants
    for key in [key for key in objects.concrete_functions if key not in served]:
        del objects.concrete_functions[key]
    for i, item in enumerate(objects.nodes):
        _strip(item, i in bound)
    graph.ClearField("saver_def")
    graph.ClearField("collection_def")


def called(node: Any) -> list[str]:
    """Return the functions that a node of a graph names."""
    names = []
    for attribute in node.attr.values():
        if attribute.HasField("func"):
            names.append(attribute.func.name)
        names.extend(function.name for function in attribute.list.func)
    return names


def closure(names: Iterable[str], functions: dict[str, Any]) -> set[str]:
    """Return the functions among these names, and those that they can call, directly or through others."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in functions and name not in found:
            found.add(name)
            waiting.extend(inner for node in functions[name].node_def for inner in called(node))
    return found


def signature_functions(graph: Any, name: str) -> set[str]:
    """Return the concrete functions of the signature that serves. Raises like `keep_signature`."""
    try:
        _, holder = _signature(graph.object_graph_def, name)
        return set(_functions(graph.object_graph_def.nodes[holder]))
    except IndexError as error:
        raise invalid(f"{name}: the graph names an object that it has not") from error


def _signatures(objects: Any) -> Any:
    """Return the signatures by name and object, as they stand in the message."""
    folders = [child.node_id for child in objects.nodes[0].children if child.local_name == "signatures"]
    return objects.nodes[folders[0]].children if folders else []


def _signature(objects: Any, name: str) -> tuple[str, int]:
    """Return name and object of the signature that serves."""
    found = {child.local_name: child.node_id for child in _signatures(objects)}
    if _DEFAULT not in found and len(found) != 1:
        listed = ", ".join(sorted(found)) or "none"
        raise unsupported(f"{name}: needs the signature {_DEFAULT}; it has {listed[:200]}")
    chosen = _DEFAULT if _DEFAULT in found else next(iter(found))
    return chosen, int(found[chosen])


def _functions(item: Any) -> list[str]:
    if item.WhichOneof("kind") == "bare_concrete_function":
        return [item.bare_concrete_function.concrete_function_name]
    return list(item.function.concrete_functions)


def _reached(served: set[str], known: dict[str, Any], library: Any) -> set[str]:
    """Return the functions that a call of the signature can run, and what differentiates them."""
    custom = {item.registered_op_type: item.gradient_func for item in library.registered_gradients}
    plain = {item.function_name: item.gradient_func for item in library.gradient}
    reached: set[str] = set()
    waiting = served
    while waiting:
        new = closure(waiting, known) - reached
        reached |= new
        gradients = {plain[key] for key in new if key in plain}
        for key in new:
            for node in known[key].node_def:
                if _CUSTOM_GRADIENT in node.attr:  # reading an attribute that is not there would make it
                    kind = node.attr[_CUSTOM_GRADIENT].s.decode(errors="replace")
                    gradients |= {custom[kind]} if kind in custom else set()
        waiting = gradients - reached
    return reached


def _strip(item: Any, is_bound: bool) -> None:
    """Make an object that only keeps what serving needs; optimizers' slots fail to load in old models."""
    for field in ("slot_variables", "registered_name", "registered_saver", "saveable_objects"):
        item.ClearField(field)
    if not is_bound and item.WhichOneof("kind") not in ("user_object", "variable", None):
        children = list(item.children)
        item.Clear()
        item.children.extend(children)
        item.user_object.identifier = _EMPTY
        item.user_object.version.producer = item.user_object.version.min_consumer = 1


def _keep(items: Any, wanted: Any) -> None:
    kept = [item for item in items if wanted(item)]
    del items[:]
    items.extend(kept)
