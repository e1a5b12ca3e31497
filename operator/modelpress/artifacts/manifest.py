"""manifest.json: what an artifact holds and what was measured when it was made.

Compression writes it, workers read it. Workers import this module while they start, so it must import
nothing heavier than pydantic: no fsspec, no oras, no TensorFlow.
"""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_camel

from modelpress.api.conditions import Reason
from modelpress.api.contract import Scores, Warnings
from modelpress.api.errors import DataError, MissingError
from modelpress.artifacts import documents
from modelpress.artifacts.digests import file_sha256
from modelpress.bounds import json_values
from modelpress.bounds.room import MAX_ENTRIES

SCHEMA_VERSION = 1
MANIFEST_FILE = "manifest.json"
REPORT_FILE = "report.json"
MODEL_FILE = "model.tflite"
LAYERS_FILE = "structure.json"  # what a TensorFlow form of layers is loaded from

_DIGEST = r"^sha256:[0-9a-f]{64}$"
_HEX = r"^[0-9a-f]{64}$"
_FORM = r"^[a-z][a-z0-9_-]{0,63}$"
_NAME = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}"
_MAX_TENSORS = 10_000
_MAX_OPERATORS = 15_000
_MAX_VALUES = 150_000  # in the file: nine for each operator
PLAIN_PATH = (
    rf"^{_NAME}(/{_NAME}){{0,7}}$"  # relative, no "..", nothing that a shell or tar reads in two ways
)


def _numpy_name(value: str) -> str:
    try:
        name = np.dtype(value).name
    except TypeError:
        name = ""
    if name != value:
        raise ValueError(f"{value!r} is not the name of a numpy dtype such as float32")
    return value


def _at_most(entries: int) -> BeforeValidator:
    """Bound a dict before what is in it is looked at: pydantic collects what is wrong with each entry."""

    def check(value: Any) -> Any:
        if isinstance(value, dict) and len(value) > entries:
            raise ValueError(f"more than {entries} entries")
        return value

    return BeforeValidator(check)


class _Model(BaseModel):
    """Frozen, camelCase in the file; fields of later releases are ignored."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        alias_generator=to_camel,
        populate_by_name=True,
        protected_namespaces=(),
        ser_json_inf_nan="null",
    )


class Form(StrEnum):
    """How compression stores a model for serving."""

    TFLITE = "tflite"  # model.tflite, for CPU devices
    TENSORFLOW = "tensorflow"  # structure.json or saved_model.pb, with weights.safetensors: for GPU devices


class ComputeDtype(StrEnum):
    """In what the layers of a TensorFlow form compute; fragile ones (`models.precision`) stay at float32."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"


class TensorSpec(_Model):
    """One input or output of the model."""

    name: str = Field(min_length=1, max_length=512, description="Name in the protocols.")
    shape: tuple[Annotated[int, Field(ge=-1)], ...] = Field(
        max_length=32, description="Sizes of the axes, the batch axis first; -1 where a size is free."
    )
    # numpy takes long to read a long text
    dtype: Annotated[str, Field(pattern=r"^[a-z]{1,12}[0-9]{0,3}$"), AfterValidator(_numpy_name)] = Field(
        description="numpy name, such as float32."
    )


class PassSummary(_Model):
    """What one pass did; report.json has it tensor by tensor."""

    name: str = Field(description="Such as pruning or quantization.")
    parameters: Annotated[dict[str, str | int | float | bool], _at_most(100)] = Field(
        default_factory=dict, description="Its settings, such as sparsity=50%."
    )
    changed: int = Field(0, ge=0, description="Tensors that it changed.")
    skipped: int = Field(0, ge=0, description="Tensors that it left as they are.")


class LayerCost(_Model):
    """Measured cost of one operator of the serving format; pipelines are cut by it."""

    index: int = Field(ge=0, description="Index of the operator in the main subgraph.")
    name: str = Field(description="Its type, such as FULLY_CONNECTED.")
    microseconds: float = Field(ge=0, description="Mean time of one call.")
    bytes: int = Field(ge=0, description="Bytes of its constant tensors.")


Shapes = tuple[tuple[Annotated[int, Field(ge=0)], ...], ...]
_BoundedShapes = Annotated[
    tuple[Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(max_length=32), FailFast()], ...],
    Field(max_length=_MAX_TENSORS),
    FailFast(),
]


class RowMemory(_Model):
    """Memory of a call with one row, for inputs of one size."""

    shapes: _BoundedShapes = Field(description="Of a row of each input, in the model's order.")
    bytes: int = Field(ge=0, description="Largest memory during the call, over that of the smallest inputs.")


class InputSizes(_Model):
    """Of a model whose inputs have a free size beside the batch: how much longer inputs take."""

    known: _BoundedShapes = Field(
        description="Of a row of each input of data.evaluation, or of the example where there is no data."
    )
    memory: tuple[RowMemory, ...] = Field(
        max_length=100, description="Of growing inputs, up to where the measurement ended."
    )


class ArtifactManifest(_Model):
    """Content of manifest.json."""

    schema_version: int = Field(SCHEMA_VERSION, ge=1, description="Raised when an old worker cannot read it.")
    form: Annotated[str, Field(pattern=_FORM)] = Field(
        description="How the model is stored: a Form, or one that workers know beside those."
    )
    model_file: Annotated[str, Field(pattern=PLAIN_PATH)] = Field(
        MODEL_FILE, description="File of the artifact that is loaded."
    )
    files: Annotated[
        dict[Annotated[str, Field(pattern=PLAIN_PATH)], Annotated[str, Field(pattern=_HEX)]],
        _at_most(MAX_ENTRIES),
    ] = Field(description="SHA-256 of every file of the artifact but manifest.json.")
    compute_dtype: ComputeDtype | None = Field(
        None,
        description="Of a TensorFlow form: what most layers compute in; its files say it layer by layer.",
    )
    inputs: Annotated[tuple[TensorSpec, ...], FailFast()] = Field(
        min_length=1, max_length=_MAX_TENSORS, description="Inputs, in the model's order."
    )
    outputs: Annotated[tuple[TensorSpec, ...], FailFast()] = Field(
        min_length=1, max_length=_MAX_TENSORS, description="Outputs, in the model's order."
    )
    input_sizes: InputSizes | None = Field(
        None, description="Unset where no input has a free size, and where nothing could be measured."
    )
    artifact_key: Annotated[str, Field(pattern=_HEX)] = Field(
        description="Hash of contents, recipe and compressor version."
    )
    source_digest: Annotated[str, Field(pattern=_DIGEST)] = Field(
        description="sha256:... of the original model."
    )
    recipe_hash: str = Field(max_length=64, description="Recipe of the Job that made the artifact.")
    compressor_version: str = Field(description="Release of ModelPress that made the artifact.")
    original_bytes: int = Field(ge=0, description="Bytes of the original weights in float32.")
    compressed_bytes: int = Field(ge=0, description="Bytes of the serving format.")
    scores: Scores | None = Field(None, description="Unset without evaluation.")
    warnings: Warnings = Field((), description="The first warnings of report.json.")
    passes: tuple[PassSummary, ...] = Field(
        (), max_length=100, description="What was done to the model, in order."
    )
    layer_costs: Annotated[tuple[LayerCost, ...], FailFast()] = Field(
        (), max_length=_MAX_OPERATORS, description="Empty where nothing was measured."
    )

    @model_validator(mode="after")
    def _sizes_are_of_the_inputs(self) -> Self:
        sizes = self.input_sizes
        ranks = [len(spec.shape) - 1 for spec in self.inputs]
        listed = [sizes.known, *(step.shapes for step in sizes.memory)] if sizes else []
        if any([len(shape) for shape in shapes] != ranks for shapes in listed):
            raise ValueError("inputSizes has shapes that are not those of the inputs")
        return self

    @property
    def has_layers(self) -> bool | None:
        """Whether a TensorFlow form is of layers, which can be cut and split; None for other forms."""
        return self.model_file == LAYERS_FILE if self.form == Form.TENSORFLOW else None

    def to_json(self) -> str:
        """Return the text of manifest.json: the same manifest always gives the same bytes."""
        wire: dict[str, Any] = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return json.dumps(wire, indent=2, sort_keys=True, allow_nan=False) + "\n"


def save(manifest: ArtifactManifest, folder: Path) -> Path:
    """Write manifest.json into `folder` and return its path."""
    path = folder / MANIFEST_FILE
    path.write_text(manifest.to_json(), encoding="utf-8")
    return path


def load(folder: Path) -> ArtifactManifest:
    """Read the manifest.json of `folder`.

    Raises MissingError (ArtifactLost) where there is none, DataError (ArtifactCorrupt) where it is not one.
    """
    path = folder / MANIFEST_FILE
    try:
        text = documents.read(path, documents.MAX_MANIFEST)
    except FileNotFoundError as error:
        raise MissingError(Reason.ARTIFACT_LOST, f"{path}: no such file; it is not an artifact") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(Reason.ARTIFACT_CORRUPT, f"{path}: cannot be read as text") from error
    return parse(text, str(path))


def parse(text: str, where: str) -> ArtifactManifest:
    """Read the text of a manifest.json; `where` names it in errors. Raises DataError (ArtifactCorrupt)."""
    if json_values.count(text) > _MAX_VALUES:
        raise DataError(Reason.ARTIFACT_CORRUPT, f"{where}: more than {_MAX_VALUES} values")
    try:
        manifest = ArtifactManifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "the file"
        raise DataError(Reason.ARTIFACT_CORRUPT, f"{where}: {field}: {first['msg']}") from error
    if manifest.schema_version > SCHEMA_VERSION:
        raise DataError(
            Reason.ARTIFACT_CORRUPT,
            f"{where}: schemaVersion {manifest.schema_version} was written by a newer release;"
            f" this one reads up to {SCHEMA_VERSION}",
        )
    return manifest


def load_verified(folder: Path) -> ArtifactManifest:
    """Read the manifest.json of `folder` and compare every file of the artifact with its SHA-256.

    Raises MissingError (ArtifactLost) for a missing file, DataError (ArtifactCorrupt) for a changed one.
    """
    manifest = load(folder)
    if manifest.model_file not in manifest.files:
        raise DataError(
            Reason.ARTIFACT_CORRUPT,
            f"{folder / MANIFEST_FILE}: modelFile: {manifest.model_file} is not one of files",
        )
    for name, expected in manifest.files.items():
        path = folder / name
        try:
            found = file_sha256(path)
        except FileNotFoundError as error:
            raise MissingError(Reason.ARTIFACT_LOST, f"{path}: no such file") from error
        if found != expected:
            raise DataError(
                Reason.ARTIFACT_CORRUPT, f"{path}: sha256 is {found}, {MANIFEST_FILE} says {expected}"
            )
    return manifest
