"""The structure of a Keras model as JSON, checked before Keras reads it.

Keras imports the modules and calls the classes that this JSON names, so every name is looked up here first:
it must be an initializer, regularizer, constraint or dtype policy of Keras itself, or one of the accepted
layers (`allowed_layers`) and operations (`allowed_operations`). Nothing is imported by name. The settings of
a compiled model (losses, metrics, optimizers), also of one inside another, are dropped.
"""

import json
import sys
from collections.abc import Iterator
from typing import Any

import keras

# What keras.saving.load_model does between reading a structure and reading weights has no public name.
from keras.src.legacy.saving import json_utils, saving_options, saving_utils
from keras.src.saving.serialization_lib import ObjectSharingScope, SafeModeScope

from modelpress.bounds import json_values
from modelpress.models.keras import allowed_layers, allowed_operations, nodes, way_out
from modelpress.models.keras.keras_2 import structure
from modelpress.models.safety.limits import MAX_CONFIG_BYTES, MAX_CONFIG_OBJECTS, MAX_CONFIG_VALUES
from modelpress.models.types import first_line, invalid, unsupported

MODELS = ("Functional", "Sequential", "Model")
_VALUES = (
    "__keras_tensor__",
    "__tuple__",
    "__tensor__",
    "__numpy__",
    "__ellipsis__",
    "__bytes__",
    "__slice__",
)
_CONSTANTS = ("__tensor__", "__numpy__")
_BASES = (
    keras.Initializer,
    keras.Regularizer,
    keras.constraints.Constraint,
    keras.DTypePolicy,
)
_MAX_DEPTH = 200  # a model in a model takes six; Keras reads by recursion
_NAMESPACES = (keras.layers, keras, keras.initializers, keras.regularizers, keras.constraints)


def parse(text: str | bytes, name: str, keras_2: bool = False) -> dict[str, Any]:
    """Read the JSON of a model and check it; `name` is the file that messages speak of.

    A structure of Keras 2 is checked and returned in the form of Keras 3.

    Raises InvalidModel where it is broken or not safe, UnsupportedModel where it needs its author's code.
    """
    if len(text) > MAX_CONFIG_BYTES:
        raise invalid(f"{name}: the model's structure is larger than {MAX_CONFIG_BYTES} bytes")
    if json_values.count(text) > MAX_CONFIG_VALUES:
        raise invalid(f"{name}: the model's structure has more than {MAX_CONFIG_VALUES} values")
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise invalid(f"{name}: the model's structure is not JSON: {first_line(error)}") from error
    if not isinstance(config, dict) or not isinstance(config.get("config"), dict | list):
        raise invalid(f"{name}: the model's structure is not that of a Keras model")
    if config.get("class_name") not in MODELS:
        kind = config.get("class_name")
        raise unsupported(
            f"{name}: {kind} is a subclassed keras.Model, whose code is not in the file: {way_out.EXPORT}"
        )
    model: dict[str, Any] = structure.modernized(config) if keras_2 else config
    for count, entry in enumerate(_objects(model, name), start=1):
        if count > MAX_CONFIG_OBJECTS:
            raise invalid(f"{name}: the model's structure has more than {MAX_CONFIG_OBJECTS} objects")
        _check(entry, name)
    return model


def build(config: dict[str, Any]) -> keras.Model:
    """Build the model that the checked structure of a .keras file describes, with fresh weights."""
    with ObjectSharingScope():
        model: keras.Model = keras.saving.deserialize_keras_object(config, safe_mode=True)
    return model


def build_legacy(config: dict[str, Any]) -> keras.Model:
    """Build the model that the checked structure of an .h5 file describes, with fresh weights."""
    decoded = json_utils.decode(json.dumps(config))
    with saving_options.keras_option_scope(use_legacy_config=True), SafeModeScope(True):
        model: keras.Model = saving_utils.model_from_config(decoded)
    return model


def _objects(value: Any, name: str, depth: int = 0) -> Iterator[dict[str, Any]]:
    if depth > _MAX_DEPTH:
        raise invalid(f"{name}: the model's structure is nested too deeply")
    if isinstance(value, dict):
        if "class_name" in value:
            value.pop("compile_config", None)
            yield value
        for item in value.values():
            yield from _objects(item, name, depth + 1)
    elif isinstance(value, list):
        for item in value:
            yield from _objects(item, name, depth + 1)


def _check(entry: dict[str, Any], name: str) -> None:
    class_name, module = entry["class_name"], entry.get("module")
    if not isinstance(class_name, str) or not (module is None or isinstance(module, str)):
        raise invalid(f"{name}: the model's structure has a class_name or module that is no text")
    if class_name in _VALUES:
        if class_name in _CONSTANTS:
            nodes.check_constant(entry, name)
        return
    where = f"{name}: {_title(entry)}"
    if class_name in allowed_operations.REFUSED:
        raise invalid(f"{where} is not accepted: it makes a value of its own, or calls a function")
    if error := way_out.refusal(where, class_name):
        raise error
    registered = entry.get("registered_name")
    custom = module is not None and module.split(".")[0] != "keras"
    if custom or class_name == "function" or registered not in (None, class_name) or ">" in class_name:
        raise unsupported(f"{where} is code that is not in the file: {way_out.EXPORT}")
    if not _is_known(module, class_name):
        raise way_out.unknown(where, module, keras.__version__)
    nodes.check_calls(entry, where)
    if class_name == "DTypePolicyMap":
        nodes.check_policies(entry, where)


def _is_known(module: str | None, class_name: str) -> bool:
    # keras.src.* modules are all imported with keras: a name that is missing there is not Keras' own
    namespaces = _NAMESPACES if module is None else (sys.modules.get(module), _attribute(module))
    found = [getattr(namespace, class_name, None) for namespace in namespaces]
    if class_name in MODELS:
        return True
    return any(isinstance(item, type) and _is_harmless(item) for item in found)


def _is_harmless(kind: type) -> bool:
    if issubclass(kind, keras.Layer):
        return kind.__name__ in allowed_layers.ALLOWED
    if issubclass(kind, keras.Operation):
        return kind.__name__ in allowed_operations.ALLOWED
    return issubclass(kind, _BASES)


def _attribute(module: str) -> Any:
    found: Any = keras
    for part in module.split(".")[1:]:
        found = getattr(found, part, None)
    return found


def _title(entry: dict[str, Any]) -> str:
    config = entry.get("config")
    label = config.get("name") if isinstance(config, dict) else config
    return f"{entry['class_name']} {label!r}" if isinstance(label, str) else str(entry["class_name"])
