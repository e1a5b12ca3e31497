"""One ModelDeployment and its objects, read once, in the planner's own words."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from pydantic import ValidationError

from modelpress.api import identity, names
from modelpress.api.pod_settings import JobSettings, PodSettings
from modelpress.api.schemes import DeviceType
from modelpress.api.spec import Spec
from modelpress.api.status import Status
from modelpress.planning.artifacts.artifact import StoreLocation
from modelpress.planning.children import objects
from modelpress.planning.children.ownership import Claim, claim, name_conflict
from modelpress.planning.explanation import Explanation
from modelpress.planning.inheritance import completed
from modelpress.planning.problems import pod_problems
from modelpress.planning.types import Body, Key, Observed, Settings

_TEMPLATE_HASH_LABEL = "pod-template-hash"  # the Deployment controller's


@dataclass(frozen=True)
class Facts:
    """What can be said of a resource, readable spec or not."""

    observed: Observed
    settings: Settings

    @property
    def resource(self) -> Body:
        """Return the ModelDeployment."""
        return self.observed.resource

    @property
    def key(self) -> Key:
        """Return namespace and name."""
        return Key(str(objects.dig(self.resource, "metadata", "namespace") or "default"), self.name)

    @property
    def name(self) -> str:
        """Return metadata.name."""
        return objects.name_of(self.resource)

    @property
    def generation(self) -> int:
        """Return metadata.generation."""
        return objects.number(self.resource, "metadata", "generation")

    @property
    def retry(self) -> str | None:
        """Return the value of the retry annotation, as far as a status can hold it."""
        value = objects.annotation(self.resource, names.RETRY_ANNOTATION)
        return value[:256] if value is not None else None

    @property
    def restarted_at(self) -> str | None:
        """Return the value of the restartedAt annotation."""
        return objects.annotation(self.resource, names.RESTARTED_ANNOTATION)

    @cached_property
    def status(self) -> Status:
        """Return the last written status; an empty one where it cannot be read."""
        try:
            return Status.model_validate(objects.dig(self.resource, "status") or {})
        except ValidationError:
            return Status()

    @property
    def current_name(self) -> str | None:
        """Return the name of the revision that serves."""
        return self.status.current.name if self.status.current else None

    @cached_property
    def deployment(self) -> Body | None:
        """Return our Deployment."""
        body = objects.named(self.observed.deployments, self.name)
        return body if body and self.claim(body) in (Claim.OURS, Claim.ADOPT) else None

    @cached_property
    def worker_pods(self) -> tuple[Body, ...]:
        """Return the worker pods by name, without those that ended or are being deleted."""
        return tuple(pod for pod in self._workers if not (objects.has_ended(pod) or objects.deleting(pod)))

    @cached_property
    def failed_pods(self) -> tuple[Body, ...]:
        """Return the worker pods that a node refused or put out: others take their place."""
        return tuple(pod for pod in self._workers if objects.dig(pod, "status", "phase") == "Failed")

    @cached_property
    def _workers(self) -> list[Body]:
        pods = [pod for pod in self.observed.pods if objects.label(pod, names.ROLE_LABEL) == names.WORKER]
        return sorted((pod for pod in pods if self._is_of_deployment(pod)), key=objects.name_of)

    def _is_of_deployment(self, pod: Body) -> bool:
        """Return whether the Deployment made a pod: anybody may give a pod our labels.

        ReplicaSets are not watched. One that a Deployment makes is named after it and the hash on its pods.
        """
        owner = objects.controller(pod) or {}
        if owner.get("kind") == "Deployment":  # in local mode
            return owner.get("name") == self.name
        made = f"{self.name}-{objects.label(pod, _TEMPLATE_HASH_LABEL)}"
        return owner.get("kind") == "ReplicaSet" and owner.get("name") == made

    @cached_property
    def ready_replicas(self) -> int:
        """Return how many worker pods are ready."""
        return sum(objects.is_true(pod, "Ready") for pod in self.worker_pods)

    @property
    def running_revision(self) -> str | None:
        """Return the name of the revision that the Deployment's pod template was made from."""
        return objects.label(objects.dig(self.deployment, "spec", "template"), names.REVISION_LABEL)

    def pod_problem(self, revision: str | None = None) -> Explanation | None:
        """Return why worker pods, of one revision or all, are not ready: what they say, who refuses them, how
        those before them failed.
        """
        observed, deployment = self.observed, self.deployment
        pods, failed = (of_revision(each, revision) for each in (self.worker_pods, self.failed_pods))
        return (
            pod_problems.explain(pods, observed.events)
            or (pod_problems.refused_pods(deployment) if deployment else None)
            or pod_problems.explain_failed(failed, observed.now)
        )

    def claim(self, body: Body) -> Claim:
        """Return whose an object is."""
        return claim(body, self.resource)

    def name_conflict(self, kind: str, name: str) -> Explanation | None:
        """Return why an object of a name cannot be made: NameConflict or WaitingForDeletion."""
        body = objects.named(self.observed.of_kind(kind), name)
        return name_conflict(body, self.resource, kind) if body else None


@dataclass(frozen=True)
class View(Facts):
    """Facts together with the spec."""

    spec: Spec

    @cached_property
    def recipe_hash(self) -> str:
        """Return the hash of the desired recipe."""
        return identity.recipe_hash(self.spec)

    @cached_property
    def job_settings_hash(self) -> str:
        """Return the hash of what a failed Job, or one that never ran, is made again for."""
        return identity.job_settings_hash(self.spec)

    def job_name(self, attempt: int = 0) -> str:
        """Return the name of the desired recipe's Job after so many that failed of what may heal."""
        return names.job_name(self.name, self.recipe_hash, self.retry, attempt)

    @property
    def store(self) -> StoreLocation:
        """Return where the next Job puts its artifact."""
        storage = self.spec.storage or self.settings.defaults.storage
        return StoreLocation(
            storage.uri or self.settings.store_of(self.key.namespace),
            storage.secret_ref.name if storage.secret_ref else None,
        )

    @property
    def store_is_shared(self) -> bool:
        """Return whether others than those who write this resource may put artifacts where the Job does."""
        return self.spec.storage is None and not self.settings.is_local

    @cached_property
    def worker_settings(self) -> PodSettings:
        """Return the settings of a new revision's workers: the spec's, then those of all resources."""
        defaults = self.settings.defaults
        own = self.spec.worker or PodSettings()
        return completed(own, defaults.workers.of(self.spec.devices.type), self._common_settings)

    @cached_property
    def job_settings(self) -> JobSettings:
        """Return the settings of the next Job, found in the same way."""
        return completed(self.spec.job or JobSettings(), self.settings.defaults.job, self._common_settings)

    @property
    def _common_settings(self) -> PodSettings:
        return PodSettings(image_pull_secrets=self.settings.defaults.image_pull_secrets)

    @property
    def worker_image(self) -> str:
        """Return the image of a new revision's workers."""
        if self.worker_settings.image:
            return self.worker_settings.image
        gpu = self.spec.devices.type is DeviceType.GPU
        return self.settings.worker_gpu_image if gpu else self.settings.worker_image

    @property
    def storage_secret(self) -> str | None:
        """Return the name of the Secret of the spec's own storage."""
        storage = self.spec.storage
        return storage.secret_ref.name if storage and storage.secret_ref else None

    def revision_hashes(self, artifact_digest: str, recipe_hash: str | None) -> tuple[str, str]:
        """Return the hash of the desired revision of an artifact that a recipe made: the usual one, and the
        one that tells it from a revision with another Secret.
        """
        made = (self.spec, artifact_digest, self.restarted_at, recipe_hash)
        return identity.revision_hash(*made), identity.revision_hash(*made, self.storage_secret or "")


def of_revision(pods: Iterable[Body], revision: str | None) -> list[Body]:
    """Return the pods of a revision; of all where it is None."""
    return [pod for pod in pods if revision in (None, objects.label(pod, names.REVISION_LABEL))]


def parse_spec(body: Body) -> Spec:
    """Return the spec of a ModelDeployment. Raises ValueError: one line that names the first bad field."""
    try:
        return Spec.model_validate(objects.dig(body, "spec") or {})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        path = ".".join(["spec", *(str(part) for part in first["loc"])])
        raise ValueError(f"{path}: {first['msg']}") from error
