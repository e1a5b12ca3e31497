"""Real models, trained on scikit-learn's digits (8 x 8 images), as the files that users would bring.

The functional and the subclassed network have the same weights, so that their predictions can be compared.
"""

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from modelpress import logs
from tests.support.models import cache as model_cache

logs.quiet_tensorflow()
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")


@dataclass(frozen=True)
class Digits:
    """Images of 64 numbers from 0 to 1, and labels 0..9; 1,257 to train, 540 held out."""

    train_x: npt.NDArray[np.float32]
    train_y: npt.NDArray[np.int64]
    test_x: npt.NDArray[np.float32]
    test_y: npt.NDArray[np.int64]


@dataclass(frozen=True)
class DigitsModels:
    """Files below one folder."""

    folder: Path
    saved_model: Path  # directory, of the subclassed model
    zipped: Path
    tarred: Path
    functional: Path  # .keras with the same weights
    functional_h5: Path
    subclassed: Path  # .keras that must be refused
    cnn: Path  # .keras, two convolutions with batch normalization
    flat_data: Path  # .npz for the networks: x (540, 64), y
    image_data: Path  # .npz for the CNN: x (540, 8, 8, 1), y
    digits: Digits


def load_digits() -> Digits:
    """Return the data set in a fixed split."""
    from sklearn.datasets import load_digits as load
    from sklearn.model_selection import train_test_split

    bunch: Any = load()
    x, y = (bunch.data / 16).astype(np.float32), bunch.target.astype(np.int64)
    train_x, test_x, train_y, test_y = train_test_split(x, y, test_size=0.3, random_state=0, stratify=y)
    return Digits(train_x, train_y, test_x, test_y)


def build(folder: Path) -> DigitsModels:
    """Write the models and the data, trained once, into a folder."""
    model_cache.copy("tests.support.models.trained", folder)
    return _below(folder)


def _below(folder: Path) -> DigitsModels:
    return DigitsModels(
        folder=folder,
        saved_model=folder / "seed",
        zipped=folder / "seed.zip",
        tarred=folder / "seed.tar.gz",
        functional=folder / "functional.keras",
        functional_h5=folder / "functional.h5",
        subclassed=folder / "subclassed.keras",
        cnn=folder / "cnn.keras",
        flat_data=folder / "flat.npz",
        image_data=folder / "images.npz",
        digits=load_digits(),
    )


def main(folder: Path) -> None:
    """Train and write everything."""
    import keras

    models = _below(folder)
    digits = models.digits
    keras.utils.set_random_seed(0)
    functional = _functional(keras)
    _train(functional, digits.train_x, digits.train_y, epochs=30)
    subclassed = _subclassed(keras)
    subclassed(digits.train_x[:1])
    subclassed.set_weights(functional.get_weights())
    cnn = _cnn(keras)
    _train(cnn, digits.train_x.reshape(-1, 8, 8, 1), digits.train_y, epochs=8)
    subclassed.export(models.saved_model, verbose=False)
    shutil.make_archive(str(folder / "seed"), "zip", folder, "seed")
    shutil.make_archive(str(folder / "seed"), "gztar", models.saved_model)
    functional.save(models.functional)
    functional.save(models.functional_h5)
    subclassed.save(models.subclassed)
    cnn.save(models.cnn)
    np.savez_compressed(models.flat_data, x=digits.test_x, y=digits.test_y)
    np.savez_compressed(models.image_data, x=digits.test_x.reshape(-1, 8, 8, 1), y=digits.test_y)


def _functional(keras: Any) -> Any:
    image = keras.Input((64,), name="image")
    hidden = keras.layers.Dense(64, activation="relu", name="first")(image)
    hidden = keras.layers.Dense(32, activation="relu", name="second")(hidden)
    return keras.Model(image, keras.layers.Dense(10, activation="softmax", name="digit")(hidden))


def _subclassed(keras: Any) -> Any:
    class DigitsNet(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.first = keras.layers.Dense(64, activation="relu")
            self.second = keras.layers.Dense(32, activation="relu")
            self.digit = keras.layers.Dense(10, activation="softmax")

        def call(self, inputs: Any) -> Any:
            return self.digit(self.second(self.first(inputs)))

    return DigitsNet()


def _cnn(keras: Any) -> Any:
    image = keras.Input((8, 8, 1), name="image")
    hidden = keras.layers.Conv2D(16, 3, activation="relu")(image)
    hidden = keras.layers.BatchNormalization()(hidden)
    hidden = keras.layers.Conv2D(32, 3, activation="relu")(hidden)
    hidden = keras.layers.Flatten()(hidden)
    hidden = keras.layers.Dropout(0.3)(hidden)
    hidden = keras.layers.Dense(64, activation="relu")(hidden)
    return keras.Model(image, keras.layers.Dense(10, activation="softmax", name="digit")(hidden))


def _train(model: Any, x: npt.NDArray[Any], y: npt.NDArray[Any], epochs: int) -> None:
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, epochs=epochs, batch_size=32, verbose=0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
