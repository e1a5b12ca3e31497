"""What a worker refuses to load."""

from pathlib import Path

import pytest

from modelpress.api.conditions import Reason
from modelpress.api.errors import DataError
from modelpress.artifacts import manifest
from modelpress.artifacts.manifest import Form
from modelpress.serving.layout import Layout
from modelpress.serving.loading import load


def test_a_cpu_worker_refuses_the_form_for_gpus(artifacts: Path) -> None:
    folder = artifacts / "seed-int8"
    found = manifest.load(folder)
    manifest.save(found.model_copy(update={"form": Form.TENSORFLOW}), folder)
    try:
        with pytest.raises(DataError, match="of form tensorflow, for GPU devices") as caught:
            load(folder, Layout(data=1, pipeline=1), 32)
    finally:
        manifest.save(found, folder)
    assert caught.value.reason is Reason.MODEL_LOAD_FAILED
