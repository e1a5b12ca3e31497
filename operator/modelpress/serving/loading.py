"""From a folder with an artifact to a device that is ready to compute. Must not import TensorFlow by itself.

`load` picks the executors by the manifest's form; those of TensorFlow are imported for their form only.
"""

import asyncio
import logging
import math
from dataclasses import dataclass
from pathlib import Path

from modelpress import logs
from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError
from modelpress.artifacts.manifest import ArtifactManifest, Form, load_verified
from modelpress.serving.executors.base import Arrays, Executor, InputError
from modelpress.serving.executors.litert import LiteRTExecutor, check_signature
from modelpress.serving.placement.devices import (
    Device,
    InLoopUpTo,
    OnThreads,
    alone_seconds,
    batch_sizes,
    call_seconds,
    hop_seconds,
    rows_in_loop,
)
from modelpress.serving.placement.parallelism import DataParallel, Layout, Pipeline, Stage
from modelpress.serving.signature import Signature

_MEASURED_ROWS = 8  # a full tile of XNNPACK
_SMALLEST = (1, 2)  # one row, and more than one

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loaded:
    """A model in memory: its facts, and one chain of executors for each copy, not yet on threads."""

    manifest: ArtifactManifest
    signature: Signature
    copies: list[list[Executor]]


def load(folder: Path, layout: Layout, max_batch_size: int) -> Loaded:
    """Check the artifact in `folder`, build all executors and run each, up to the largest batch. Blocks.

    Raises DataError or MissingError: ArtifactCorrupt, ArtifactLost, ModelLoadFailed, OutOfMemory or
    UnsupportedModel.
    """
    manifest = load_verified(folder)
    signature = Signature.of(manifest)
    if manifest.form is Form.TENSORFLOW:
        copies = _on_gpus(folder, manifest, layout, max_batch_size)
        sizes: tuple[int, ...] = _SMALLEST  # the others were computed to compile them
    else:
        copies = _on_cpus(folder, manifest, layout)
        sizes = (*_SMALLEST, max_batch_size)
    for copy in copies:
        _warm_up(copy, signature, sizes)
    return Loaded(manifest, signature, copies)


async def place(loaded: Loaded, max_batch_size: int) -> Device:
    """Put the executors where they compute: one executor may compute small batches in the loop.

    Not with an input of a free size: what a row costs is not known then. Where the largest batch has fewer
    rows than there are copies, several are computed at a time.
    """
    chains = loaded.copies
    stages = len(chains[0])
    threads = OnThreads(
        DataParallel(
            [
                Pipeline(
                    [Stage(executor, f"copy-{number}-stage-{place}") for place, executor in enumerate(copy)]
                )
                for number, copy in enumerate(chains)
            ]
        ),
        stages * math.ceil(len(chains) / max_batch_size),
        asyncio.get_running_loop(),
    )
    if len(chains) > 1 or stages > 1 or loaded.signature.has_free_sizes:
        return threads
    return await _nearest(loaded, threads, max_batch_size)


async def _nearest(loaded: Loaded, threads: OnThreads, max_batch_size: int) -> Device:
    """Return the device for one executor: the loop for batches up to the size where a thread costs less."""
    executor = loaded.copies[0][0]
    hop = await hop_seconds(loaded.signature.example(max_batch_size))
    calls: dict[int, float] = {}
    for rows in batch_sizes(max_batch_size):
        calls[rows] = await asyncio.to_thread(call_seconds, executor, loaded.signature.example(rows))
        if calls[rows] > alone_seconds(hop):  # larger ones go to the thread in any case
            break
    most = rows_in_loop(calls, hop)
    facts = {
        "hop_microseconds": round(hop * 1e6),
        "call_microseconds": {rows: round(seconds * 1e6) for rows, seconds in calls.items()},
    }
    if not most.alone:
        logger.info("Batches are computed on a thread of their own.", extra=facts)
        return threads
    logger.info(
        "Batches of up to %d rows are computed in the event loop, of up to %d where nothing else waits.",
        most.shared,
        most.alone,
        extra=facts,
    )
    return InLoopUpTo(most, executor, threads)


def _on_gpus(
    folder: Path, manifest: ArtifactManifest, layout: Layout, max_batch_size: int
) -> list[list[Executor]]:
    logs.quiet_tensorflow("2")
    try:  # a worker on CPUs never gets here
        from modelpress.serving.executors.tensorflow.loading import load_copies  # noqa: PLC0415
    except ImportError as error:
        raise DataError(
            Reason.MODEL_LOAD_FAILED,
            f"the artifact is of form {manifest.form}, for GPU devices, and this worker cannot import"
            " TensorFlow: serve one that was compressed with devices.type: CPU, or with the image for GPUs",
        ) from error
    return load_copies(folder, manifest, layout, max_batch_size)


def _on_cpus(folder: Path, manifest: ArtifactManifest, layout: Layout) -> list[list[Executor]]:
    path = folder / manifest.model_file
    if layout.tensor > 1:
        raise DataError(
            Reason.UNSUPPORTED_MODEL,
            f"the artifact is of form {manifest.form}, for CPU devices: parallelism.tensor needs GPU devices",
        )
    if layout.pipeline == 1:
        return [_whole(path, manifest) for _ in range(layout.data)]
    check_signature(LiteRTExecutor(path), manifest.inputs, manifest.outputs)
    return _staged(path, Signature.of(manifest), layout)


def _whole(path: Path, manifest: ArtifactManifest) -> list[Executor]:
    executor = LiteRTExecutor(path)
    check_signature(executor, manifest.inputs, manifest.outputs)
    return [executor]


def _staged(path: Path, signature: Signature, layout: Layout) -> list[list[Executor]]:
    # the reader of .tflite files costs 15 MB, which only pipelines need
    from modelpress.serving.executors.cut import Graph  # noqa: PLC0415
    from modelpress.serving.executors.partition import choose_cuts  # noqa: PLC0415
    from modelpress.serving.executors.stages import PieceExecutor, measure, pieces  # noqa: PLC0415

    graph = Graph(path.read_bytes())
    costs = measure(graph, signature.example(_MEASURED_ROWS))
    cuts = choose_cuts(costs, layout.pipeline)
    logger.info(
        "Cut the model before operators %s.",
        ", ".join(map(str, cuts)),
        extra={"microseconds": costs.microseconds.round(1).tolist()},
    )
    stages = pieces(graph, cuts)
    return [[PieceExecutor(piece) for piece in stages] for _ in range(layout.data)]


def _warm_up(stages: list[Executor], signature: Signature, sizes: tuple[int, ...]) -> None:
    """Run a copy with these numbers of rows, and see that outputs have as many, as batching needs.

    The largest batch comes before any request: where memory does not suffice for it, the worker ends here,
    while the pods before it still serve.
    """
    for count in sizes:
        _try(stages, signature, count)


def _try(stages: list[Executor], signature: Signature, count: int) -> None:
    values: Arrays = signature.example(count)
    try:
        for executor in stages:
            values = executor.run(values)
    except InputError as error:
        raise DataError(Reason.MODEL_LOAD_FAILED, f"the model fails on zeros: {error}") from error
    for tensor, value in zip(signature.outputs, values, strict=True):
        if value.shape[:1] != (count,):
            raise DataError(
                Reason.UNSUPPORTED_MODEL,
                f"output {tensor.name!r} has shape {list(value.shape)} for {count} rows:"
                " only outputs with one entry for each row can be served",
            )
        if value.dtype != tensor.dtype:
            raise DataError(
                Reason.MODEL_LOAD_FAILED,
                f"output {tensor.name!r} is {value.dtype}, manifest.json says {tensor.dtype}",
            )
