"""From a folder with an artifact to a device that is ready to compute, whatever runtime computes it."""

import asyncio
import logging
import math
from dataclasses import dataclass
from pathlib import Path

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError
from modelpress.api.spec import Parallelism, Serving
from modelpress.artifacts.manifest import ArtifactManifest, load_verified
from modelpress.serving.executors.base import Arrays, Executor, InputError
from modelpress.serving.executors.runtimes import load_copies
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
from modelpress.serving.placement.parallelism import DataParallel, Pipeline, Stage, split
from modelpress.serving.signature import Signature

_SMALLEST = (1, 2)  # one row, and more than one
_ONE_DEVICE, _DEFAULTS = Parallelism(), Serving()

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loaded:
    """A model in memory: its facts, and one chain of executors for each copy, not yet on threads."""

    manifest: ArtifactManifest
    signature: Signature
    copies: list[list[Executor]]

    @property
    def file_digest(self) -> str:
        """Return the digest of the model's file, for a worker that does not know that of its artifact."""
        return f"sha256:{self.manifest.files[self.manifest.model_file]}"


def load(folder: Path, parallelism: Parallelism = _ONE_DEVICE, serving: Serving = _DEFAULTS) -> Loaded:
    """Check the artifact in `folder`, build all executors and run each, up to the largest batch. Blocks.

    Raises DataError or MissingError: ArtifactCorrupt, ArtifactLost, ModelLoadFailed, OutOfMemory or
    UnsupportedModel.
    """
    manifest = load_verified(folder)
    signature = Signature.of(manifest)
    copies = load_copies(folder, manifest, parallelism, serving)
    start, stop = split(serving.max_batch_size, parallelism.data)[0]  # the most rows that one copy gets
    for copy in copies:
        _warm_up(copy, signature, (*_SMALLEST, stop - start))
    return Loaded(manifest, signature, copies)


async def place(loaded: Loaded, serving: Serving) -> Device:
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
                    [Stage(executor, f"copy-{number}-stage-{index}") for index, executor in enumerate(copy)]
                )
                for number, copy in enumerate(chains)
            ]
        ),
        stages * math.ceil(len(chains) / serving.max_batch_size),
        asyncio.get_running_loop(),
    )
    if len(chains) > 1 or stages > 1 or loaded.signature.has_free_sizes:
        return threads
    return await _nearest(loaded, threads, serving.max_batch_size)


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
