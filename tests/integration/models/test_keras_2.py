"""A file that Keras 2 wrote."""

from pathlib import Path

import numpy as np

from modelpress.models.load import load
from tests.support.models import of_formats as format_models


def test_a_file_of_keras_2_predicts_what_keras_2_did(tmp_path: Path) -> None:
    """The numbers are those that tf-keras 2.21.0 printed for the first digits when the file was made."""
    from sklearn.datasets import load_digits

    images = (load_digits().images[:4] / 16).astype(np.float32)
    model = load(format_models.keras_2_h5(tmp_path), tmp_path / "w")
    found = model.call({"series": images})["digit"]
    assert np.abs(found - np.array(KERAS_2_OUTPUTS)).max() < 1e-4


KERAS_2_OUTPUTS = [
    [0.9970, 0.0, 0.0, 0.0, 0.0003, 0.0012, 0.0003, 0.0001, 0.0, 0.0011],
    [0.0, 0.9747, 0.0001, 0.0007, 0.0092, 0.0001, 0.0001, 0.0026, 0.0122, 0.0004],
    [0.0004, 0.1096, 0.0128, 0.0026, 0.0151, 0.0012, 0.0215, 0.0134, 0.8211, 0.0022],
    [0.0001, 0.0060, 0.0043, 0.9795, 0.0001, 0.0002, 0.0, 0.0006, 0.0033, 0.0060],
]
