"""Loading of SavedModels: Keras' model.export, or tf.saved_model.save with a serving signature.

Code of the model's author is never needed: the signature is a graph. It is checked by `saved_model_check`
first.
"""

from pathlib import Path
from typing import Any

import tensorflow as tf
from google.protobuf.message import EncodeError

from modelpress.api.errors import ModelPressError
from modelpress.models.graph_model import GraphModel, Signature
from modelpress.models.saved_model import check as saved_model_check
from modelpress.models.saved_model import half_precision
from modelpress.models.types import Kind, TensorSpec, first_line, invalid, unsupported

_DENSE = "export a signature that takes and returns padded ones (to_tensor)"


def load_saved_model(folder: Path, work_dir: Path, name: str) -> GraphModel:
    """Load the SavedModel in `folder`; `name` is what messages speak of.

    Raises InvalidModel or UnsupportedModel.
    """
    saved_model_check.check_files(folder, name)
    message = saved_model_check.check_graph(folder, name)
    half_precision.widen(message, name)
    folder = _with_graph(folder, work_dir / "checked", message, name)
    del message  # as large as the file
    try:
        loaded = tf.saved_model.load(str(folder), tags=[saved_model_check.SERVE])
        model = _graph(next(iter(loaded.signatures.values())), name, loaded)
    except (MemoryError, ModelPressError):
        raise
    except Exception as error:  # a damaged file can make TensorFlow raise anything
        raise invalid(f"{name}: TensorFlow cannot load it: {first_line(error)}") from error
    _check_values(model, name)
    return model


def _with_graph(folder: Path, target: Path, message: Any, name: str) -> Path:
    """Make a folder of exactly what was checked; the checkpoint and the assets stay where they are."""
    target.mkdir()
    for part in ("variables", "assets"):
        if (folder / part).is_dir():
            (target / part).symlink_to((folder / part).resolve())
    try:
        data = message.SerializeToString()
    except (EncodeError, ValueError) as error:
        raise invalid(f"{name}: the graph is too large: {first_line(error)}") from error
    (target / saved_model_check.GRAPH_FILE).write_bytes(data)
    return target


def _check_values(model: GraphModel, name: str) -> None:
    """Refuse variables that the checkpoint has no value for."""
    for weight in model.weights:
        if not tf.raw_ops.VarIsInitializedOp(resource=weight.variable.handle):
            raise invalid(f"{name}: the checkpoint has no value for the variable {weight.name}")


def _graph(signature: Any, name: str, owner: Any) -> GraphModel:
    input_specs = dict(sorted(signature.structured_input_signature[1].items()))
    output_specs = dict(sorted(signature.structured_outputs.items()))
    if not input_specs or not output_specs:
        raise unsupported(f"{name}: the signature has no inputs or no outputs")
    for key, spec in (*input_specs.items(), *output_specs.items()):
        if not isinstance(spec, tf.TensorSpec):
            kind = type(spec).__name__.removesuffix("Spec")
            raise unsupported(f"{name}: {key} is a {kind}; accepted are dense tensors: {_DENSE}")
    arguments = [
        tf.TensorSpec(spec.shape, spec.dtype, name=f"input_{i}")
        for i, spec in enumerate(input_specs.values())
    ]

    def forward(*tensors: Any) -> Any:
        results = signature(**dict(zip(input_specs, tensors, strict=True)))
        return [results[key] for key in output_specs]

    function = tf.function(forward, input_signature=arguments).get_concrete_function()
    shapes = [result.shape for result in function.structured_outputs]
    specs = Signature(
        inputs=tuple(_spec(key, spec.shape, spec.dtype, name) for key, spec in input_specs.items()),
        outputs=tuple(
            _spec(key, shape, spec.dtype, name)
            for (key, spec), shape in zip(output_specs.items(), shapes, strict=True)
        ),
    )
    model = GraphModel(Kind.SAVED_MODEL, specs, function, signature.variables)
    model.training_forward = forward
    model.owner = owner  # TensorFlow frees the variables with the object that was loaded
    return model


def _spec(key: str, shape: Any, dtype: Any, name: str) -> TensorSpec:
    if shape.rank is None:
        raise unsupported(f"{name}: {key} has no fixed number of axes")
    return TensorSpec(key, tuple(-1 if size is None else int(size) for size in shape.as_list()), dtype.name)
