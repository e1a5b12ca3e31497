"""Loading of .keras and .h5 files: good ones compute, hostile and broken ones are refused with one line."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from modelpress.api.conditions import Reason
from modelpress.models.load import load
from modelpress.models.types import Kind, Role, original_bytes
from tests.support.hostile.refused_models import refused
from tests.support.models.trained import DigitsModels

Edit = Callable[[dict[str, Any]], None]


def rewritten(source: Path, target: Path, edit: Edit) -> Path:
    """Copy a .keras file with its structure edited."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "config.json":
                config = json.loads(content)
                edit(config)
                content = json.dumps(config).encode()
            new.writestr(name, content)
    return target


def layers(config: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = config["config"]["layers"]
    return found


def test_a_functional_model_has_its_own_names_and_order(digits_models: DigitsModels, tmp_path: Path) -> None:
    model = load(digits_models.functional, tmp_path)
    assert model.kind is Kind.LAYERS
    assert [str(spec) for spec in (*model.inputs, *model.outputs)] == [
        "image float32(N, 64)",
        "digit float32(N, 10)",
    ]
    assert [(weight.name, weight.role) for weight in model.weights] == [
        ("first/kernel", Role.KERNEL),
        ("first/bias", Role.BIAS),
        ("second/kernel", Role.KERNEL),
        ("second/bias", Role.BIAS),
        ("digit/kernel", Role.KERNEL),
        ("digit/bias", Role.BIAS),
    ]
    assert original_bytes(model) == 4 * (64 * 64 + 64 + 64 * 32 + 32 + 32 * 10 + 10)


def test_an_output_has_as_many_rows_as_the_inputs_where_keras_calls_them_one(tmp_path: Path) -> None:
    import keras

    image = keras.Input((4,), name="x")
    places = keras.layers.Embedding(4, 4)(np.arange(1)[None])  # one row for all
    keras.Model(image, keras.layers.Add(name="y")([keras.layers.Reshape((1, 4))(image), places])).save(
        tmp_path / "model.keras"
    )
    model = load(tmp_path / "model.keras", tmp_path)
    assert model.outputs[0].shape == (-1, 1, 4)
    assert model.call({"x": np.zeros((3, 4), np.float32)})["y"].shape == (3, 1, 4)


def test_h5_and_keras_and_saved_model_predict_the_same(digits_models: DigitsModels, tmp_path: Path) -> None:
    rows = digits_models.digits.test_x[:65]
    functional = load(digits_models.functional, tmp_path).call({"image": rows})["digit"]
    h5 = load(digits_models.functional_h5, tmp_path).call({"image": rows})["digit"]
    saved = load(digits_models.saved_model, tmp_path).call({"args_0": rows})["output_0"]
    np.testing.assert_allclose(h5, functional, atol=1e-6)
    np.testing.assert_allclose(saved, functional, atol=1e-6)


def test_a_download_without_a_suffix_is_known_by_its_content(
    digits_models: DigitsModels, tmp_path: Path
) -> None:
    for source in (digits_models.functional, digits_models.functional_h5):
        nameless = tmp_path / f"download{source.suffix[1]}"
        nameless.write_bytes(source.read_bytes())
        assert load(nameless, tmp_path).outputs[0].name == "digit"


def test_batch_normalization_is_told_from_kernels(digits_models: DigitsModels, tmp_path: Path) -> None:
    roles = {weight.name: weight.role for weight in load(digits_models.cnn, tmp_path).weights}
    assert roles["conv2d/kernel"] is Role.KERNEL
    assert roles["batch_normalization/gamma"] is Role.NORMALIZATION
    assert roles["batch_normalization/moving_mean"] is Role.STATISTICS


def test_a_subclassed_model_is_refused_with_how_to_export_it(
    digits_models: DigitsModels, tmp_path: Path
) -> None:
    message = refused(digits_models.subclassed, tmp_path, Reason.UNSUPPORTED_MODEL)
    assert 'model.export("model_dir")' in message
    assert "DigitsNet" in message


def test_a_custom_layer_is_refused_with_its_name(digits_models: DigitsModels, tmp_path: Path) -> None:
    def edit(config: dict[str, Any]) -> None:
        layers(config)[1].update(module="my_package.layers", class_name="Dense", registered_name="Dense")

    path = rewritten(digits_models.functional, tmp_path / "m.keras", edit)
    assert "Dense 'first'" in refused(path, tmp_path / "w", Reason.UNSUPPORTED_MODEL)


@pytest.mark.parametrize(
    "entry",
    [
        {"module": "keras.utils", "class_name": "get_file", "config": {"origin": "http://x"}},
        {"module": "keras.src.saving.saving_lib", "class_name": "load_model", "config": {}},
        {"module": "keras.config", "class_name": "enable_unsafe_deserialization", "config": {}},
        {"module": "keras.os", "class_name": "system", "config": {}},
        {"module": ["keras"], "class_name": "Dense", "config": {}},
    ],
    ids=lambda entry: str(entry["class_name"]),
)
def test_what_could_run_code_or_read_files_is_refused(
    digits_models: DigitsModels, tmp_path: Path, entry: dict[str, Any]
) -> None:
    def edit(config: dict[str, Any]) -> None:
        layers(config)[1]["config"]["kernel_initializer"] = entry

    refused(rewritten(digits_models.functional, tmp_path / "m.keras", edit), tmp_path / "w")


@pytest.mark.parametrize(
    "entry",
    [
        {"module": "os", "class_name": "system", "config": "id"},
        {"module": "builtins", "class_name": "function", "config": "eval", "registered_name": "function"},
        {"module": "keras.layers", "class_name": "Dense", "config": {}, "registered_name": "evil>Dense"},
        {"class_name": "evil>Dense", "config": {}},
        {"module": "keras.layers", "class_name": "Lambda", "config": {"name": "evil"}},
        {"class_name": "Lambda", "config": {"name": "evil"}},
        {"class_name": "__lambda__", "config": {"value": "x"}},
        {"module": "keras.layers", "class_name": "TFSMLayer", "config": {"filepath": "/x"}},
        {"module": "keras.layers", "class_name": "StringLookup", "config": {"vocabulary": "/etc/passwd"}},
        {"module": "keras.src.layers.preprocessing.index_lookup", "class_name": "IndexLookup", "config": {}},
        {"module": "keras.layers", "class_name": "NoSuchLayer", "config": {}},
    ],
    ids=lambda entry: f"{entry.get('module')}-{entry['class_name']}",
)
def test_code_and_files_beside_the_model_are_never_imported_or_read(
    digits_models: DigitsModels, tmp_path: Path, entry: dict[str, Any]
) -> None:
    def edit(config: dict[str, Any]) -> None:
        layers(config)[1]["config"]["activation"] = entry

    path = rewritten(digits_models.functional, tmp_path / "m.keras", edit)
    refused(path, tmp_path / "w", Reason.UNSUPPORTED_MODEL)


def test_layers_that_ask_for_more_memory_than_the_weights_fill_are_refused(
    digits_models: DigitsModels, tmp_path: Path
) -> None:
    def edit(config: dict[str, Any]) -> None:
        for layer in layers(config)[1:3]:
            layer["config"]["units"] = 10**9
        for layer in layers(config)[2:]:
            layer["build_config"] = {"input_shape": [None, 10**9]}
        for node in [node for layer in layers(config)[2:] for node in layer["inbound_nodes"]]:
            node["args"][0]["config"]["shape"] = [None, 10**9]

    path = rewritten(digits_models.functional, tmp_path / "m.keras", edit)
    assert "bytes of weights" in refused(path, tmp_path / "w")


def test_a_structure_that_is_not_json_is_refused(digits_models: DigitsModels, tmp_path: Path) -> None:
    for number, text in enumerate(["", "{", "[]", "3", "[" * 10**5, '{"class_name": "Functional"}']):
        path = tmp_path / f"{number}.keras"
        with zipfile.ZipFile(digits_models.functional) as old, zipfile.ZipFile(path, "w") as new:
            for name in old.namelist():
                new.writestr(name, text if name == "config.json" else old.read(name))
        refused(path, tmp_path / "w")


def test_a_deeply_nested_structure_is_refused(digits_models: DigitsModels, tmp_path: Path) -> None:
    def edit(config: dict[str, Any]) -> None:
        value: list[Any] = []
        for _ in range(900):
            value = [value]
        layers(config)[1]["config"]["units"] = value

    refused(rewritten(digits_models.functional, tmp_path / "m.keras", edit), tmp_path / "w")


def test_weights_of_another_model_are_refused(digits_models: DigitsModels, tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    with (
        zipfile.ZipFile(digits_models.functional) as old,
        zipfile.ZipFile(digits_models.cnn) as other,
        zipfile.ZipFile(path, "w") as new,
    ):
        for name in old.namelist():
            new.writestr(name, (other if name.endswith(".h5") else old).read(name))
    refused(path, tmp_path / "w")


def test_a_file_with_a_foreign_entry_is_refused(digits_models: DigitsModels, tmp_path: Path) -> None:
    path = rewritten(digits_models.functional, tmp_path / "m.keras", lambda config: None)
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("assets/vocabulary.txt", "x")
    assert "assets" in refused(path, tmp_path / "w")


def test_external_links_in_the_weights_are_refused(digits_models: DigitsModels, tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    path.write_bytes(digits_models.functional_h5.read_bytes())
    with h5py.File(path, "a") as file:
        file["model_weights/evil"] = h5py.ExternalLink("/etc/passwd", "/x")
    assert "evil" in refused(path, tmp_path / "w")


def test_a_file_of_weights_only_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["kernel"] = np.zeros(3, np.float32)
    assert "model.save" in refused(tmp_path / "w.h5", tmp_path / "w")


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"\x89HDF\r\n\x1a\n", b"PK\x03\x04" + bytes(50), b"\x1f\x8b" * 9]
)
def test_files_of_another_kind_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.keras"
    path.write_bytes(content)
    refused(path, tmp_path / "w")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_files_that_are_cut_off_are_refused(
    digits_models: DigitsModels, tmp_path: Path, share: float
) -> None:
    for source in (
        digits_models.functional,
        digits_models.functional_h5,
        digits_models.zipped,
        digits_models.tarred,
    ):
        data = source.read_bytes()
        path = tmp_path / source.name
        path.write_bytes(data[: int(len(data) * share)])
        refused(path, tmp_path / "w")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert "cannot be read" in refused(tmp_path / "none.keras", tmp_path / "w")
