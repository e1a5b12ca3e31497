"""A worker that callers of all kinds use for a quarter of an hour does not grow."""

from pathlib import Path

import pytest

from tests.support.serving import soak

SECONDS = 15 * 60
WARM_SECONDS = 60
WINDOW_SECONDS = 60  # of which the median counts
GROWTH = 0.1


@pytest.mark.timeout(SECONDS + 300)
def test_a_worker_does_not_grow(artifacts: Path, models: Path, tmp_path: Path) -> None:
    found = soak.run(artifacts / "seed-int8", models / "seed-int8.tflite", tmp_path, SECONDS)
    early, middle, late = soak.resident(found, WARM_SECONDS, WINDOW_SECONDS)
    print(f"resident memory: {early:.1f} MB, {middle:.1f} MB, {late:.1f} MB; answers: {dict(found.answers)}")
    assert abs(late - early) <= GROWTH * early
