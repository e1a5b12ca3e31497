"""From the files of a TensorFlow form to executors on devices, all batch sizes compiled."""

import logging
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import tensorflow as tf

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError
from modelpress.api.spec import Parallelism, Serving
from modelpress.artifacts import weights
from modelpress.artifacts.manifest import ArtifactManifest
from modelpress.models import stored_model
from modelpress.models.graph_model import Signature as ModelSignature
from modelpress.models.stored_model import StoredModel
from modelpress.models.types import TensorSpec
from modelpress.serving.executors.base import Array, Executor, InputError
from modelpress.serving.executors.tensorflow import devices, sharding
from modelpress.serving.executors.tensorflow.executor import Part, TensorFlowExecutor
from modelpress.serving.executors.tensorflow.mesh import MeshProgram
from modelpress.serving.executors.tensorflow.program import Program
from modelpress.serving.executors.tensorflow.sizes import padded_sizes
from modelpress.serving.executors.tensorflow.staging import StagedLayers
from modelpress.serving.placement.parallelism import split
from modelpress.serving.signature import Signature

_TRIAL_ROWS = 2  # more than one: loading checks that outputs have as many rows as inputs

logger = logging.getLogger(__name__)


def load_copies(
    folder: Path, manifest: ArtifactManifest, parallelism: Parallelism, serving: Serving
) -> list[list[Executor]]:
    """Return one chain of executors for each copy, each on devices of its own, ready for batches.

    Raises DataError: ModelLoadFailed, UnsupportedModel, InvalidModel, ArtifactCorrupt or OutOfMemory.
    """
    signature = Signature.of(manifest)
    if parallelism.tensor > 1:
        _check_sizes(signature)
    names = devices.claim(
        parallelism.data * parallelism.tensor * parallelism.pipeline, mesh=parallelism.tensor > 1
    )
    sizes = None
    if signature.has_free_sizes:
        logger.info("Sizes of inputs are free beside the batch: the model runs as a graph, without XLA.")
    else:
        largest = split(serving.max_batch_size, parallelism.data)[0][1]  # that one copy gets
        sizes = padded_sizes(max(_TRIAL_ROWS, largest))
    copies: list[list[Executor]] = []
    try:
        for chain in _chains(folder, manifest, parallelism, names, sizes):
            _warm_up(chain, signature, sizes)
            copies.append(chain)
    except tf.errors.ResourceExhaustedError as error:
        raise DataError(
            Reason.OUT_OF_MEMORY, f"the model does not fit into the memory of its devices: {names[0]}, ..."
        ) from error
    return copies


def _check_sizes(signature: Signature) -> None:
    """Raise UnsupportedModel for inputs of free sizes: a mesh traces each size, and keeps what it traced."""
    for tensor in signature.inputs:
        if -1 in tensor.shape[1:]:
            raise DataError(
                Reason.UNSUPPORTED_MODEL,
                f"parallelism.tensor needs inputs of fixed sizes beside the batch; {tensor.name!r} has shape"
                f" {list(tensor.shape)}",
            )


def _chains(
    folder: Path,
    manifest: ArtifactManifest,
    parallelism: Parallelism,
    names: list[str],
    sizes: list[int] | None,
) -> Iterator[list[Executor]]:
    """Yield the executors of one copy after the other."""
    path = folder / manifest.model_file
    if parallelism.pipeline * parallelism.tensor > 1 and not manifest.has_layers:
        raise DataError(
            Reason.UNSUPPORTED_MODEL,
            "parallelism: on GPU devices, pipeline and tensor need a model of layers (.keras, .h5);"
            " this one is a SavedModel",
        )
    if parallelism.pipeline * parallelism.tensor == 1:
        yield from ([_whole(folder, manifest, name, sizes)] for name in names)
        return
    signature = Signature.of(manifest)
    staged = StagedLayers(path, folder / weights.WEIGHTS_FILE, model_signature(manifest))
    axes = sharding.axes(staged.graph, parallelism.tensor) if parallelism.tensor > 1 else {}
    bounds = staged.bounds(parallelism.pipeline, signature, names[0])
    free = iter(names)
    for _ in range(parallelism.data):
        parts: list[Part] = []
        values: Sequence[Any] = signature.example(1)
        for start, stop in bounds:
            if parallelism.tensor == 1:
                parts.append(staged.program(start, stop, next(free), compiled=sizes is not None))
                continue
            mesh = MeshProgram(staged, (start, stop), list(islice(free, parallelism.tensor)), axes)
            values = mesh.checked(values)
            parts.append(mesh)
        yield [
            TensorFlowExecutor(part, sizes, first=part is parts[0], last=part is parts[-1]) for part in parts
        ]


def _whole(folder: Path, manifest: ArtifactManifest, device: str, sizes: list[int] | None) -> Executor:
    with tf.device(device):
        model = stored_model.load(
            folder / manifest.model_file,
            weights.read(folder / weights.WEIGHTS_FILE),
            model_signature(manifest),
        )
    return TensorFlowExecutor(_whole_program(model, device, compiled=sizes is not None), sizes)


def _whole_program(model: StoredModel, device: str, *, compiled: bool) -> Program:
    """Return a stored model as a program; it lives as long as the program."""
    arguments = [
        tf.TensorSpec([None if size < 0 else size for size in spec.shape], spec.dtype)
        for spec in model.inputs
    ]

    def function(values: Any) -> Any:
        return model.function.python_function(*values)  # traced with the batch size of the program

    return Program(function, arguments, device, model.variables, compiled=compiled)


def model_signature(manifest: ArtifactManifest) -> ModelSignature:
    """Return inputs and outputs of a manifest as models know them."""
    inputs, outputs = (
        tuple(TensorSpec(spec.name, spec.shape, spec.dtype) for spec in specs)
        for specs in (manifest.inputs, manifest.outputs)
    )
    return ModelSignature(inputs, outputs)


def _warm_up(stages: list[Executor], signature: Signature, sizes: list[int] | None) -> None:
    """Compute a batch of each size, which compiles it. Raises DataError (ModelLoadFailed)."""
    start = time.perf_counter()
    sizes = sizes or [1]
    for size in sizes:
        values: list[Array] = signature.example(size)
        try:
            for stage in stages:
                values = stage.run(values)
        except InputError as error:
            raise DataError(Reason.MODEL_LOAD_FAILED, f"the model fails on zeros: {error}") from error
    logger.info(
        "Warmed up with batches of %s rows.",
        ", ".join(map(str, sizes)),
        extra={"seconds": round(time.perf_counter() - start, 1)},
    )
