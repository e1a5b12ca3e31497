"""The ModelDeployment spec as frozen types: the one source of the CRD, its descriptions and its rules.

An operator ignores fields that it does not know (a newer CRD must not stall it). The bounds live in the
schema: the API server and `modelpress plan` enforce them; these types only read what has passed.
"""

from enum import StrEnum

from pydantic import Field, field_validator

from modelpress.api.base import ApiModel, LocalReference
from modelpress.api.evaluation import Evaluation
from modelpress.api.pod_settings import JobSettings, PodSettings
from modelpress.api.schemes import DeviceType, Scheme, names, needing_calibration, only_on
from modelpress.api.values import (
    DECIMAL,
    Bytes,
    DecimalString,
    IntOrPercent,
    Name,
    OciUri,
    PositiveDecimal,
    Sha256,
    Sparsity,
    StringMap,
    Uri,
    parse_bytes,
    rule,
)


class Granularity(StrEnum):
    """What pruning removes: single weights or whole channels."""

    ELEMENT = "Element"
    CHANNEL = "Channel"


class StrategyType(StrEnum):
    """How pods of an old revision are replaced."""

    ROLLING_UPDATE = "RollingUpdate"
    RECREATE = "Recreate"


class ServiceType(StrEnum):
    """From where the Service can be reached."""

    CLUSTER_IP = "ClusterIP"
    NODE_PORT = "NodePort"
    LOAD_BALANCER = "LoadBalancer"


class Source(ApiModel):
    """A file or directory to download."""

    cel = (
        rule(
            "!has(self.secretRef) || !self.uri.startsWith('pvc://')",
            "a claim takes no credentials: leave secretRef out",
            ".secretRef",
        ),
    )
    uri: Uri = Field(
        description="Where the file or directory is: s3://, gs://, az://, hf://, http(s):// or pvc://CLAIM/PATH."
    )
    sha256: Sha256 | None = Field(
        None,
        description="Pin: the SHA-256 of the file; for a directory, of its path-sorted `sha256sum` lines. "
        "A different content is refused with DigestMismatch.",
    )
    secret_ref: LocalReference | None = Field(
        None, description="Secret with the credentials of the source, such as AWS_ACCESS_KEY_ID."
    )


class Model(Source):
    """The trained model."""

    version: str | None = Field(
        None,
        max_length=128,
        description="Free text. Changing it means: read the URI again, its content has changed.",
    )


class Data(ApiModel):
    """Data sets: .npz files with x (N, ...) and y, or the names of several inputs and outputs as keys."""

    training: Source | None = Field(None, description="Data for fine-tuning.")
    calibration: Source | None = Field(
        None, description=f"Data for calibrating activations ({names(needing_calibration())})."
    )
    evaluation: Source | None = Field(None, description="Held-out data that the gate scores.")


class Quantization(ApiModel):
    """Smaller numbers for weights, and for some schemes activations."""

    scheme: Scheme = Field(
        description="Auto measures the candidates and picks one. "
        f"{names(only_on(DeviceType.CPU))} need CPU devices; "
        f"{names(only_on(DeviceType.GPU))} need GPU devices."
    )


class Pruning(ApiModel):
    """Weights set to zero, or channels removed."""

    cel = (rule("has(self.sparsity) != has(self.l0Penalty)", "set exactly one of sparsity and l0Penalty"),)
    sparsity: Sparsity | None = Field(
        None, description="Share of each tensor's weights (or channels) to remove, by magnitude."
    )
    l0_penalty: PositiveDecimal | None = Field(
        None, description="Lambda of the L0 penalty: iterative hard thresholding during fine-tuning."
    )
    granularity: Granularity = Field(
        Granularity.ELEMENT,
        description="Element saves stored bytes only; Channel makes the served model smaller and faster.",
    )


class Compression(ApiModel):
    """How the model is made small. Unset: it is judged and served as it is, in float32."""

    quantization: Quantization | None = Field(None, description="Quantization of weights and activations.")
    pruning: Pruning | None = Field(None, description="Pruning of kernels and embeddings.")


class WeightClipping(ApiModel):
    """W = max(min(W, max), min), of kernels and embeddings."""

    cel = (
        rule(
            f"!self.min.matches('{DECIMAL}') || !self.max.matches('{DECIMAL}') || "
            "double(self.min) < double(self.max)",
            "min must be below max",
            ".min",
        ),
    )
    min: DecimalString = Field(description="Lower bound, a quoted decimal.")
    max: DecimalString = Field(description="Upper bound, a quoted decimal.")


class FineTuning(ApiModel):
    """Training after pruning, on data.training."""

    epochs: int = Field(ge=1, le=1000, description="Passes over data.training.")
    batch_size: int = Field(32, ge=1, le=65536, description="Rows in a training batch.")
    learning_rate: PositiveDecimal | None = Field(
        None,
        description="Unset: 0.01 * batch^-0.5 * layers^-0.25 * parameters^-0.1.",
    )


class Optimization(ApiModel):
    """What is done to the weights beside compression."""

    weight_clipping: WeightClipping | None = Field(None, description="Limits of the weights.")
    fine_tuning: FineTuning | None = Field(None, description="Training after pruning.")


class Parallelism(ApiModel):
    """How one replica is spread over devices."""

    cel = (
        rule(
            "self.podsPerReplica < 1 || self.pipeline % self.podsPerReplica == 0",
            "pipeline must be a multiple of podsPerReplica",
            ".pipeline",
        ),
        rule(
            "self.podsPerReplica < 1 || self.data * self.tensor * self.pipeline / self.podsPerReplica <= 16",
            "data * tensor * pipeline / podsPerReplica must be at most 16 devices in a pod",
        ),
    )
    data: int = Field(1, ge=1, le=16, description="Independent copies in a pod; a batch's rows are split.")
    tensor: int = Field(1, ge=1, le=16, description="Shards of each weight. More than 1 needs GPU devices.")
    pipeline: int = Field(1, ge=1, le=16, description="Stages of consecutive layers on consecutive devices.")
    pods_per_replica: int = Field(1, ge=1, le=16, description="Pods that the stages are spread over.")


class Devices(ApiModel):
    """What a worker computes on."""

    type: DeviceType = Field(
        DeviceType.GPU, description="GPU: TensorFlow with XLA. CPU: LiteRT; copies and stages are threads."
    )
    resource_name: Name | None = Field(
        None,
        description="Extended resource to request. Unset: nvidia.com/gpu for GPU, or nothing where "
        "worker.resourceClaims is set; nothing for CPU.",
    )


class Serving(ApiModel):
    """Limits of the inference server."""

    max_batch_size: int = Field(32, ge=1, le=4096, description="Rows that are computed in one call.")
    max_batch_delay_milliseconds: int = Field(
        0, ge=0, le=10000, description="How long a batch waits for more rows while the device is free."
    )
    request_timeout_seconds: int = Field(30, ge=1, le=3600, description="After this a request gets 504.")
    max_request_bytes: Bytes = Field("64Mi", description="A larger request body gets 413.")
    max_input_length: int | None = Field(
        None,
        ge=1,
        le=2**31 - 1,
        description="Greatest size of each dimension that the model leaves open beside the batch, such as "
        "the tokens of a text; a greater one gets 400. It can only lower the limit that compression "
        "measured, which holds where this is unset.",
    )
    drain_seconds: int = Field(
        10,
        ge=0,
        le=3600,
        description="How long a pod that ends still takes new requests, so that load balancers can move on. "
        "Its grace period is this, requestTimeoutSeconds and 5 more seconds.",
    )

    @field_validator("max_request_bytes")
    @classmethod
    def _check_bytes(cls, value: str) -> str:
        parse_bytes(value)
        return value

    @property
    def request_bytes(self) -> int:
        """Return maxRequestBytes as a number."""
        return parse_bytes(self.max_request_bytes)


class RollingUpdate(ApiModel):
    """Bounds of a rolling update; a percentage is of replicas. `planning.strategy` fills in what is unset."""

    cel = (
        rule(
            "!has(self.maxSurge) || !has(self.maxUnavailable) || "
            "!((self.maxSurge == 0 || self.maxSurge == '0%') && "
            "(self.maxUnavailable == 0 || self.maxUnavailable == '0%'))",
            "maxSurge and maxUnavailable must not both be 0",
        ),
    )
    max_surge: IntOrPercent | None = Field(
        None,
        description="Pods above replicas during an update. Unset: 1 without devices; with them 0, or 1 where "
        "maxUnavailable is 0.",
    )
    max_unavailable: IntOrPercent | None = Field(
        None,
        description="Pods that may be missing during an update. Unset: 0, or 1 where maxSurge is 0.",
    )


class Strategy(ApiModel):
    """How pods of an old revision are replaced."""

    type: StrategyType = Field(
        StrategyType.ROLLING_UPDATE,
        description="RollingUpdate replaces pods step by step; Recreate stops all old pods first.",
    )
    rolling_update: RollingUpdate | None = Field(
        None,
        description="Bounds of a rolling update. Unset: on CPU the new pod starts first; on GPU, where no "
        "device may be spare, the old pod ends first.",
    )


class ServiceSettings(ApiModel):
    """The Service in front of the workers."""

    type: ServiceType = Field(
        ServiceType.CLUSTER_IP,
        description="ClusterIP: inside the cluster; NodePort and LoadBalancer: from outside as well.",
    )
    labels: StringMap | None = Field(None, description="Labels added to the Service.")
    annotations: StringMap | None = Field(
        None,
        description="Annotations added to the Service, such as those that a cloud's load balancer reads.",
    )


class Storage(ApiModel):
    """Where artifacts are kept."""

    uri: OciUri = Field(description="Repository of the artifacts, oci://REGISTRY/REPOSITORY.")
    secret_ref: LocalReference | None = Field(
        None, description="Secret of type kubernetes.io/dockerconfigjson for the registry."
    )


_NEEDS_GPU = "self.devices.type == 'GPU'"
_SCHEME = "has(self.compression) && has(self.compression.quantization)"
_PRUNING = "has(self.compression) && has(self.compression.pruning)"
_TUNING = "has(self.optimization) && has(self.optimization.fineTuning)"
_CLIPPING = "has(self.optimization) && has(self.optimization.weightClipping)"


def _scheme_rule(schemes: list[Scheme], condition: str, needed: str) -> dict[str, str]:
    """Return the rule that the condition, a CEL expression, holds with each of these schemes."""
    values = [scheme.value for scheme in schemes]
    chosen = f"in {values}" if len(values) > 1 else f"== '{values[0]}'"
    subject = f"schemes {names(schemes)} need" if len(values) > 1 else f"scheme {values[0]} needs"
    return rule(
        f"!({_SCHEME} && self.compression.quantization.scheme {chosen}) || {condition}",
        f"{subject} {needed}",
        ".compression.quantization.scheme",
    )


class Spec(ApiModel):
    """What to serve, how small, how good, on which devices and how many times."""

    cel = (
        rule(
            f"!({_PRUNING} && has(self.compression.pruning.l0Penalty)) || ({_TUNING})",
            "l0Penalty needs optimization.fineTuning",
            ".compression.pruning.l0Penalty",
        ),
        rule(
            f"!({_TUNING}) || (has(self.data) && has(self.data.training))",
            "fineTuning needs data.training",
            ".optimization.fineTuning",
        ),
        _scheme_rule(
            needing_calibration(), "(has(self.data) && has(self.data.calibration))", "data.calibration"
        ),
        rule(
            "!has(self.evaluation) || !(has(self.evaluation.minScore) || has(self.evaluation.maxDrop)) || "
            "(has(self.data) && has(self.data.evaluation))",
            "minScore and maxDrop need data.evaluation",
            ".evaluation",
        ),
        rule(
            "!has(self.evaluation) || !has(self.evaluation.outputs) || "
            "(has(self.data) && has(self.data.evaluation))",
            "outputs need data.evaluation",
            ".evaluation.outputs",
        ),
        _scheme_rule(
            [Scheme.AUTO],
            "!has(self.evaluation) || !has(self.evaluation.outputs)",
            "one metric and limits for all outputs: leave evaluation.outputs out",
        ),
        rule(
            f"!({_PRUNING} && {_CLIPPING}) || "
            f"!self.optimization.weightClipping.min.matches('{DECIMAL}') || "
            f"!self.optimization.weightClipping.max.matches('{DECIMAL}') || "
            "(double(self.optimization.weightClipping.min) <= 0.0 && "
            "double(self.optimization.weightClipping.max) >= 0.0)",
            "weightClipping together with pruning must contain 0: min <= 0 <= max",
            ".optimization.weightClipping",
        ),
        rule(
            f"self.parallelism.tensor == 1 || {_NEEDS_GPU}",
            "tensor above 1 needs devices.type GPU",
            ".parallelism.tensor",
        ),
        *(
            _scheme_rule(only_on(device), f"self.devices.type == '{device}'", f"devices.type {device}")
            for device in (DeviceType.CPU, DeviceType.GPU)
        ),
        _scheme_rule(
            [Scheme.AUTO],
            "(has(self.evaluation) && (has(self.evaluation.minScore) || has(self.evaluation.maxDrop)))",
            "evaluation.minScore or evaluation.maxDrop",
        ),
        rule(
            "!has(self.devices.resourceName) || !self.devices.resourceName.contains('/mig-') || "
            "self.parallelism.data * self.parallelism.tensor * self.parallelism.pipeline == 1",
            "a MIG resource allows no parallelism: a process sees one MIG instance",
            ".devices.resourceName",
        ),
    )
    model: Model = Field(description="The trained TensorFlow or Keras model.")
    data: Data | None = Field(None, description="Data sets for fine-tuning, calibration and evaluation.")
    compression: Compression | None = Field(
        None, description="How the model is made small. Unset: it is judged and served as it is, in float32."
    )
    optimization: Optimization | None = Field(
        None, description="What is done to the weights beside compression."
    )
    evaluation: Evaluation | None = Field(None, description="The quality gate.")
    parallelism: Parallelism = Field(Parallelism(), description="How one replica is spread over devices.")
    devices: Devices = Field(Devices(), description="What a worker computes on.")
    replicas: int = Field(
        1,
        ge=0,
        le=10000,
        description="Copies to run. People and autoscalers write it, never the operator.",
    )
    serving: Serving = Field(Serving(), description="Limits of the inference server.")
    service: ServiceSettings = Field(
        ServiceSettings(), description="The Service in front of the workers; an edit restarts nothing."
    )
    strategy: Strategy = Field(Strategy(), description="How pods of an old revision are replaced.")
    progress_deadline_seconds: int = Field(
        600, ge=10, le=86400, description="A rollout that makes no progress for this long is rolled back."
    )
    storage: Storage | None = Field(
        None, description="Where artifacts are kept. Unset: the operator's default registry."
    )
    worker: PodSettings | None = Field(None, description="Settings of the worker pods.")
    job: JobSettings | None = Field(None, description="Settings of the compression Job.")
    suspend: bool = Field(
        False, description="True: no new Job and no new revision; running pods stay and scale."
    )
