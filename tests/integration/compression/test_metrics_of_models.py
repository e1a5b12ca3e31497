"""Metrics of whole models: binary heads, class ids, several outputs, labels of some of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError, UsageError
from modelpress.api.evaluation import Metric
from modelpress.artifacts.manifest import ArtifactManifest
from modelpress.compression import pipeline
from modelpress.compression.formats.litert.model import LiteRTModel
from modelpress.compression.passes.training.training_data import Loss, Target
from modelpress.compression.report import document as report
from modelpress.models.types import Array, TensorSpec
from modelpress.planning.artifacts import gate
from tests.support.models.compressed import job_request

ROWS = 400
random = np.random.default_rng(5)
X = random.normal(size=(ROWS, 8)).astype(np.float32)
WEIGHTS = random.normal(size=(8, 8)).astype(np.float32)
INT8 = {"quantization": {"scheme": "Int8Weights"}}


def saved(folder: Path, compute: Callable[..., Any]) -> Path:
    import tensorflow as tf

    module = tf.Module()
    module.w = tf.Variable(WEIGHTS)
    spec = tf.TensorSpec((None, 8), tf.float32, name="x")
    function = tf.function(lambda x: compute(module.w, x), input_signature=[spec])
    tf.saved_model.save(module, str(folder), signatures={"serving_default": function})
    return folder


def compress(model: Path, limits: dict[str, Any], arrays: dict[str, Any], **fields: Any) -> ArtifactManifest:
    """Compress a model that is evaluated, and where it is tuned also trained, on the arrays."""
    folder = model.parent
    np.savez(folder / "data.npz", x=X, **arrays)
    training = folder / "data.npz" if "optimization" in fields else None
    request = job_request(model, evaluation=limits, compression=INT8, **fields)
    inputs = pipeline.Inputs(model, folder / "data.npz", f"sha256:{'2' * 64}", "3" * 64, training=training)
    return pipeline.compress(request, inputs, folder / "out", folder / "work")


def logits() -> Array:
    return X @ WEIGHTS[:, :1]


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.bool_])
def test_a_binary_head_of_logits_stays_one_of_logits_when_it_is_tuned(tmp_path: Path, dtype: Any) -> None:
    model = saved(tmp_path / "m", lambda w, x: {"logit": x @ w[:, :1]})
    labels = (logits() > 0).astype(dtype)
    tuning = {"fineTuning": {"epochs": 5, "learningRate": "0.01"}}
    data = {"training": {"uri": (tmp_path / "data.npz").as_uri()}}
    made = compress(model, {"maxDrop": "1%"}, {"y": labels}, optimization=tuning, data=data)
    assert made.scores is not None
    assert made.scores.metric is Metric.ACCURACY
    assert made.scores.original == 100
    served = LiteRTModel(
        tmp_path / "out" / "model.tflite",
        [TensorSpec("x", (-1, 8), "float32")],
        [TensorSpec("logit", (-1, 1), "float32")],
    )
    found = served.call({"x": X})["logit"]
    assert ((found > 0) == (labels > 0)).mean() > 0.98
    told = report.load(tmp_path / "out")
    training = next(step.training for step in told.passes if step.training)
    assert training.losses["logit"] == "binary cross-entropy on logits, against labels"
    assert (
        "Accuracy of output logit: it is decided at 0, because the outputs are no probabilities"
        in told.warnings
    )


def test_class_ids_are_compared_for_equality(tmp_path: Path) -> None:
    import tensorflow as tf

    model = saved(tmp_path / "m", lambda w, x: {"id": tf.argmax(x @ w, axis=-1)})
    ids = (X @ WEIGHTS).argmax(axis=1)
    labels = np.where(random.random(ROWS) < 0.25, (ids + 1) % 8, ids)
    made = compress(model, {"minScore": "50%"}, {"y": labels})
    assert made.scores is not None
    assert made.scores.metric is Metric.ACCURACY
    assert made.scores.original == pytest.approx(100 * (labels == ids).mean(), abs=1)


def three(w: Any, x: Any) -> dict[str, Any]:
    import tensorflow as tf

    y = x @ w
    return {"kind": tf.nn.softmax(y), "price": 300 + 9 * y[:, :1], "features": y}


def labelled() -> dict[str, Array]:
    y = X @ WEIGHTS
    return {"kind": y.argmax(axis=1), "price": 300 + 9 * y[:, :1] + 2 * random.normal(size=(ROWS, 1))}


def test_each_output_is_judged_by_its_own_metric_and_limits(tmp_path: Path) -> None:
    model = saved(tmp_path / "m", three)
    limits = {
        "maxDrop": "2%",
        "outputs": [{"name": "price", "metric": "R2", "minScore": "99%"}, {"name": "features"}],
    }
    made = compress(model, limits, labelled())
    assert made.scores is not None
    found = {item.name: item.metric for item in made.scores.outputs}
    assert found == {"kind": Metric.ACCURACY, "price": Metric.R2, "features": Metric.FIDELITY}
    wanted = job_request(model, evaluation=limits).evaluation
    missed = gate.judge(wanted, gate.measured(made.scores), 1)
    assert missed is not None
    assert missed.message.startswith("output price: minScore: R2 is 98.")
    assert "kind" not in missed.message


def test_without_a_metric_each_output_gets_the_one_that_fits(tmp_path: Path) -> None:
    made = compress(saved(tmp_path / "m", three), {"maxDrop": "2%"}, labelled())
    assert made.scores is not None
    assert made.scores.outputs == ()
    told = report.load(tmp_path / "out").evaluation
    assert told is not None
    assert {item.name: item.metric for item in told.outputs} == {
        "kind": Metric.ACCURACY,
        "price": Metric.R2,
        "features": Metric.FIDELITY,
    }


def test_what_does_not_fit_is_refused_before_anything_is_converted(tmp_path: Path) -> None:
    model = saved(tmp_path / "m", three)
    with pytest.raises(
        UsageError, match=r"evaluation\.outputs: the model has no output prize; it has "
    ) as wrong:
        compress(model, {"outputs": [{"name": "prize", "minScore": "1%"}]}, labelled())
    assert wrong.value.reason is Reason.INVALID_SPEC
    with pytest.raises(DataError, match=r"output price: CosineSimilarity: .*; Fidelity fits") as refused:
        compress(model, {"metric": "CosineSimilarity", "minScore": "1%"}, labelled())
    assert refused.value.reason is Reason.INVALID_DATA
    assert not (tmp_path / "work" / "original").exists()


@pytest.mark.parametrize(
    ("loss", "shape", "dtype"), [(Loss.CLASSES, (6, 3, 4), np.int64), (Loss.BINARY, (6, 3, 1), np.float32)]
)
@pytest.mark.parametrize("from_logits", [True, False])
def test_ignored_labels_have_no_loss(
    loss: Loss, shape: tuple[int, ...], dtype: Any, from_logits: bool
) -> None:
    import tensorflow as tf

    from modelpress.compression.passes.training import losses

    outputs = random.uniform(0.1, 0.3, shape).astype(np.float32)
    values = random.integers(0, 2, shape if loss is Loss.BINARY else shape[:-1]).astype(dtype)
    masked = values.copy()
    masked[2:] = -1
    target = Target("y", loss, from_logits, values, distilled=False)
    found = losses.total([target], [tf.constant(masked)], [tf.constant(outputs)])
    alone = losses.total([target], [tf.constant(values[:2])], [tf.constant(outputs[:2])])
    assert float(found) == pytest.approx(float(alone), rel=1e-5)
    nothing = losses.total([target], [tf.constant(np.full_like(values, -1))], [tf.constant(outputs)])
    assert float(nothing) == 0


def test_a_ruined_model_is_told_without_data(tmp_path: Path) -> None:
    model = saved(tmp_path / "m", lambda w, x: {"y": x @ w})
    clipping = {"weightClipping": {"min": "0", "max": "1e-46"}}
    request = job_request(model, optimization=clipping)
    inputs = pipeline.Inputs(model, None, f"sha256:{'2' * 64}", "3" * 64)
    pipeline.compress(request, inputs, tmp_path / "out", tmp_path / "work")
    assert any(
        "output y of the compressed model is the same" in line or "became zero" in line
        for line in report.load(tmp_path / "out").warnings
    )


@pytest.mark.parametrize(
    ("clipping", "told"),
    [
        ({"min": "0.4", "max": "0.5"}, ["output y of the compressed model keeps 0% of the variation"]),
        ({"min": "-1", "max": "1"}, []),
    ],
)
def test_outputs_that_are_far_from_the_originals_are_told_without_data(
    tmp_path: Path, clipping: dict[str, str], told: list[str]
) -> None:
    model = saved(tmp_path / "m", lambda w, x: {"y": x @ w})
    request = job_request(model, optimization={"weightClipping": clipping})
    inputs = pipeline.Inputs(model, None, f"sha256:{'2' * 64}", "3" * 64)
    pipeline.compress(request, inputs, tmp_path / "out", tmp_path / "work")
    found = report.load(tmp_path / "out").warnings
    assert [line[: len(words)] for line, words in zip(found, told, strict=True)] == told


def test_a_weight_that_is_no_number_is_refused(tmp_path: Path) -> None:
    import keras

    network = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4, name="head")])
    network.layers[0].kernel.assign(np.full((8, 4), np.nan))
    network.save(tmp_path / "m.keras")
    request = job_request(tmp_path / "m.keras", compression=INT8)
    inputs = pipeline.Inputs(tmp_path / "m.keras", None, f"sha256:{'2' * 64}", "3" * 64)
    with pytest.raises(DataError, match="kernel head/kernel is NaN or infinite in 32 of 32") as caught:
        pipeline.compress(request, inputs, tmp_path / "out", tmp_path / "work")
    assert caught.value.reason is Reason.INVALID_MODEL
