"""All kinds of callers at once for some seconds; tests/matrix/serving/test_soak.py lets them stay."""

from pathlib import Path

from tests.support.serving import soak

SECONDS = 15


def test_callers_of_all_kinds_get_right_answers_and_leave_nothing_behind(
    artifacts: Path, models: Path, tmp_path: Path
) -> None:
    soak.run(artifacts / "seed-int8", models / "seed-int8.tflite", tmp_path, SECONDS)
