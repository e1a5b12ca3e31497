"""Hostile SavedModels that TensorFlow itself writes: signatures that read, write, connect or run Python."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from modelpress.api.conditions import Reason
from tests.support.hostile.files import HostileFiles, Row

Compute = Callable[[Any, HostileFiles, Any, Any], Any]  # TensorFlow, the files, a 4 x 4 variable, rows of 4


def saved(
    compute: Compute, files: HostileFiles, attach: Callable[[Any, Any, HostileFiles], None] | None = None
) -> Path:
    """Save a module with the signature `compute`, after `attach` has put more into it."""
    import tensorflow as tf

    module = tf.Module()
    module.w = tf.Variable(np.eye(4, dtype=np.float32), name="w")
    if attach:
        attach(tf, module, files)
    spec = tf.TensorSpec((None, 4), tf.float32, name="x")
    module.forward = tf.function(
        lambda x: {"y": compute(tf, files, module, x)}, input_signature=[spec], autograph=False
    )
    tf.saved_model.save(module, str(files.folder / "model"), signatures=module.forward)
    return files.folder / "model"


def _also(tf: Any, x: Any, value: Any) -> Any:
    """Return x after `value` was computed."""
    with tf.control_dependencies([value]):
        return tf.identity(x)


def _read_file(tf: Any, files: HostileFiles, module: Any, x: Any) -> Any:
    data = tf.io.decode_raw(tf.io.read_file(str(files.traps.secret)), tf.uint8)
    return x[:, :1] + tf.cast(data, tf.float32)[None]


def _write_file(tf: Any, files: HostileFiles, module: Any, x: Any) -> Any:
    return _also(tf, x, tf.io.write_file(str(files.traps.marker), "payload"))


def _matching(tf: Any, files: HostileFiles, module: Any, x: Any) -> Any:
    return _also(tf, x, tf.io.matching_files(f"{files.traps.secret.parent}/*"))


def _py_function(tf: Any, files: HostileFiles, module: Any, x: Any) -> Any:
    return tf.py_function(lambda value: value, [x], tf.float32)


def _numpy_function(tf: Any, files: HostileFiles, module: Any, x: Any) -> Any:
    return tf.numpy_function(lambda value: value, [x], tf.float32)


def _memory_map(tf: Any, files: HostileFiles, module: Any, x: Any) -> Any:
    return x + tf.raw_ops.ImmutableConst(
        dtype=tf.float32, shape=(4,), memory_region_name=str(files.traps.secret)
    )


def _records(tf: Any, files: HostileFiles, module: Any, x: Any) -> Any:
    rows = tf.data.TFRecordDataset(str(files.traps.secret))
    return _also(tf, x, rows.reduce(np.int64(0), lambda count, _: count + 1))


def _lines(tf: Any, files: HostileFiles, module: Any, x: Any) -> Any:
    rows = tf.data.TextLineDataset(str(files.traps.secret))
    return _also(tf, x, rows.reduce(np.int64(0), lambda count, _: count + 1))


def _reader(tf: Any, files: HostileFiles, module: Any, x: Any) -> Any:
    return _also(tf, x, tf.raw_ops.WholeFileReaderV2(container="", shared_name=""))


def _summary(tf: Any, files: HostileFiles, module: Any, x: Any) -> Any:
    writer = tf.raw_ops.SummaryWriter(shared_name="", container="")
    made = tf.raw_ops.CreateSummaryFileWriter(
        writer=writer,
        logdir=str(files.traps.marker),
        max_queue=1,
        flush_millis=1,
        filename_suffix="",
    )
    return _also(tf, x, made)


def _save(tf: Any, files: HostileFiles, module: Any, x: Any) -> Any:
    made = tf.raw_ops.SaveV2(
        prefix=str(files.traps.marker), tensor_names=["x"], shape_and_slices=[""], tensors=[x]
    )
    return _also(tf, x, made)


def _restore(tf: Any, files: HostileFiles, module: Any, x: Any) -> Any:
    found = tf.raw_ops.RestoreV2(
        prefix=str(files.traps.secret), tensor_names=["x"], shape_and_slices=[""], dtypes=[tf.float32]
    )
    return x + found[0]


def _print_file(tf: Any, files: HostileFiles, module: Any, x: Any) -> Any:
    return _also(tf, x, tf.raw_ops.PrintV2(input="payload", output_stream=f"file://{files.traps.marker}"))


def _debug(tf: Any, files: HostileFiles, module: Any, x: Any) -> Any:
    return tf.raw_ops.DebugIdentityV2(
        input=x, tensor_debug_mode=1, debug_urls=[f"grpc://127.0.0.1:{files.traps.port}"]
    )


def _data_service(tf: Any, files: HostileFiles, module: Any, x: Any) -> Any:
    rows = tf.data.Dataset.range(2).apply(
        tf.data.experimental.service.distribute("parallel_epochs", f"grpc://127.0.0.1:{files.traps.port}")
    )
    return _also(tf, x, tf.data.experimental.to_variant(rows))


def _queue(tf: Any, files: HostileFiles, module: Any, x: Any) -> Any:
    return _also(tf, x, tf.raw_ops.FIFOQueueV2(component_types=[tf.float32]))


def _in_branch(tf: Any, files: HostileFiles, module: Any, x: Any) -> Any:
    return tf.cond(tf.reduce_sum(x) > 0, lambda: _read_file(tf, files, module, x), lambda: x)


def _in_nested_functions(tf: Any, files: HostileFiles, module: Any, x: Any) -> Any:
    inner = tf.function(lambda value: _write_file(tf, files, module, value), autograph=False)
    middle = tf.function(lambda value: inner(value) + 1.0, autograph=False)
    return tf.while_loop(lambda value: tf.reduce_sum(value) < 0, middle, [x])[0]


def _in_gradient(tf: Any, files: HostileFiles, module: Any, x: Any) -> Any:
    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def forward(value: Any) -> Any:
        return value * 2.0, lambda upstream: _write_file(tf, files, module, upstream)

    return forward(x)


def _plain(tf: Any, files: HostileFiles, module: Any, x: Any) -> Any:
    return tf.matmul(x, module.w)


def _table(tf: Any, module: Any, files: HostileFiles) -> None:
    words = files.folder / "words.txt"
    words.write_text("a\nb\n")
    initializer = tf.lookup.TextFileInitializer(
        str(words),
        tf.string,
        tf.lookup.TextFileIndex.WHOLE_LINE,
        tf.int64,
        tf.lookup.TextFileIndex.LINE_NUMBER,
    )
    module.table = tf.lookup.StaticHashTable(initializer, -1)


def _lookup(tf: Any, files: HostileFiles, module: Any, x: Any) -> Any:
    return x + tf.cast(module.table.lookup(tf.constant(["a"])), tf.float32)[:, None]


def _other_function(tf: Any, module: Any, files: HostileFiles) -> None:
    """Attach a function that no signature calls."""
    spec = tf.TensorSpec((None, 4), tf.float32)
    module.other = tf.function(lambda x: _write_file(tf, files, module, x), input_signature=[spec])


def _filled(tf: Any, files: HostileFiles, module: Any, x: Any) -> Any:
    return x + tf.reduce_sum(tf.fill([2**20, 2**20], 1.0))


def _tiled(tf: Any, files: HostileFiles, module: Any, x: Any) -> Any:
    wide = tf.function(lambda value: tf.reduce_sum(tf.tile(value, [1, 2**32]), axis=1), autograph=False)
    return x + wide(x)[:, None]


def _link(name: str, files: HostileFiles) -> Path:
    path = files.folder / "model"
    shutil.copytree(files.models.saved_model, path)
    target = path / name
    if target.is_dir():
        shutil.rmtree(target)
    else:
        target.unlink(missing_ok=True)
    target.symlink_to(files.traps.secret.parent if "." not in name else files.traps.secret)
    return path


def _only(name: str, files: HostileFiles) -> Path:
    path = files.folder / "model"
    shutil.copytree(files.models.saved_model, path)
    (path / "saved_model.pb").rename(path / name)
    return path


def _empty(files: HostileFiles) -> Path:
    (files.folder / "model").mkdir()
    return files.folder / "model"


_SIGNATURES: dict[str, tuple[Compute, str]] = {
    "ReadFile": (_read_file, "ReadFile"),
    "WriteFile": (_write_file, "WriteFile"),
    "MatchingFiles": (_matching, "MatchingFiles"),
    "py_function": (_py_function, "EagerPyFunc"),
    "numpy_function": (_numpy_function, "PyFunc"),
    "ImmutableConst": (_memory_map, "ImmutableConst"),
    "TFRecordDataset": (_records, "Dataset"),
    "TextLineDataset": (_lines, "Dataset"),
    "WholeFileReader": (_reader, "WholeFileReader"),
    "SummaryWriter": (_summary, "Summary"),
    "SaveV2": (_save, "SaveV2"),
    "RestoreV2": (_restore, "RestoreV2"),
    "PrintV2": (_print_file, "PrintV2"),
    "DebugIdentity": (_debug, "DebugIdentity"),
    "data-service": (_data_service, "not on the list"),
    "queue": (_queue, "FIFOQueue"),
    "in-a-branch": (_in_branch, "ReadFile"),
    "in-nested-functions": (_in_nested_functions, "WriteFile"),
    "in-a-gradient": (_in_gradient, "WriteFile"),
    "value-bomb": (_filled, "one row"),
    "value-bomb-in-a-function": (_tiled, "one row"),
}

ROWS = [
    *(Row(f"saved-{name}", partial(saved, compute), words) for name, (compute, words) in _SIGNATURES.items()),
    Row("saved-table-of-a-file", partial(saved, _lookup, attach=_table), "not on the list"),
    Row("saved-table-that-nothing-reads", partial(saved, _plain, attach=_table), "", harmless=True),
    Row(
        "saved-function-that-nothing-calls", partial(saved, _plain, attach=_other_function), "", harmless=True
    ),
    Row("saved-link-assets", partial(_link, "assets"), "link or device"),
    Row("saved-link-variables", partial(_link, "variables"), "link or device"),
    Row("saved-link-index", partial(_link, "variables/variables.index"), "link or device"),
    Row("saved-link-graph", partial(_link, "saved_model.pb"), "link or device"),
    Row("saved-link-file", partial(_link, "assets.extra"), "link or device"),
    Row("saved-pbtxt-only", partial(_only, "saved_model.pbtxt"), "no saved_model.pb"),
    Row("saved-cpb-only", partial(_only, "saved_model.cpb"), "no saved_model.pb"),
    Row("saved-empty", _empty, "no saved_model.pb", Reason.INVALID_MODEL),
]
