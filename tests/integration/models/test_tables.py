"""Which inputs hold rows of a table: what is said of them must hold for every value, or nothing is said."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelpress.models.load import load
from modelpress.models.types import ComputationError, Table


def embedding(keras: Any, source: Any) -> Any:
    return keras.layers.Embedding(8, 4, name="words")(source)


def behind_a_concatenate(keras: Any, source: Any) -> Any:
    return embedding(keras, keras.layers.Concatenate()([source, keras.layers.Reshape((4,))(source)]))


def in_a_nested_model(keras: Any, source: Any) -> Any:
    inner = keras.Input((4,), dtype=source.dtype)
    return keras.Model(inner, embedding(keras, inner))(source)


def two_tables(keras: Any, source: Any) -> Any:
    return embedding(keras, source) + keras.layers.Embedding(5, 4, name="few")(source)


def a_column(keras: Any, source: Any) -> Any:
    return embedding(keras, source[:, :1])


def a_remainder(keras: Any, source: Any) -> Any:
    return embedding(keras, keras.ops.mod(source, 8))


def masked(keras: Any, source: Any) -> Any:
    return embedding(keras, keras.ops.where(source < 8, source, keras.ops.zeros_like(source)))


def one_hot(keras: Any, source: Any) -> Any:
    return keras.ops.one_hot(source, 8)


@pytest.mark.parametrize(
    ("build", "rows"),
    [
        (embedding, 8),
        (behind_a_concatenate, 8),
        (in_a_nested_model, 8),
        (two_tables, 5),
        (a_column, None),
        (a_remainder, None),
        (masked, None),
        (one_hot, None),
    ],
)
@pytest.mark.parametrize("dtype", ["int32", "float32"])
def test_a_keras_model(tmp_path: Path, build: Callable[..., Any], rows: int | None, dtype: str) -> None:
    import keras

    if dtype == "float32" and build is one_hot:
        pytest.skip("one_hot takes integers only")
    source = keras.Input((4,), dtype=dtype, name="ids")
    hidden = keras.layers.Flatten()(build(keras, source))
    keras.Model(source, keras.layers.Dense(2)(hidden)).save(tmp_path / "m.keras")
    [spec] = load(tmp_path / "m.keras", tmp_path / "w").inputs
    assert (spec.table.rows if spec.table else None) == rows


def test_each_input_has_its_own_table_and_floats_that_are_no_ids_have_none(tmp_path: Path) -> None:
    import keras

    names = {"user": 9, "item": 6}
    sources = [keras.Input((1,), dtype="int64", name=name) for name in names]
    price = keras.Input((4,), name="price")
    parts = [keras.layers.Embedding(names[s.name], 4)(s) for s in sources]
    hidden = [keras.layers.Flatten()(part) for part in parts]
    model = keras.Model([*sources, price], keras.layers.Concatenate()([*hidden, price]))
    model.save(tmp_path / "m.keras")
    model.export(str(tmp_path / "exported"), verbose=False)
    for path in ("m.keras", "exported"):
        specs = {spec.name: spec for spec in load(tmp_path / path, tmp_path / "w").inputs}
        tables = {name: specs[name].table for name in ("user", "item", "price")}
        assert [table and table.rows for table in tables.values()] == [9, 6, None]


def saved(folder: Path, compute: Callable[..., Any]) -> Any:
    import tensorflow as tf

    module = tf.Module()
    module.w = tf.Variable(np.arange(40, dtype=np.float32).reshape(8, 5), name="w")
    signature = [tf.TensorSpec((None, 3), tf.int32, name="ids")]
    module.forward = tf.function(lambda ids: {"out": compute(tf, module.w, ids)}, input_signature=signature)
    tf.saved_model.save(module, str(folder / "m"), signatures=module.forward)
    return load(folder / "m", folder / "w")


def of_a_constant(tf: Any, _w: Any, ids: Any) -> Any:
    return tf.gather(tf.constant(np.random.default_rng(0).normal(size=(7, 2)).astype(np.float32)), ids)


def of_columns(tf: Any, w: Any, ids: Any) -> Any:
    return tf.transpose(tf.gather(w, ids, axis=1), (1, 2, 0))


def in_a_branch(tf: Any, w: Any, ids: Any) -> Any:
    small = tf.reduce_max(ids) < 8
    return tf.cond(small, lambda: tf.gather(w, ids), lambda: tf.zeros_like(tf.gather(w, ids * 0)))


@pytest.mark.parametrize(
    ("compute", "table"),
    [
        (lambda tf, w, ids: tf.gather(w, ids), Table("w", 8)),
        (lambda tf, w, ids: tf.nn.embedding_lookup(w, tf.cast(ids, tf.int64)), Table("w", 8)),
        (lambda tf, w, ids: tf.gather(w, ids + 1), None),
        (of_columns, None),
        (in_a_branch, None),
    ],
)
def test_a_saved_model(tmp_path: Path, compute: Callable[..., Any], table: Table | None) -> None:
    assert saved(tmp_path, compute).inputs[0].table == table


def test_a_table_that_is_a_constant(tmp_path: Path) -> None:
    found = saved(tmp_path, of_a_constant).inputs[0].table
    assert found is not None
    assert found.rows == 7


def test_rows_that_are_not_computed_are_told_in_one_line(tmp_path: Path) -> None:
    model = saved(tmp_path, lambda tf, w, ids: tf.gather(w, ids + 1))
    with pytest.raises(ComputationError, match=r"^indices\[1,2\] = 8 is not in \[0, 8\)$"):
        model.call({"ids": np.array([[0, 0, 0], [0, 0, 7]], np.int32)})
