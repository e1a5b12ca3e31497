"""Random Jobs: specs and data sets for small models, as users write them and as they do not.

A Job runs in this process; what comes back is the exit code that its container would have, and the reason.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from modelpress.api.contract import REQUEST, STORE, TERMINATION_MESSAGE, WORK_DIR
from modelpress.api.evaluation import Metric
from modelpress.api.schemes import TRAITS, DeviceType
from modelpress.artifacts.termination import run_reporting
from modelpress.compression import job
from modelpress.models.load import load
from modelpress.models.types import Array, TensorSpec
from tests.support.models import of_formats

ROWS = 40
ACCEPTED = (0, 64, 65)  # exit codes of what users do: done, a wrong spec, a wrong model or data set


@dataclass(frozen=True)
class Served:
    """A model file, and what it takes and gives."""

    path: Path
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True)
class AnyJob:
    """What is asked for, with data sets by their role."""

    model: str
    request: dict[str, Any]
    data: dict[str, dict[str, Array]]


@dataclass(frozen=True)
class End:
    """How a Job ended."""

    code: int
    message: dict[str, Any]


def ids(folder: Path) -> Path:
    """Write a model that gives class numbers."""
    import keras

    x = keras.Input((6,), name="x")
    scores = keras.layers.Dense(4)(keras.layers.Dense(40, activation="relu")(x))
    return _saved(keras.Model(x, keras.ops.argmax(scores, axis=-1)), folder)


def binary(folder: Path) -> Path:
    """Write a model with one column of logits, whose input is called y."""
    import keras

    x = keras.Input((6,), name="y")
    return _saved(keras.Model(x, keras.layers.Dense(1, name="out")(keras.layers.Dense(40)(x))), folder)


def columns(folder: Path) -> Path:
    """Write a model that looks up two columns of one input, behind float ids of another."""
    import keras

    pair, float_id = keras.Input((2,), dtype="int32", name="pair"), keras.Input((1,), name="id")
    parts = [
        keras.layers.Embedding(9, 8)(pair[:, 0]),
        keras.layers.Embedding(5, 8)(pair[:, 1]),
        keras.layers.Flatten()(keras.layers.Embedding(7, 8)(float_id)),
    ]
    return _saved(
        keras.Model([pair, float_id], keras.layers.Dense(3)(keras.layers.Concatenate()(parts))), folder
    )


def flags(folder: Path) -> Path:
    """Write a model that takes booleans, and gives sigmoids of several labels."""
    import keras

    x = keras.Input((5,), dtype="bool", name="x")
    hidden = keras.layers.Dense(40)(keras.ops.cast(x, "float32"))
    return _saved(keras.Model(x, keras.layers.Dense(3, activation="sigmoid")(hidden)), folder)


def _saved(model: Any, folder: Path) -> Path:
    model.save(folder / "model.keras")
    return folder / "model.keras"


# None with free sizes beside the batch: how much memory longer inputs take is measured for a minute each.
MODELS: dict[str, Callable[[Path], Path]] = {
    function.__name__: function
    for function in (
        *(ids, binary, columns, flags),
        *(of_formats.functional, of_formats.several, of_formats.embedding, of_formats.uint8_image),
        *(of_formats.module, of_formats.gru_fixed_batch, of_formats.all_float16, of_formats.exported),
    )
}


def make(name: str, folder: Path) -> Served:
    """Write a model of `MODELS` into a folder of its own below `folder`."""
    target = folder / name
    target.mkdir()
    path = MODELS[name](target)
    found = load(path, target / "work")
    return Served(path, found.inputs, found.outputs)


def play(folder: Path, device: DeviceType, count: int, random_seed: int) -> None:
    """Run so many random Jobs; fails with the first, made small, that ends with an error of ours."""
    models = {name: make(name, folder) for name in MODELS}

    @seed(random_seed)
    @settings(max_examples=count, database=None, suppress_health_check=list(HealthCheck))
    @given(made=any_jobs(models, (device,)))
    def play_one(made: AnyJob) -> None:
        end = run(made, models)
        assert end.code in ACCEPTED, end.message
        assert end.code == 0 or end.message["message"]

    play_one()


def any_jobs(models: dict[str, Served], devices: tuple[DeviceType, ...]) -> SearchStrategy[AnyJob]:
    """Return Jobs of any spec, two in three with a mistake in a data set."""
    return _any_job(models, devices)


@st.composite
def _any_job(draw: DrawFn, models: dict[str, Served], devices: tuple[DeviceType, ...]) -> AnyJob:
    name = draw(st.sampled_from(sorted(models)))
    request = draw(_specs(devices))
    roles = ("evaluation", "calibration", "training")
    data = {role: _good(models[name], seed) for seed, role in enumerate(roles)}
    for role in draw(st.lists(st.sampled_from(roles), max_size=2)):
        data[role] = draw(_mistaken(data[role]))
    return AnyJob(name, request, data)


@st.composite
def _specs(draw: DrawFn, devices: tuple[DeviceType, ...]) -> dict[str, Any]:
    device = draw(st.sampled_from(devices))
    limits = draw(
        st.fixed_dictionaries(
            {"metric": st.sampled_from([metric.value for metric in Metric])},
            optional={"minScore": st.just("1%"), "maxDrop": st.just("50%"), "maxSize": st.just("1Mi")},
        )
    )
    compression = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "quantization": st.fixed_dictionaries({"scheme": st.sampled_from(_schemes(device))}),
                "pruning": st.sampled_from(
                    [
                        {"sparsity": "50%"},
                        {"sparsity": "100%"},
                        {"sparsity": "30%", "granularity": "Channel"},
                        {"l0Penalty": "0.001"},
                        {"l0Penalty": "1e6"},
                        {"l0Penalty": "0.01", "granularity": "Channel"},
                    ]
                ),
            },
        )
    )
    tuning = {"epochs": st.just(1), "batchSize": st.sampled_from([1, 7, 64])}
    rates = st.sampled_from(["0.001", "100", "1e10", "1e38"])
    clips = [{"min": "-1", "max": "1"}, {"min": "0", "max": "1e-40"}, {"min": "0.4", "max": "0.5"}]
    optimization = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "fineTuning": st.fixed_dictionaries(tuning, optional={"learningRate": rates}),
                "weightClipping": st.sampled_from(clips),
            },
        )
    )
    return {
        "deviceType": device.value,
        "evaluation": draw(st.sampled_from([None, limits])),
        "compression": compression or None,
        "optimization": optimization or None,
    }


def _schemes(device: DeviceType) -> list[str]:
    """Return those that the device can serve; Auto makes all of them and is none of this table."""
    return [scheme.value for scheme, traits in TRAITS.items() if device in traits.memory]


def _good(model: Served, seed: int) -> dict[str, Array]:
    random = np.random.default_rng(seed)
    arrays = {spec.name: _values(random, spec, 5) for spec in model.inputs}
    labels = {spec.name: _labels(random, spec) for spec in model.outputs}
    if len(labels) == 1:
        labels = {"y" if "y" not in arrays else name: array for name, array in labels.items()}
    return {**arrays, **labels}


def _values(random: np.random.Generator, spec: TensorSpec, top: int) -> Array:
    shape = (ROWS, *(size if size > 0 else 12 for size in spec.shape[1:]))
    if np.dtype(spec.dtype).kind == "f" and spec.table is None:
        return random.standard_normal(shape).astype(spec.dtype)
    return random.integers(0, top if np.dtype(spec.dtype).kind != "b" else 2, shape).astype(spec.dtype)


def _labels(random: np.random.Generator, spec: TensorSpec) -> Array:
    if np.dtype(spec.dtype).kind != "f":
        return _values(random, spec, 4)
    sizes = [size if size > 0 else 12 for size in spec.shape[1:]]
    return random.integers(0, max(2, sizes[-1]) if sizes else 2, (ROWS, *sizes[:-1]))


_WRONG: list[Any] = [np.nan, np.inf, -np.inf, -1, 0, 1, 4095, 2**31, -(2**63), 2**64 - 1, 1e39, 1e300, 0.5]
_DTYPES = [
    "float16",
    "float64",
    ">f4",
    "int8",
    "uint8",
    "int64",
    "uint64",
    "bool",
    "complex64",
    "U3",
    "S2",
    "O",
]


@st.composite
def _mistaken(draw: DrawFn, arrays: dict[str, Array]) -> dict[str, Array]:
    """Return arrays with one to three mistakes."""
    found = dict(arrays)
    for _ in range(draw(st.integers(1, 3))):
        key = draw(st.sampled_from(sorted(found))) if found else None
        if key is None:
            return found
        mistake = draw(st.sampled_from(_MISTAKES))
        mistake(draw, found, key)
    return found


def _value(draw: DrawFn, arrays: dict[str, Array], key: str) -> None:
    wrong = draw(st.sampled_from(_WRONG))
    array = np.array(arrays[key])
    if not array.size or array.dtype.kind not in "fiub":
        return
    if array.dtype.kind != "f" and not isinstance(wrong, int):
        array = array.astype(np.float64)
    elif array.dtype.kind != "f":
        array = array.astype(np.uint64 if wrong > 2**63 else np.int64)
    with np.errstate(over="ignore"):
        array.flat[draw(st.integers(0, array.size - 1))] = wrong
    arrays[key] = array


def _dtype(draw: DrawFn, arrays: dict[str, Array], key: str) -> None:
    dtype = draw(st.sampled_from(_DTYPES))
    if arrays[key].dtype.kind in "fiub":
        with np.errstate(all="ignore"):
            arrays[key] = np.asarray(arrays[key]).astype(dtype)


def _shape(draw: DrawFn, arrays: dict[str, Array], key: str) -> None:
    array = arrays[key]
    changes: list[Callable[[], Array]] = [
        lambda: array[:-1],
        lambda: array[:0],
        lambda: array[:1],
        lambda: array[..., None],
        lambda: array[..., 0],
        lambda: array[..., :0],
        lambda: np.concatenate([array, array], axis=-1),
        lambda: array.reshape(len(array), -1) if array.size else array,
        lambda: array.ravel()[:1].reshape(()) if array.size else array,
        lambda: np.asfortranarray(array),
    ]
    if array.ndim > 1:
        arrays[key] = draw(st.sampled_from(changes))()


def _all_rows(draw: DrawFn, arrays: dict[str, Array], _key: str) -> None:
    rows = draw(st.sampled_from([0, 1, 2, 3]))
    for name, array in arrays.items():
        arrays[name] = array[:rows] if array.ndim else array


def _constant(draw: DrawFn, arrays: dict[str, Array], key: str) -> None:
    array = arrays[key]
    arrays[key] = array if array.dtype.kind in "USO" else np.full_like(array, draw(st.sampled_from([0, 1])))


def _rename(draw: DrawFn, arrays: dict[str, Array], key: str) -> None:
    arrays[draw(st.sampled_from(["x", "y", "X", "sample_weight", "a/b", "../x", "file\n", ""]))] = arrays.pop(
        key
    )


def _remove(_draw: DrawFn, arrays: dict[str, Array], key: str) -> None:
    del arrays[key]


def _one_hot(draw: DrawFn, arrays: dict[str, Array], key: str) -> None:
    array = arrays[key]
    if array.dtype.kind in "iu" and array.ndim == 1:
        arrays[key] = np.eye(draw(st.integers(1, 6)), dtype=draw(st.sampled_from(["int64", "float32"])))[
            np.clip(array, 0, 0).astype(np.int64)
        ]


_MISTAKES = (_value, _value, _dtype, _shape, _all_rows, _constant, _rename, _remove, _one_hot)


def run(made: AnyJob, models: dict[str, Served]) -> End:
    """Run a Job to its end, as its container would."""
    folder = Path(tempfile.mkdtemp(prefix="any-job-"))
    try:
        return _run(made, models[made.model], folder)
    finally:
        shutil.rmtree(folder)


def _run(made: AnyJob, model: Served, folder: Path) -> End:
    data = {}
    for role, arrays in made.data.items():
        path = folder / f"{role}.npz"
        np.savez(path, allow_pickle=True, **arrays)
        data[role] = {"uri": path.as_uri()}
    names = {
        "name": "digits",
        "namespace": "default",
        "recipeHash": "1" * 64,
        "model": {"uri": model.path.as_uri()},
    }
    request = {
        key: value for key, value in {**names, **made.request, "data": data}.items() if value is not None
    }
    variables = {
        REQUEST: json.dumps(request),
        STORE: (folder / "store").as_uri(),
        WORK_DIR: str(folder / "work"),
        TERMINATION_MESSAGE: str(folder / "message"),
    }
    os.environ.update(variables)
    try:
        code = run_reporting(job.run_environment)
    finally:
        for name in variables:
            del os.environ[name]
    return End(code, json.loads((folder / "message").read_text(encoding="utf-8")))
