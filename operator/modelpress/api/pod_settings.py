"""Settings of pods in the spec: labels, placement, environment and resources of workers and of the Job."""

from typing import Annotated

from pydantic import Field

from modelpress.api.base import ApiModel, LocalReference
from modelpress.api.values import FreeList, FreeObject, Name, StringMap


class PodSettings(ApiModel):
    """Settings of pods; Kubernetes checks affinity, tolerations, env and resources itself."""

    labels: StringMap | None = Field(None, description="Labels added to the pods.")
    annotations: StringMap | None = Field(None, description="Annotations added to the pods.")
    image: Annotated[str, Field(min_length=1, max_length=512)] | None = Field(
        None, description="Image to run instead of the operator's default."
    )
    image_pull_secrets: Annotated[list[LocalReference], Field(max_length=16)] | None = Field(
        None, description="Secrets for pulling the image."
    )
    service_account_name: Name | None = Field(None, description="ServiceAccount; no API token is mounted.")
    node_selector: StringMap | None = Field(None, description="Labels that a node must have.")
    tolerations: FreeList | None = Field(None, description="Tolerations, as in a pod.")
    affinity: FreeObject | None = Field(None, description="Affinity, as in a pod.")
    topology_spread_constraints: FreeList | None = Field(
        None,
        description="Topology spread constraints, as in a pod. Unset: workers are spread over nodes where "
        "possible; an empty list switches it off.",
    )
    priority_class_name: Name | None = Field(None, description="PriorityClass of the pods.")
    runtime_class_name: Name | None = Field(None, description="RuntimeClass of the pods.")
    env: FreeList | None = Field(None, description="Environment variables of the container, as in a pod.")
    resources: FreeObject | None = Field(
        None, description="Requests and limits of the container, as in a pod. Devices are added to them."
    )
    resource_claims: FreeList | None = Field(
        None,
        description="Dynamic resource claims, as in a pod; resources.claims gives them to the container.",
    )


class JobSettings(PodSettings):
    """Settings of the compression Job."""

    labels: StringMap | None = Field(
        None, description="Labels added to the Job and its pods, such as kueue.x-k8s.io/queue-name."
    )
    backoff_limit: int = Field(2, ge=0, le=20, description="Retries after node and network faults.")
    active_deadline_seconds: int = Field(
        86400, ge=60, le=604800, description="After this the Job is stopped, in seconds."
    )
