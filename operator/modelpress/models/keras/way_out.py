"""What is said of a class in a Keras structure that is not accepted: why, and what its author can do.

A layer that needs code which the file does not hold, or files beside it, is UnsupportedModel: the model may
be good. What no Keras model of somebody's own holds is InvalidModel.
"""

from modelpress.api.errors import DataError
from modelpress.models.keras import allowed_layers
from modelpress.models.types import invalid, unsupported

EXPORT = 'call model.export("model_dir") and give that directory, or a .zip or .tar.gz of it'
EXPORT_WITH_ITS_KERAS = f"load it with the Keras that wrote it (tf-keras for Keras 2), {EXPORT}"
QUANTIZED = "tells that the model is quantized already: give it as it was before, ModelPress quantizes it"

_TEXT = ("IntegerLookup", "StringLookup", "TextVectorization", "IndexLookup", "FeatureSpace")
# names of tensorflow_model_optimization, and of Keras' own model.quantize
_QUANTIZED = ("QuantizedDTypePolicy", "QuantizedFloat8DTypePolicy", "GPTQDTypePolicy", "AWQDTypePolicy")
_CONFIG = "QuantizationConfig"
_STRIPPED = {"PruneLowMagnitude": "strip_pruning", "ClusterWeights": "strip_clustering"}
_LAYERS = ("keras.layers", "keras.src.layers", "keras.engine", "keras.src.engine")


def refusal(where: str, class_name: str) -> DataError | None:
    """Return the error for a class by its name alone; None where the name says nothing.

    `where` is the file and the layer that messages speak of.
    """
    why = _refused(class_name)
    return unsupported(f"{where} {why}") if why else None


def _refused(class_name: str) -> str | None:
    if class_name in _QUANTIZED or class_name.startswith("Quantize") or class_name.endswith(_CONFIG):
        return QUANTIZED
    if class_name in _STRIPPED:
        tool = f"tensorflow_model_optimization's {_STRIPPED[class_name]}"
        return f"wraps a layer for training: call {tool}(model) and save what it returns"
    if class_name == "__lambda__":
        return f"holds Python code, and code in a model file is never run: {EXPORT}"
    if why := allowed_layers.REFUSED.get(class_name):
        return f"is not accepted: {why}" if class_name in _TEXT else f"is not accepted: {why}: {EXPORT}"
    return None


def unknown(where: str, module: str | None, keras_version: str) -> DataError:
    """Return the error for a class that this Keras has not; `keras_version` is this Keras'."""
    missing = f"{where}: Keras {keras_version} has no such layer in {module or 'keras.layers'}"
    if module is None or module.startswith(_LAYERS):
        return unsupported(f"{missing}: {EXPORT_WITH_ITS_KERAS}")
    return invalid(missing)
