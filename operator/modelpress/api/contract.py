"""What the planner and the programs in containers agree on: environment, the Job's request and result.

Every path and port that a container uses comes from its environment, so that pods can also run as plain
processes with private folders and free ports (local mode and the test node).
"""

from typing import Annotated

from pydantic import Field

from modelpress.api.base import ApiModel
from modelpress.api.conditions import Reason
from modelpress.api.schemes import DeviceType
from modelpress.api.spec import Compression, Data, Evaluation, Metric, Model, Optimization

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
# the worker; `modelpress serve --help` names those of its options
ARTIFACT_DIGEST = "MODELPRESS_ARTIFACT_DIGEST"  # what the init container fetches
MODEL_DIR = "MODELPRESS_MODEL_DIR"  # where it puts the artifact's files
MODEL_NAME = "MODELPRESS_MODEL_NAME"
REVISION = "MODELPRESS_REVISION"  # name of the ControllerRevision
HOST = "MODELPRESS_HOST"
PORT = "MODELPRESS_PORT"
GRPC_PORT_VARIABLE = "MODELPRESS_GRPC_PORT"
DATA = "MODELPRESS_DATA"  # copies
TENSOR = "MODELPRESS_TENSOR"  # shards of each weight; unset where it is 1
PIPELINE = "MODELPRESS_PIPELINE"  # stages
LOGICAL_DEVICES = "MODELPRESS_LOGICAL_DEVICES"  # 1: without a GPU, its CPU stands in for GPUs
MAX_BATCH_SIZE = "MODELPRESS_MAX_BATCH_SIZE"
MAX_BATCH_DELAY = "MODELPRESS_MAX_BATCH_DELAY_MILLISECONDS"
REQUEST_TIMEOUT = "MODELPRESS_REQUEST_TIMEOUT_SECONDS"
DRAIN_SECONDS = "MODELPRESS_DRAIN_SECONDS"  # for which requests are taken after SIGTERM
MAX_REQUEST_BYTES = "MODELPRESS_MAX_REQUEST_BYTES"  # an integer, in bytes
ACCESS_LOG = "MODELPRESS_ACCESS_LOG"  # 1: a line of JSON for each request, on standard output

# folders below SECRETS
MODEL_SECRET = "model"  # noqa: S105 - a folder's name
STORAGE_SECRET = "storage"  # noqa: S105 - a folder's name; .dockerconfigjson is in it
# those of data sets are named training, calibration and evaluation

CLAIMS_MOUNT = "/mnt/modelpress/claims"  # what CLAIMS names in pods
# Variables of worker.env and job.env that would change what ModelPress itself sets are refused.
_OWN_NAMES = ("HOME", "TMPDIR")
_FREE = (LOG_FORMAT, ACCESS_LOG, LOGICAL_DEVICES)

HTTP_PORT = 8080  # the container port "http" of a worker
GRPC_PORT = 8081  # named "grpc"
TERMINATION_MESSAGE_LIMIT = 4096  # bytes, the kubelet's limit


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
    device_type: DeviceType = Field(description="spec.devices.type: decides the serving form.")


class Scores(ApiModel):
    """Scores of one metric on the evaluation data, in percent; the planner compares them with the limits."""

    metric: Metric = Field(description="The metric.")
    original: float = Field(description="Score of the original model.")
    compressed: float = Field(description="Score of the form that serves.")
    drop: float | None = Field(
        None,
        description="Largest loss of one output, in percentage points; unset: original - compressed. With "
        "several outputs, the worst one of the original need not be that of the form that serves.",
    )
    rows: int = Field(description="Rows of the evaluation data.")


class JobResult(ApiModel):
    """What a Job that made (or found) an artifact reports; also where the gate will fail."""

    recipe_hash: str = Field(description="As requested.")
    source_digest: str = Field(description="sha256:... of the original model.")
    artifact_key: str = Field(description="Hash of contents, recipe and compressor version.")
    artifact_digest: str = Field(description="sha256:... of the artifact's image manifest.")
    reused: bool = Field(False, description="True where a finished artifact of the same key was found.")
    original_bytes: int = Field(description="Bytes of the original weights in float32.")
    compressed_bytes: int = Field(description="Bytes of the serving form.")
    scores: Scores | None = Field(None, description="Unset without evaluation.")
    layers: bool | None = Field(
        None,
        description="Of a form for GPUs: whether the model is of layers, which stages and shards of it need.",
    )


class JobFailure(ApiModel):
    """What a Job, a fetch or a worker that cannot go on reports; the exit code says whether to retry."""

    reason: Reason = Field(description="A documented reason.")
    message: Annotated[str, Field(max_length=3000)] = Field(description="One line for a person.")
