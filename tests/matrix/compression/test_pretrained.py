"""Trained models of other packages through the whole pipeline: they still do what they are known to do."""

from pathlib import Path

import pytest

from modelpress.api.schemes import Scheme
from modelpress.models.load import load
from tests.benchmarks import pretrained_models
from tests.benchmarks.pretrained import in_batches, served
from tests.benchmarks.pretrained_models import Pretrained
from tests.support.models.compressed import compress

# Bytes of the weights in float32 / bytes of the file, and the score in percent, both at least; measured, with
# a margin. The file of the first two is mostly structure.
FLOORS = {
    "facial expressions": (1.5, 90),
    "musical notes": (1.0, 98),
    "Thai words": (2.7, 97),
    "faces": (3.5, 98),
    "edges": (3.9, 98),
}


@pytest.mark.parametrize("model", pretrained_models.MODELS, ids=lambda model: model.write.__name__)
def test_a_trained_model_keeps_what_it_knows(model: Pretrained, tmp_path: Path) -> None:
    trained = model.write(tmp_path)
    original = load(trained.path, tmp_path / "original")
    before = model.known(in_batches(original, [spec.name for spec in original.inputs]))
    assert before.right >= before.needed
    evaluation = {"metric": model.metric, "minScore": "50%"}
    made = compress(trained, Scheme.INT8_DYNAMIC, tmp_path / "made", evaluation=evaluation)
    after = model.known(served(made))
    assert after.right >= before.needed
    ratio, score = FLOORS[model.name]
    assert made.report.sizes.ratio >= ratio
    assert made.manifest.scores is not None
    assert made.manifest.scores.compressed >= score
