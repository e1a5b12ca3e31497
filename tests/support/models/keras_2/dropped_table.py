"""The settings of layers that Keras 2 writes and Keras 3 does not take, from what both libraries do.

python -m tests.support.models.keras_2.dropped_table      writes keras_2/dropped.py of the product
"""

import inspect
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import keras
from keras.src.legacy import layers as legacy_layers

from modelpress.models.keras.keras_2 import settings as keras_2_settings
from modelpress.models.keras.keras_2 import structure
from modelpress.models.keras.keras_2.dropped import DROPPED
from tests.support.models.keras_2 import material

_WIDTH = 110  # of a line
TARGET = Path(structure.__file__).with_name("dropped.py")
_HEAD = '''"""Settings of layers that Keras 2 writes and Keras 3 does not take, by layer, with their defaults.

None: any value means the same to a trained model. Written by a program, which asks both libraries:
python -m tests.support.models.keras_2.dropped_table
"""

from typing import Any

DROPPED: dict[str, dict[str, Any]] = '''


def render() -> str:
    """Return the module's text, from what every Keras 2 of the tests wrote."""
    found: dict[str, dict[str, Any]] = {}
    for written in material.settings():
        for name, settings in written.items():
            for key, value in dropped(name, settings).items():
                found.setdefault(name, {}).setdefault(key, value)
    return _HEAD + "{\n" + "".join(_line(name, found[name]) for name in sorted(found)) + "}\n"


def _line(name: str, settings: Mapping[str, Any]) -> str:
    """Return one layer of the table as `ruff format` has it."""
    items = [f'"{key}": {_literal(settings[key])}' for key in sorted(settings)]
    line = f'    "{name}": {{{", ".join(items)}}},\n'
    if len(line) <= _WIDTH + 1:
        return line
    return f'    "{name}": {{\n' + "".join(f"        {item},\n" for item in items) + "    },\n"


def _literal(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


def dropped(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a layer that its class in this Keras does not take, with their values."""
    kind = getattr(keras.layers, name, None) or getattr(legacy_layers, name, None)
    if kind is None or name in keras_2_settings.COMPUTES_OTHERWISE:
        return {}
    new = structure._layer({"class_name": name, "config": settings})["config"]
    taken = {key: item for key, item in new.items() if key in _parameters(kind)}
    refused = [key for key in new if key not in taken and not _takes(kind, {**taken, key: new[key]})]
    # those that modern_settings drops with the table as it is are named by it, or they would leave it
    gone = [key for key in DROPPED.get(name, {}) if key in settings]
    gone = [key for key in gone if not _takes(kind, {**taken, key: settings[key]})]
    return {key: _default(key, settings[key]) for key in sorted({*refused, *gone})}


def _default(key: str, value: Any) -> Any:
    return None if keras_2_settings.is_without_effect(key) else value


def _takes(kind: Any, settings: Mapping[str, Any]) -> bool:
    try:
        kind.from_config(dict(settings))
    except (TypeError, ValueError):
        return False
    finally:
        keras.utils.clear_session()
    return True


def _parameters(kind: Any) -> set[str]:
    """Return what the constructor takes by name, and those that it hands its other settings on to."""
    found: set[str] = set()
    for base in inspect.getmro(kind):
        if "__init__" not in vars(base):
            continue
        parameters: Iterable[inspect.Parameter] = inspect.signature(
            vars(base)["__init__"]
        ).parameters.values()
        found |= {item.name for item in parameters if item.kind is not item.VAR_KEYWORD}
        if not any(item.kind is item.VAR_KEYWORD for item in parameters):
            break
    return found


if __name__ == "__main__":
    TARGET.write_text(render(), encoding="utf-8")
