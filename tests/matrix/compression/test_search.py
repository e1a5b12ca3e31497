"""The promises of `scheme: Auto`, on twelve models of different kinds."""

from pathlib import Path

import pytest

from modelpress.artifacts.manifest import load_verified
from modelpress.compression.auto.candidates import BUDGET
from tests.support.models import auto_acceptance
from tests.support.models import twelve as twelve_models


@pytest.mark.parametrize("kind", twelve_models.KINDS)
def test_auto_keeps_its_promises(kind: str, tmp_path: Path) -> None:
    model = twelve_models.train(kind, tmp_path)
    outcome = auto_acceptance.run(model, twelve_models.KINDS[kind].metric, tmp_path)
    assert outcome.broken() == []
    found, made = outcome.search, outcome.auto
    assert len([item for item in found.candidates if item.chosen]) == 1
    assert sum(item.score is not None for item in found.candidates) <= BUDGET
    scores = made.manifest.scores
    assert scores is not None
    assert (found.rows, scores.rows) == (1250, 1250), "the scores are those of the other half"
    chosen = next(item for item in found.candidates if item.chosen)
    assert chosen.bytes == made.report.sizes.compressed_bytes == made.path.stat().st_size
    assert made.report.recipe == {"scheme": "Auto", "chosen": chosen.name}
    assert load_verified(made.path.parent) == made.manifest
