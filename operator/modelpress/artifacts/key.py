"""The artifact key: what finds a finished artifact in a store, so that nothing is compressed twice."""

from collections.abc import Mapping
from typing import Any

from modelpress.api.contract import JobRequest
from modelpress.api.identity import digest, scoring
from modelpress.api.schemes import Scheme


def key_recipe(request: JobRequest) -> dict[str, Any]:
    """Return what is done to the model, without where the model and the data come from.

    URIs, Secrets, pins and versions do not count: contents do. Neither do the limits of the evaluation
    (scores are judged after the Job), except with scheme Auto, which chooses by them.
    """
    wire = request.to_wire()
    parts = ("compression", "optimization")
    recipe: dict[str, Any] = {part: wire[part] for part in parts if part in wire}
    recipe["deviceType"] = request.device_type.value
    if request.evaluation:
        quantization = request.compression.quantization if request.compression else None
        auto = quantization is not None and quantization.scheme is Scheme.AUTO
        recipe |= scoring(request.evaluation, auto=auto)
    return recipe


def artifact_key(
    model_sha256: str, data_sha256s: Mapping[str, str], recipe: Mapping[str, Any], compressor_version: str
) -> str:
    """Return the key as 64 hexadecimal digits.

    `data_sha256s` has the SHA-256 of each data set that was read, by its role (training, calibration,
    evaluation); `recipe` is that of `key_recipe`.
    """
    return digest(
        {
            "model": model_sha256,
            "data": dict(data_sha256s),
            "recipe": dict(recipe),
            "compressor": compressor_version,
        }
    )
