"""Files of Keras 2: every layer, and whole models, as TensorFlow 2.13 and 2.15 and tf-keras write them."""

from pathlib import Path

import pytest

from modelpress.api.errors import DataError
from modelpress.models.keras import allowed_layers
from tests.support.models.keras_2 import cases, comparison, dropped_table, expected, functions, material

# bases of others; features of TensorFlow 1; what fails in tf-keras 2.21 itself
WITHOUT_CASE = {"AbstractRNNCell", "DenseFeatures", "Layer", "SpectralNormalization", "Wrapper"}
RELEASES = (material.TF_KERAS, material.KERAS_2_15)


@pytest.mark.parametrize("release", RELEASES, ids=lambda release: release.name)
@pytest.mark.parametrize("file", ["model.h5", "model.keras"])
@pytest.mark.parametrize("name", cases.LAYERS)
def test_a_layer_computes_what_it_did_or_is_refused(
    release: material.Release, file: str, name: str, tmp_path: Path
) -> None:
    path = material.folder(release) / "layers" / name.replace(" ", "_") / file
    if not path.parent.exists():
        pytest.skip(f"{release.name} cannot write it")
    if name not in expected.REFUSED:
        comparison.check(path, tmp_path)
        return
    with pytest.raises(DataError, match=expected.REFUSED[name]):
        comparison.check(path, tmp_path)


@pytest.mark.parametrize("file", ["model.h5", "model.keras"])
@pytest.mark.parametrize("name", comparison.SMALL)
def test_a_model_of_2_15_computes_what_it_did(file: str, name: str, tmp_path: Path) -> None:
    comparison.check_whole(material.KERAS_2_15, file, name, tmp_path)


@pytest.mark.parametrize("name", comparison.LARGE)
def test_a_large_model_of_2_15_computes_what_it_did(name: str, tmp_path: Path) -> None:
    comparison.check_whole(material.KERAS_2_15, "model.keras", name, tmp_path)


@pytest.mark.parametrize("name", comparison.SMALL)
def test_a_model_of_2_13_computes_what_it_did(name: str, tmp_path: Path) -> None:
    comparison.check_whole(material.KERAS_2_13, "model.h5", name, tmp_path)


def test_a_keras_file_of_2_13_is_refused_with_the_way_out(tmp_path: Path) -> None:
    """Its weights are named by the number of their layer, not by its name."""
    with pytest.raises(DataError, match=r"Keras 2\.13\.1 wrote it .*tf-keras for Keras 2"):
        comparison.check_whole(material.KERAS_2_13, "model.keras", "attention", tmp_path)


@pytest.mark.parametrize(
    "release", [material.KERAS_2_15, material.KERAS_2_13], ids=lambda release: release.name
)
@pytest.mark.parametrize("name", comparison.SAVED)
def test_a_saved_model_computes_what_it_did(release: material.Release, name: str, tmp_path: Path) -> None:
    comparison.check_saved(release, name, tmp_path)


@pytest.mark.parametrize("name", functions.FUNCTIONS)
def test_a_function_of_tensorflow_computes_what_it_did(name: str, tmp_path: Path) -> None:
    comparison.check_function(material.TF_KERAS, name, tmp_path)


def test_the_table_of_dropped_settings_is_what_both_libraries_say() -> None:
    assert dropped_table.TARGET.read_text() == dropped_table.render()


def test_every_layer_of_tf_keras_has_a_case() -> None:
    written = (material.folder(material.TF_KERAS) / "settings.json").read_text()
    names = set((material.folder(material.TF_KERAS) / "layer_names.txt").read_text().split())
    names -= allowed_layers.REFUSED.keys() | WITHOUT_CASE
    assert len(names) > 90
    assert [name for name in sorted(names) if f'"{name}"' not in written] == []
