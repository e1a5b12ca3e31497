"""Hostile .keras files: structures that run code, read files, open connections or fill the memory.

Each known attack on Keras' own loader has a row with its number.
"""

import base64
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from modelpress.api.conditions import Reason
from tests.support.hostile.files import HostileFiles, Row

Config = dict[str, Any]
_CODE = "not in the file"


def rewritten(files: HostileFiles, edit: Callable[[Config], None]) -> Path:
    """Write the functional network with its structure edited."""
    with zipfile.ZipFile(files.models.functional) as file:
        config = json.loads(file.read("config.json"))
    edit(config)
    return with_structure(files, json.dumps(config))


def with_structure(files: HostileFiles, text: str | bytes, compression: int = zipfile.ZIP_STORED) -> Path:
    """Write the functional network with another text as its structure."""
    path = files.folder / "model.keras"
    with zipfile.ZipFile(files.models.functional) as old, zipfile.ZipFile(path, "w", compression) as new:
        for name in old.namelist():
            new.writestr(name, text if name == "config.json" else old.read(name))
    return path


class _Payload:
    """Runs a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (self.command,)


def _layer(make: Callable[[HostileFiles], Config], files: HostileFiles) -> Path:
    """Replace a layer, keeping its name and its connections."""

    def edit(config: Config) -> None:
        layer = config["config"]["layers"][1]
        new = make(files)
        new.setdefault("registered_name", None)
        new["config"].setdefault("name", "first")
        layer.pop("build_config", None)
        layer.pop("module", None)
        layer.update(new)

    return rewritten(files, edit)


def _setting(key: str, make: Callable[[HostileFiles], Any], files: HostileFiles) -> Path:
    """Replace a setting of a Dense layer."""

    def edit(config: Config) -> None:
        config["config"]["layers"][1]["config"][key] = make(files)

    return rewritten(files, edit)


def _lambda(files: HostileFiles) -> Path:
    import keras

    source = keras.Input((64,))
    code = eval(f"lambda x: (open({str(files.traps.marker)!r}, 'w'), x)[1]")
    files.traps.marker.unlink(missing_ok=True)
    model = keras.Model(source, keras.layers.Lambda(code, output_shape=(64,))(source))
    files.traps.marker.unlink(missing_ok=True)  # Keras ran it once to make the model
    model.save(files.folder / "model.keras")
    return files.folder / "model.keras"


def _touch(files: HostileFiles) -> str:
    return f"touch {files.traps.marker}"


def _torch(files: HostileFiles) -> Config:
    module = base64.b64encode(pickle.dumps(_Payload(_touch(files)))).decode()
    settings = {"module": {"class_name": "__bytes__", "config": {"value": module}}}
    return {"module": "keras.layers", "class_name": "TorchModuleWrapper", "config": settings}


def _named(class_name: str, module: str = "keras.layers", **config: Any) -> Callable[[HostileFiles], Config]:
    return lambda files: {
        "module": module,
        "class_name": class_name,
        "config": dict(config),
        "registered_name": class_name,
    }


def _function(module: str, name: str) -> Callable[[HostileFiles], Config]:
    return lambda files: {
        "module": module,
        "class_name": "function",
        "config": name,
        "registered_name": "function",
    }


def _vocabulary(class_name: str, place: Callable[[HostileFiles], str]) -> Callable[[HostileFiles], Config]:
    return lambda files: {
        "module": "keras.layers",
        "class_name": class_name,
        "config": {"vocabulary": place(files)},
    }


def _wrapped(files: HostileFiles) -> Config:
    inner = {"module": "keras.layers", "class_name": "Lambda", "config": {"function": _touch(files)}}
    return {"module": "keras.layers", "class_name": "TimeDistributed", "config": {"layer": inner}}


def _in_nested_list(files: HostileFiles) -> Config:
    return {"deep": [[{"module": "os", "class_name": "system", "config": {"command": _touch(files)}}]]}


def _sizes(first: int, second: int, files: HostileFiles) -> Path:
    def edit(config: Config) -> None:
        layers = config["config"]["layers"]
        for layer, units in zip(layers[1:3], (first, second), strict=True):
            layer["config"]["units"] = units
        for layer, size in zip(layers[2:4], (first, second), strict=True):
            layer["build_config"] = {"input_shape": [None, size]}
            layer["inbound_nodes"][0]["args"][0]["config"]["shape"] = [None, size]

    return rewritten(files, edit)


def _grown(make: Callable[[Any], Any], shape: tuple[int, ...], files: HostileFiles) -> Path:
    """Write a network without weights whose layer makes a huge value of a small one."""
    import keras

    source = keras.Input(shape)
    keras.Model(source, make(source)).save(files.folder / "model.keras")
    return files.folder / "model.keras"


def _embedding(files: HostileFiles) -> Path:
    return _layer(_named("Embedding", input_dim=2**40, output_dim=64), files)


def _repeat(source: Any) -> Any:
    import keras

    return keras.layers.RepeatVector(2**40)(source)


def _upsample(source: Any) -> Any:
    import keras

    return keras.layers.UpSampling2D(2**16)(source)


def _pad(source: Any) -> Any:
    import keras

    return keras.layers.ZeroPadding2D(2**18)(source)


def _ones(source: Any) -> Any:
    import keras

    return source + keras.layers.GlobalAveragePooling1D()(keras.layers.RepeatVector(2**33)(source))


def _called(operation: Config, args: list[Any], files: HostileFiles) -> Path:
    """Add a call of an operation of Keras to the network."""
    operation = {"module": "keras.src.ops.numpy", "registered_name": operation["class_name"], **operation}
    settings = {"name": "added", **operation.get("config", {})}
    node = {"args": args, "kwargs": {}}

    def edit(config: Config) -> None:
        added = {**operation, "config": settings, "name": "added", "inbound_nodes": [node]}
        config["config"]["layers"].append(added)

    return rewritten(files, edit)


def _operation(class_name: str, **config: Any) -> Config:
    return {"class_name": class_name, "config": config}


def _constant(value: Any, dtype: str = "float32", kind: str = "__tensor__") -> Config:
    return {"class_name": kind, "config": {"value": value, "dtype": dtype}}


def _input() -> Config:
    return {
        "class_name": "__keras_tensor__",
        "config": {"shape": [None, 64], "dtype": "float32", "keras_history": ["image", 0, 0]},
    }


def _in_a_slice(kind: str) -> Config:
    """Put a tensor where Keras does not see it, so that the call is computed at once."""
    return {"class_name": kind, "config": {"start": _input(), "stop": None, "step": None}}


def _endless_pattern(files: HostileFiles) -> Config:
    """Give a layer's sublayers dtypes by a regular expression that takes for ever."""
    policy = {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "float32"}}
    policies = {
        "module": "keras.dtype_policies",
        "class_name": "DTypePolicyMap",
        "config": {"default_policy": "float32", "policy_map": {"(a*)*b": dict(policy, registered_name=None)}},
        "registered_name": None,
    }
    config = {"name": "a" * 60, "dtype": policies, "units": 32}
    return {"module": "keras.layers", "class_name": "Dense", "config": config}


def _normalize(files: HostileFiles) -> Path:
    """Write a layer that, while it is built, computes constants as large as its input."""
    import keras

    source = keras.Input((64,))
    output = keras.layers.Normalization(mean=0.0, variance=1.0)(source)
    keras.Model(source, output).save(files.folder / "small.keras")
    with zipfile.ZipFile(files.folder / "small.keras") as file:
        text = file.read("config.json").replace(b"64", str(2**29).encode())
    return with_structure(files, text)


def _many_layers(files: HostileFiles) -> Path:
    def edit(config: Config) -> None:
        policy = {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "float32"}}
        policies = [dict(policy, registered_name=None) for _ in range(31_000)]
        config["config"]["layers"][1]["config"]["extra"] = policies

    return rewritten(files, edit)


def _padded(text: bytes, files: HostileFiles) -> Path:
    """Write a structure that compresses well beside weights that do not: the ratio is moderate."""
    path = with_structure(files, text, zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("padding", os.urandom(2**20))
    return path


def _lines(files: HostileFiles) -> Config:
    return {"module": "keras.layers", "class_name": "Dense\nerror: all is well\x1b[2J", "config": {}}


def _secret(files: HostileFiles) -> str:
    return str(files.traps.secret)


def _url(files: HostileFiles) -> str:
    return files.traps.url


def _row(
    name: str, make: Callable[[HostileFiles], Config], words: str, reason: Reason = Reason.INVALID_MODEL
) -> Row:
    return Row(f"keras-{name}", partial(_layer, make), words, reason)


def _initializer(
    name: str, make: Callable[[HostileFiles], Any], words: str, reason: Reason = Reason.INVALID_MODEL
) -> Row:
    return Row(f"keras-{name}", partial(_setting, "kernel_initializer", make), words, reason)


_UNSUPPORTED = Reason.UNSUPPORTED_MODEL
_BILLION = 10**9
_ALONE = "called with constants alone"
# Calls that Keras computes while it builds the model: name, operation, its settings, arguments, words.
_CONSTANT_CALLS: list[tuple[str, str, Config, list[Any], str]] = [
    ("Arange", "Arange", {}, [0, _BILLION], "makes a value of its own"),
    ("Full", "Full", {"shape": [_BILLION]}, [1.0], "makes a value of its own"),
    ("Linspace", "Linspace", {"num": _BILLION}, [0.0, 1.0], "makes a value of its own"),
    ("Repeat", "Repeat", {"repeats": _BILLION, "axis": 0}, [_constant([1.0])], _ALONE),
    ("Tile", "Tile", {"repeats": [_BILLION]}, [_constant([1.0])], _ALONE),
    ("BroadcastTo", "BroadcastTo", {"shape": [_BILLION]}, [_constant([1.0])], _ALONE),
    ("Outer", "Outer", {}, [_constant([1.0] * 40_000)] * 2, _ALONE),
    ("of-no-arguments", "Tile", {"repeats": [_BILLION]}, [], _ALONE),
    ("of-a-slice", "Tile", {"repeats": [_BILLION]}, [_constant([1.0]), _in_a_slice("__slice__")], _ALONE),
    ("numpy-text", "Abs", {}, [_input(), _constant(["x"], "U100000000", "__numpy__")], "has the dtype 'U1"),
    ("numpy-bytes", "Abs", {}, [_input(), _constant([0], "V1000000000", "__numpy__")], "has the dtype 'V1"),
    ("numpy-object", "Abs", {}, [_input(), _constant([0], "O", "__numpy__")], "has the dtype 'O'"),
]
ROWS = [
    Row("keras-Lambda", _lambda, "Lambda 'lambda", _UNSUPPORTED),
    _row("Lambda-in-TimeDistributed", _wrapped, "Lambda is not accepted", _UNSUPPORTED),
    _row(
        "Lambda-by-its-file", _named("Lambda", "keras.src.layers.core.lambda_layer"), "Lambda", _UNSUPPORTED
    ),
    _row("CVE-2025-49655-pickle", _torch, "TorchModuleWrapper", _UNSUPPORTED),
    _row("CVE-2026-1462-TFSMLayer", _named("TFSMLayer", filepath="/etc"), "TFSMLayer", _UNSUPPORTED),
    _row("JaxLayer", _named("JaxLayer"), "JaxLayer", _UNSUPPORTED),
    _row("CVE-2025-12058-StringLookup", _vocabulary("StringLookup", _secret), "StringLookup", _UNSUPPORTED),
    _row("CVE-2025-12058-download", _vocabulary("StringLookup", _url), "StringLookup", _UNSUPPORTED),
    _row("IntegerLookup", _vocabulary("IntegerLookup", _secret), "IntegerLookup", _UNSUPPORTED),
    _row("TextVectorization", _vocabulary("TextVectorization", _secret), "TextVectorization", _UNSUPPORTED),
    _row("Distiller", _named("Distiller", "keras.src.distillation.distiller"), "no such layer"),
    _row("foreign-module", _named("Dense", "my_package.layers"), _CODE, _UNSUPPORTED),
    _row("CVE-2025-1550-os.system", _named("system", "os", command="id"), _CODE, _UNSUPPORTED),
    _row("subprocess", _named("Popen", "subprocess", args="id"), _CODE, _UNSUPPORTED),
    _row("builtins.exec", _named("exec", "builtins"), _CODE, _UNSUPPORTED),
    _row("registered-name", _named("evil>Dense"), _CODE, _UNSUPPORTED),
    _row("lines-in-a-name", _lines, "Dense?error: all is well?[2J", _UNSUPPORTED),
    _initializer("function-eval", _function("builtins", "eval"), _CODE, _UNSUPPORTED),
    _initializer("function-os", _function("os", "system"), _CODE, _UNSUPPORTED),
    _initializer("CVE-2025-8747-get_file", _named("get_file", "keras.utils"), "no such layer"),
    _initializer("get_file-function", _function("keras.utils", "get_file"), _CODE, _UNSUPPORTED),
    _initializer("CVE-2025-9906-unsafe", _named("enable_unsafe_deserialization", "keras.config"), "no such"),
    _initializer("load_model", _named("load_model", "keras.saving"), "no such layer"),
    _initializer("module-of-a-module", _named("system", "keras.os"), "no such layer"),
    _initializer("import", _named("Module", "keras.src.testing.test_case"), "no such layer"),
    _initializer("__lambda__", _named("__lambda__", "builtins", value="x"), "Python code", _UNSUPPORTED),
    _initializer("__typespec__", _named("__typespec__", "tensorflow"), _CODE, _UNSUPPORTED),
    _initializer("in-a-list", _in_nested_list, _CODE, _UNSUPPORTED),
    Row("keras-shape-bomb-Dense", partial(_sizes, 2**40, 2**40), "bytes of weights"),
    Row("keras-shape-bomb-one-layer", partial(_sizes, 2**32, 32), "bytes of weights"),
    Row("keras-shape-bomb-Embedding", _embedding, "model.keras"),
    Row("keras-value-bomb-RepeatVector", partial(_grown, _repeat, (8,)), "one row"),
    Row("keras-value-bomb-UpSampling", partial(_grown, _upsample, (8, 8, 1)), "one row"),
    Row("keras-value-bomb-ZeroPadding", partial(_grown, _pad, (8, 8, 1)), "one row"),
    Row("keras-value-bomb-inside", partial(_grown, _ones, (8,)), "one row"),
    *(
        Row(f"keras-constant-{name}", partial(_called, _operation(operation, **config), args), words)
        for name, operation, config, args, words in _CONSTANT_CALLS
    ),
    _row("endless-pattern", _endless_pattern, "is not the path of a layer"),
    Row("keras-computed-in-build", _normalize, "would be computed while the model is built"),
    Row("keras-many-objects", _many_layers, "more than 30000 objects"),
    Row("keras-many-values", partial(with_structure, text="[" + "[],[[]]," * 800_000 + "0]"), "values"),
    Row("keras-deep", partial(with_structure, text="[" * 400_000), "not JSON"),
    Row("keras-deep-objects", partial(with_structure, text='{"a":' * 200_000), "not JSON"),
    Row("keras-long-structure", partial(_padded, b" " * 2**26), "larger than 8388608"),
    Row("keras-not-a-model", partial(with_structure, text="[]"), "not that of a Keras model"),
]
