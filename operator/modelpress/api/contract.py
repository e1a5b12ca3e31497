"""What the planner and the programs in containers agree on: environment, the Job's request and result.

Every path and port that a container uses comes from its environment, so that pods can also run as plain
processes with private folders and free ports (local mode and the test node).
"""

import json
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, ValidationError

from modelpress.api.base import ApiModel
from modelpress.api.conditions import Reason
from modelpress.api.errors import UsageError
from modelpress.api.evaluation import Evaluation, Metric
from modelpress.api.schemes import DeviceType
from modelpress.api.spec import Compression, Data, Model, Optimization, Parallelism, Serving

# both kinds of pods
STORE = "MODELPRESS_STORE"  # oci://registry/repository, or file:///layout in local mode
PLAIN_HTTP_REGISTRY = "MODELPRESS_PLAIN_HTTP_REGISTRY"  # host:port of the registry that may speak plain HTTP
SECRETS = "MODELPRESS_SECRETS"  # folder with one folder for each secretRef, named as below
CLAIMS = "MODELPRESS_CLAIMS"  # the Job's: folder with one folder for each PersistentVolumeClaim of a source
TERMINATION_MESSAGE = "MODELPRESS_TERMINATION_MESSAGE"  # file that the kubelet puts into the pod's status
LOG_FORMAT = "MODELPRESS_LOG_FORMAT"  # json or text
# the Job
REQUEST = "MODELPRESS_REQUEST"  # a JobRequest as JSON
WORK_DIR = "MODELPRESS_WORK_DIR"  # scratch space
# JSON, artifact key to image digest: what alone may be reused of a store that others write to as well. Unset:
# the store belongs to whoever named it, and is asked by key.
KNOWN_ARTIFACTS = "MODELPRESS_KNOWN_ARTIFACTS"
DOWNLOADS = "MODELPRESS_DOWNLOADS"  # a Downloads as JSON; unset: its defaults
# fetch and the worker; `modelpress serve --help` names those of its options
ARTIFACT_DIGEST = "MODELPRESS_ARTIFACT_DIGEST"  # what the init container fetches
MODEL_DIR = "MODELPRESS_MODEL_DIR"  # where it puts the artifact's files
WORKER_CONFIG = "MODELPRESS_WORKER_CONFIG"  # a WorkerConfig as JSON
HOST = "MODELPRESS_HOST"
PORT = "MODELPRESS_PORT"
GRPC_PORT_VARIABLE = "MODELPRESS_GRPC_PORT"
LOGICAL_DEVICES = "MODELPRESS_LOGICAL_DEVICES"  # 1: without a GPU, its CPU stands in for GPUs
ACCESS_LOG = "MODELPRESS_ACCESS_LOG"  # 1: a line of JSON for each request, on standard output

# folders below SECRETS
MODEL_SECRET = "model"  # noqa: S105 - a folder's name
STORAGE_SECRET = "storage"  # noqa: S105 - a folder's name; .dockerconfigjson or POD_TOKEN is in it
POD_TOKEN = "serviceaccount.token"  # noqa: S105 - a file's name; for the default store, renewed by the kubelet
# those of data sets are named training, calibration and evaluation

CLAIMS_MOUNT = "/mnt/modelpress/claims"  # what CLAIMS names in pods
# Variables of worker.env and job.env that would change what ModelPress itself sets are refused.
_OWN_NAMES = ("HOME", "TMPDIR")
_FREE = (LOG_FORMAT, ACCESS_LOG, LOGICAL_DEVICES)

HTTP_PORT = 8080  # the container port "http" of a worker
GRPC_PORT = 8081  # named "grpc"
TERMINATION_MESSAGE_LIMIT = 4096  # bytes, the kubelet's limit
_QUOTED = 100  # characters of a value in an error


def is_reserved(variable: str) -> bool:
    """Return whether only ModelPress may set an environment variable."""
    return variable in _OWN_NAMES or (variable.startswith("MODELPRESS_") and variable not in _FREE)


class JobRequest(ApiModel):
    """What a Job is asked to do: the recipe, and for whom."""

    name: str = Field(description="Name of the ModelDeployment.")
    namespace: str = Field(description="Its namespace.")
    recipe_hash: str = Field(description="Hash of the recipe; returned in the result.")
    model: Model = Field(description="As in the spec.")
    data: Data | None = Field(None, description="As in the spec.")
    compression: Compression | None = Field(None, description="As in the spec.")
    optimization: Optimization | None = Field(None, description="As in the spec.")
    evaluation: Evaluation | None = Field(None, description="As in the spec.")
    device_type: DeviceType = Field(description="spec.devices.type: decides the serving format.")


class Downloads(ApiModel):
    """How Jobs download models and data sets."""

    max_seconds: Annotated[int, Field(ge=60, le=604800)] = Field(
        14400, description="How long one download may take."
    )
    allow_private_redirects: bool = Field(
        False,
        description="Whether a web server with a public address may send on to a private or local one.",
    )


class WorkerConfig(ApiModel):
    """What a worker serves, and how. Where it listens and finds its files differs from process to process."""

    name: str = Field("model", description="Name of the model in the protocols.")
    revision: str = Field("1", description="Its version in the protocols: in pods, the ControllerRevision.")
    artifact_digest: str | None = Field(None, description="sha256:... of the artifact's image manifest.")
    parallelism: Parallelism = Field(Parallelism(), description="As in the spec.")
    serving: Serving = Field(Serving(), description="As in the spec.")

    def to_json(self) -> str:
        """Return the text of WORKER_CONFIG: what differs from the defaults, the same bytes each time."""
        return json.dumps(self.to_wire(), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "WorkerConfig":
        """Read the text of WORKER_CONFIG. Raises UsageError (InvalidSpec) for anything else.

        A field that is not known is an error: what a newer operator asks for is never left out in silence.
        """
        try:
            return cls.model_validate_json(text, strict=True, extra="forbid")
        except ValidationError as error:
            raise UsageError(Reason.INVALID_SPEC, f"{WORKER_CONFIG}: {first_error(error)}") from error


def first_error(error: ValidationError) -> str:
    """Return `field: value: what is accepted` of the first thing that is wrong."""
    first = error.errors(include_url=False)[0]
    path = [".".join(map(str, first["loc"]))] if first["loc"] else []
    if first["type"] == "extra_forbidden":
        what = ["this release knows no such field"]
    elif first["type"] == "value_error":  # from a check of ours, which quotes the value
        what = [str(first["ctx"]["error"])]
    else:
        what = [json.dumps(first["input"])[:_QUOTED], first["msg"]]
    return ": ".join([*path, *what])


class OutputScores(ApiModel):
    """Scores of one output, in percent."""

    name: str = Field(max_length=64, description="The output.")
    metric: Metric = Field(description="Its metric.")
    original: float = Field(description="Score of the original model.")
    compressed: float = Field(description="Score of the format that serves.")


class Scores(ApiModel):
    """Scores of one metric on the evaluation data, in percent; the planner compares them with the limits."""

    metric: Metric = Field(description="The metric.")
    original: float = Field(description="Score of the original model.")
    compressed: float = Field(description="Score of the format that serves.")
    drop: float | None = Field(
        None,
        description="Largest loss of one output, in percentage points; unset: original - compressed. With "
        "several outputs, the worst one of the original need not be that of the format that serves.",
    )
    rows: int = Field(ge=0, description="Rows of the evaluation data.")
    outputs: Annotated[tuple[OutputScores, ...], Field(max_length=16)] = Field(
        (), description="All outputs, where evaluation.outputs judges some of them in another way."
    )


DIGEST = r"^sha256:[0-9a-f]{64}$"
ARTIFACT_KEY = r"^[0-9A-Za-z._-]{1,128}$"
_Digest = Annotated[str, Field(pattern=DIGEST)]
_Size = Annotated[int, Field(ge=0, le=2**43)]  # bytes; the ratio of two has room in the status


MAX_WARNING = 300  # characters
_MAX_WARNINGS = 5
Warnings = Annotated[
    tuple[Annotated[str, Field(max_length=MAX_WARNING)], ...], Field(max_length=_MAX_WARNINGS)
]


class JobResult(ApiModel):
    """What a Job that made (or found) an artifact reports; also where the gate will fail.

    It is read from the status of a pod, which runs code on models of others: every field is bounded.
    """

    recipe_hash: str = Field(max_length=64, description="As requested.")
    source_digest: _Digest = Field(description="sha256:... of the original model.")
    artifact_key: str = Field(
        pattern=ARTIFACT_KEY, description="Hash of contents, recipe and compressor version."
    )
    artifact_digest: _Digest = Field(description="sha256:... of the artifact's image manifest.")
    reused: bool = Field(False, description="True where a finished artifact of the same key was found.")
    original_bytes: _Size = Field(description="Bytes of the original weights in float32.")
    compressed_bytes: _Size = Field(description="Bytes of the serving format.")
    scores: Scores | None = Field(None, description="Unset without evaluation.")
    warnings: Warnings = Field((), description="The first warnings of the report.")
    layers: bool | None = Field(
        None,
        description="Of a form for GPUs: whether the model is of layers, which stages and shards of it need.",
    )


def first_warnings(lines: Sequence[str]) -> tuple[str, ...]:
    """Return what of a report's warnings a JobResult has room for."""
    if len(lines) <= _MAX_WARNINGS:
        return tuple(line[:MAX_WARNING] for line in lines)
    kept = _MAX_WARNINGS - 1
    return (*(line[:MAX_WARNING] for line in lines[:kept]), f"{len(lines) - kept} more: see report.json")


def result_text(result: JobResult) -> str:
    """Return the termination message of a Job that made its artifact; warnings without room are left out."""
    while True:
        text = result.model_dump_json(by_alias=True, exclude_none=True)
        if len(text.encode()) <= TERMINATION_MESSAGE_LIMIT or not result.warnings:
            return text
        result = result.model_copy(update={"warnings": result.warnings[:-1]})


def parse_result(text: str) -> JobResult:
    """Return the JobResult of a termination message. Raises ValueError with one line that names the field."""
    if len(text.encode(errors="replace")) > TERMINATION_MESSAGE_LIMIT:
        raise ValueError(f"is longer than {TERMINATION_MESSAGE_LIMIT} bytes")
    try:
        return JobResult.model_validate_json(text, strict=True)
    except ValidationError as error:
        raise ValueError(first_error(error)) from error


class JobFailure(ApiModel):
    """What a Job, a fetch or a worker that cannot go on reports; the exit code says whether to retry."""

    reason: Reason = Field(description="A documented reason.")
    message: Annotated[str, Field(max_length=3000)] = Field(description="One line for a person.")
