"""The table of layers in docs/compression.md, from the lists of accepted layers and the cases of Keras 2.

`make formats` or `python -m tests.support.models.keras_2.layers_table` writes it.
"""

from collections.abc import Iterator

from modelpress.models.keras import allowed_layers
from tests.support.models import page_tables
from tests.support.models.keras_2 import cases, expected
from tests.support.models.page_tables import PAGE, row

# layers of Keras 2 alone, and those of its cases that Keras 3 has under the same name
ONLY_KERAS_2 = {"LocallyConnected1D", "LocallyConnected2D", "RandomHeight", "RandomWidth", "ThresholdedReLU"}
# names that mean another layer of the list, and parts of models of keras.applications
ALIASES = ("AvgPool", "Convolution", "GlobalAvgPool", "GlobalMaxPool", "MaxPool", "SeparableConvolution")
INNER = {
    "ConvLSTMCell",
    "CustomScaleLayer",
    "GroupedQueryAttention",
    "InputLayer",
    "LayerScale",
    "StochasticDepth",
    "Wrapper",
}
WITHOUT_CASE = {"SpectralNormalization"}  # tf-keras 2.21 fails to make it


def main() -> None:
    PAGE.write_text(rewritten(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def rewritten(text: str) -> str:
    """Return the page with the table of now."""
    return page_tables.rewritten(text, "layers", lines())


def lines() -> Iterator[str]:
    """Yield the table: a row for all layers with the same answers."""
    groups: dict[tuple[str, str], list[str]] = {}
    for name in sorted(names()):
        groups.setdefault((keras_3(name), keras_2(name)), []).append(name)
    yield row("layers", "of Keras 3", "of Keras 2")
    yield row("---", "---", "---")
    for answers, layers in groups.items():
        yield row(", ".join(layers), *answers)


def names() -> set[str]:
    """Return all layers of both libraries that hold no code, each by one name."""
    known = (
        set(allowed_layers.ALLOWED) | ONLY_KERAS_2 | {"IntegerLookup", "StringLookup", "TextVectorization"}
    )
    short = {name for name in known if name.startswith(ALIASES) and "Pooling" not in name}
    return known - short - INNER


def keras_3(name: str) -> str:
    if name in ONLY_KERAS_2:
        return "none such"
    return _text(name) or "loads"


def keras_2(name: str) -> str:
    if name in expected.REFUSED:
        return f"refused: {expected.REFUSED[name]}"
    written = {case.partition(" ")[0] for case in (*cases.LAYERS, "MultiHeadAttention")}
    if name in written:
        return "loads, equal"
    return _text(name) or ("loads" if name in WITHOUT_CASE else "none such")


def _text(name: str) -> str:
    why = allowed_layers.REFUSED.get(name)
    return f"refused: {why}" if why else ""


if __name__ == "__main__":
    main()
