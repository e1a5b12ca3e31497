"""Loading of SavedModels: good ones compute, hostile and broken ones are refused with one line."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError
from modelpress.models.load import load
from modelpress.models.types import Kind, Role
from tests.support.hostile.refused_models import refused
from tests.support.models.trained import DigitsModels


@pytest.fixture(scope="module")
def tf() -> Any:
    import tensorflow

    return tensorflow


def saved(tf: Any, folder: Path, compute: Callable[[Any, Any], Any]) -> Path:
    """Save a module with one 4 x 4 variable whose signature is `compute(variable, x)`."""
    module = tf.Module()
    module.w = tf.Variable(np.eye(4, dtype=np.float32), name="w")

    def forward(x: Any) -> Any:
        return {"y": compute(module.w, x)}

    spec = tf.TensorSpec((None, 4), tf.float32, name="x")
    module.forward = tf.function(forward, input_signature=[spec])
    tf.saved_model.save(module, str(folder), signatures=module.forward)
    return folder


def edited(source: Path, target: Path, edit: Callable[[Any], None]) -> Path:
    """Copy a SavedModel with its message edited."""
    from tensorflow.core.protobuf import saved_model_pb2

    shutil.copytree(source, target)
    message = saved_model_pb2.SavedModel.FromString((target / "saved_model.pb").read_bytes())
    edit(message)
    (target / "saved_model.pb").write_bytes(message.SerializeToString())
    return target


def test_the_same_model_loads_as_directory_zip_and_tar(digits_models: DigitsModels, tmp_path: Path) -> None:
    rows = digits_models.digits.test_x[:7]
    results = []
    for path in (digits_models.saved_model, digits_models.zipped, digits_models.tarred):
        model = load(path, tmp_path)
        assert model.kind is Kind.SAVED_MODEL
        results.append(model.call({"args_0": rows})["output_0"])
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[0], results[2])


def test_weights_of_a_subclassed_model_have_roles_and_unique_names(
    digits_models: DigitsModels, tmp_path: Path
) -> None:
    weights = load(digits_models.saved_model, tmp_path).weights
    assert [weight.role for weight in weights] == [Role.KERNEL, Role.BIAS] * 3
    assert len({weight.name for weight in weights}) == 6


def test_a_changed_weight_changes_the_predictions(digits_models: DigitsModels, tmp_path: Path) -> None:
    model = load(digits_models.saved_model, tmp_path)
    last = model.weights[-2]
    last.write(np.zeros(last.shape, np.float32))
    outputs = model.call({"args_0": digits_models.digits.test_x[:5]})["output_0"]
    assert np.array_equal(outputs[0], outputs[1])


def test_a_model_of_plain_tensorflow_loads(tf: Any, tmp_path: Path) -> None:
    model = load(saved(tf, tmp_path / "m", lambda w, x: tf.matmul(x, w)), tmp_path / "w")
    assert [(weight.name, weight.role) for weight in model.weights] == [("w", Role.KERNEL)]
    assert model.call({"x": np.ones((2, 4), np.float32)})["y"].tolist() == [[1.0] * 4] * 2


def test_roles_are_read_from_what_uses_a_variable(tf: Any, tmp_path: Path) -> None:
    module = tf.Module()
    module.table = tf.Variable(np.ones((9, 4), np.float32), name="table")
    module.mixed = tf.Variable(np.ones((4, 2, 3), np.float32), name="mixed")
    module.recurrent = tf.Variable(np.ones((4, 4), np.float32), name="recurrent")
    module.mask = tf.Variable(np.ones((1, 4), np.float32), name="mask")

    def forward(tokens: Any) -> Any:
        state = tf.gather(module.table, tokens) * module.mask
        for _ in tf.range(3):
            state = tf.matmul(state, module.recurrent)
        return {"y": tf.einsum("ba,acd->bcd", state, module.mixed)}

    module.forward = tf.function(forward, input_signature=[tf.TensorSpec((None,), tf.int32, name="tokens")])
    tf.saved_model.save(module, str(tmp_path / "m"), signatures=module.forward)
    roles = {weight.name: weight.role for weight in load(tmp_path / "m", tmp_path / "w").weights}
    assert roles == {
        "table": Role.EMBEDDING,
        "mixed": Role.KERNEL,
        "recurrent": Role.KERNEL,
        "mask": Role.OTHER,
    }


def test_slot_variables_of_an_optimizer_are_no_weights(tf: Any, tmp_path: Path) -> None:
    module = tf.Module()
    module.w = tf.Variable(np.eye(4, dtype=np.float32), name="w")
    module.optimizer = tf.compat.v1.train.AdamOptimizer(0.1)

    def step() -> None:
        module.optimizer.minimize(lambda: tf.reduce_sum(module.w))

    tf.function(step)()
    spec = tf.TensorSpec((None, 4), tf.float32, name="x")
    module.forward = tf.function(lambda x: {"y": tf.matmul(x, module.w)}, input_signature=[spec])
    tf.saved_model.save(module, str(tmp_path / "m"), signatures=module.forward)
    assert [weight.name for weight in load(tmp_path / "m", tmp_path / "w").weights] == ["w"]


@pytest.mark.parametrize(
    "operation", ["ReadFile", "WriteFile", "MatchingFiles", "EagerPyFunc", "LoadDataset"]
)
def test_operations_that_touch_the_outside_are_refused(
    tf: Any, digits_models: DigitsModels, tmp_path: Path, operation: str
) -> None:
    def edit(message: Any) -> None:
        functions = message.meta_graphs[0].graph_def.library.function
        served = next(item for item in functions if "signature_wrapper" in item.signature.name)
        served.node_def.add(name="evil", op=operation)

    path = edited(digits_models.saved_model, tmp_path / "m", edit)
    assert operation in refused(path, tmp_path / "w")


def test_what_the_signature_does_not_reach_is_not_loaded(tf: Any, tmp_path: Path) -> None:
    """A table, a function that writes, an operation of the graph: none is in what TensorFlow loads."""
    module = tf.Module()
    module.w = tf.Variable(np.eye(4, dtype=np.float32), name="w")
    words = tf.lookup.KeyValueTensorInitializer(["a"], [1])
    module.table = tf.lookup.StaticHashTable(words, -1)

    def write(x: Any) -> Any:
        tf.io.write_file(str(tmp_path / "marker"), x)
        return x

    module.write = tf.function(write, input_signature=[tf.TensorSpec((), tf.string)])
    module.forward = tf.function(
        lambda x: {"y": tf.matmul(x, module.w)}, input_signature=[tf.TensorSpec((None, 4), tf.float32, "x")]
    )
    tf.saved_model.save(module, str(tmp_path / "saved"), signatures=module.forward)

    def edit(message: Any) -> None:
        message.meta_graphs[0].graph_def.node.add(name="evil", op="ReadFile")

    model = load(edited(tmp_path / "saved", tmp_path / "m", edit), tmp_path / "w")
    rows = np.arange(8, dtype=np.float32).reshape(2, 4)
    np.testing.assert_array_equal(model.call({"x": rows})["y"], rows)
    assert [weight.name for weight in model.weights] == ["w"]
    owner = getattr(model, "owner")  # noqa: B009 - of SavedModels alone
    assert not hasattr(owner.table, "lookup")
    assert not hasattr(owner, "write") or not callable(owner.write)


def test_of_several_signatures_the_default_one_is_looked_at(tf: Any, tmp_path: Path) -> None:
    module = tf.Module()
    module.w = tf.Variable(np.eye(4, dtype=np.float32), name="w")
    spec = [tf.TensorSpec((None, 4), tf.float32, "x")]
    module.good = tf.function(lambda x: {"y": tf.matmul(x, module.w)}, input_signature=spec)
    module.bad = tf.function(
        lambda x: {"y": x + tf.cast(tf.strings.length(tf.io.read_file("/etc/passwd")), tf.float32)},
        input_signature=spec,
    )
    good, bad = ({"serving_default": one, "other": two} for one, two in ((0, 1), (1, 0)))
    functions = (module.good, module.bad)
    for name, signatures in (("good", good), ("bad", bad)):
        chosen = {key: functions[index] for key, index in signatures.items()}
        tf.saved_model.save(module, str(tmp_path / name), signatures=chosen)
    assert load(tmp_path / "good", tmp_path / "w").outputs[0].name == "y"
    assert "ReadFile" in refused(tmp_path / "bad", tmp_path / "w")


def test_a_signature_that_really_reads_a_file_is_refused(tf: Any, tmp_path: Path) -> None:
    def leak(w: Any, x: Any) -> Any:
        return (
            tf.cast(tf.io.decode_raw(tf.io.read_file("/etc/passwd"), tf.uint8), tf.float32)[None] + x[:, :1]
        )

    assert "ReadFile" in refused(saved(tf, tmp_path / "m", leak), tmp_path / "w")


def test_saving_operations_are_refused(tf: Any, tmp_path: Path) -> None:
    def write(w: Any, x: Any) -> Any:
        tf.raw_ops.SaveV2(prefix="/tmp/evil", tensor_names=["x"], shape_and_slices=[""], tensors=[x])
        return tf.matmul(x, w)

    assert "SaveV2" in refused(saved(tf, tmp_path / "m", write), tmp_path / "w")


def test_a_small_constant_that_unfolds_to_a_huge_one_is_refused(
    digits_models: DigitsModels, tmp_path: Path
) -> None:
    def edit(message: Any) -> None:
        node = message.meta_graphs[0].graph_def.node.add(name="bomb", op="Const")
        node.attr["dtype"].type = 1
        node.attr["value"].tensor.dtype = 1
        node.attr["value"].tensor.float_val.append(1.0)
        for _ in range(3):
            node.attr["value"].tensor.tensor_shape.dim.add(size=10**5)

    path = edited(digits_models.saved_model, tmp_path / "m", edit)
    assert "constants" in refused(path, tmp_path / "w")


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "missing.txt", ""])
def test_assets_outside_of_the_model_are_refused(
    digits_models: DigitsModels, tmp_path: Path, name: str
) -> None:
    def edit(message: Any) -> None:
        message.meta_graphs[0].asset_file_def.add(filename=name)

    assert "asset" in refused(edited(digits_models.saved_model, tmp_path / "m", edit), tmp_path / "w")


def test_links_in_a_directory_are_refused(digits_models: DigitsModels, tmp_path: Path) -> None:
    path = edited(digits_models.saved_model, tmp_path / "m", lambda message: None)
    (path / "assets").rmdir() if (path / "assets").exists() else None
    (path / "assets").symlink_to("/etc")
    assert "link" in refused(path, tmp_path / "w")


def test_a_model_of_tensorflow_1_is_refused(digits_models: DigitsModels, tmp_path: Path) -> None:
    def edit(message: Any) -> None:
        message.meta_graphs[0].ClearField("object_graph_def")

    path = edited(digits_models.saved_model, tmp_path / "m", edit)
    assert "TensorFlow 1" in refused(path, tmp_path / "w", Reason.UNSUPPORTED_MODEL)


def test_a_model_without_a_serving_signature_is_refused(tf: Any, tmp_path: Path) -> None:
    module = tf.Module()
    module.w = tf.Variable(1.0)
    tf.saved_model.save(module, str(tmp_path / "m"))
    assert "serving_default" in refused(tmp_path / "m", tmp_path / "w", Reason.UNSUPPORTED_MODEL)


def test_an_input_without_a_batch_axis_is_refused(tf: Any, tmp_path: Path) -> None:
    module = tf.Module()
    spec = tf.TensorSpec((), tf.float32, name="x")
    module.forward = tf.function(lambda x: {"y": x + 1}, input_signature=[spec])
    tf.saved_model.save(module, str(tmp_path / "m"), signatures=module.forward)
    with pytest.raises(DataError, match="batch axis"):
        load(tmp_path / "m", tmp_path / "w")


def test_an_output_that_is_no_entry_for_each_row_is_refused(tf: Any, tmp_path: Path) -> None:
    module = tf.Module()
    spec = tf.TensorSpec((None, 2), tf.float32, name="x")
    module.forward = tf.function(
        lambda x: {"table": tf.constant([[1.0], [2.0]]) + 0 * tf.reduce_sum(x), "y": x},
        input_signature=[spec],
    )
    tf.saved_model.save(module, str(tmp_path / "m"), signatures=module.forward)
    with pytest.raises(DataError, match="table has 2 entries for any number of rows, not one for each"):
        load(tmp_path / "m", tmp_path / "w")


@pytest.mark.parametrize("length", [0, 1, 100, 10_000])
def test_a_graph_that_is_cut_off_is_refused(digits_models: DigitsModels, tmp_path: Path, length: int) -> None:
    path = edited(digits_models.saved_model, tmp_path / "m", lambda message: None)
    graph = path / "saved_model.pb"
    graph.write_bytes(graph.read_bytes()[:length])
    refused(path, tmp_path / "w")


@pytest.mark.parametrize("name", ["variables/variables.index", "variables/variables.data-00000-of-00001"])
def test_a_checkpoint_that_is_damaged_is_refused(
    digits_models: DigitsModels, tmp_path: Path, name: str
) -> None:
    missing = edited(digits_models.saved_model, tmp_path / "missing", lambda message: None)
    (missing / name).unlink()
    refused(missing, tmp_path / "w")
    short = edited(digits_models.saved_model, tmp_path / "short", lambda message: None)
    (short / name).write_bytes((short / name).read_bytes()[:50])
    refused(short, tmp_path / "w")


def test_an_archive_without_a_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "content").mkdir()
    (tmp_path / "content/readme.txt").write_text("nothing")
    archive = Path(shutil.make_archive(str(tmp_path / "m"), "zip", tmp_path / "content"))
    assert "saved_model.pb" in refused(archive, tmp_path / "w")
    assert "saved_model.pb" in refused(tmp_path / "content", tmp_path / "w")


def test_the_accepted_operations_exist_and_keep_no_state_but_variables(tf: Any) -> None:
    from tensorflow.python.framework import op_def_registry

    from modelpress.models.saved_model import allowed_ops

    definitions = {name: op_def_registry.get(name) for name in allowed_ops.COMPUTE}
    assert [name for name, definition in definitions.items() if definition is None] == []
    stateless = (
        allowed_ops.ELEMENTWISE | allowed_ops.REDUCTIONS | allowed_ops.LINEAR_ALGEBRA | allowed_ops.NETWORKS
    )
    assert [name for name in stateless if definitions[name].is_stateful] == []
    outside = (
        "File",
        "Dataset",
        "Reader",
        "PyFunc",
        "Socket",
        "Rpc",
        "Url",
        "Print",
        "Summary",
        "Table",
        "Session",
    )
    assert [name for name in allowed_ops.COMPUTE if any(word in name for word in outside)] == []


def test_large_constants_beside_the_functions_are_counted(tf: Any, tmp_path: Path) -> None:
    """An eager tensor that a function captures, such as the filters of a spectrogram."""
    from modelpress.models.types import original_bytes

    filters = tf.constant(np.random.default_rng(0).random((4, 512), np.float32))
    path = saved(tf, tmp_path / "m", lambda w, x: tf.matmul(tf.matmul(x, w), filters))
    model = load(path, tmp_path / "w")
    assert model.constant_bytes == 4 * 4 * 512
    assert original_bytes(model) == 4 * 4 * 512 + 4 * 16
