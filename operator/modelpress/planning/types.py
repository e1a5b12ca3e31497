"""What the planner reads and what it returns."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from modelpress.api.conditions import Reason
from modelpress.api.defaults import Defaults

Body = Mapping[str, Any]  # a Kubernetes object as JSON


class Key(NamedTuple):
    """A ModelDeployment."""

    namespace: str
    name: str


class Ref(NamedTuple):
    """An object; `uid` guards a write against a successor of the same name."""

    kind: str
    namespace: str
    name: str
    uid: str | None = None
    version: str | None = None  # resourceVersion: what has changed since is not deleted


class Mark(NamedTuple):
    """Annotations to add to an object."""

    ref: Ref
    annotations: Mapping[str, str]


class Known(NamedTuple):
    """A finished artifact that an object of a namespace names."""

    key: str  # artifact key
    digest: str
    store: str  # URI


class Refusal(NamedTuple):
    """What the API server answers when it is asked for a revision that does not run yet."""

    revision: str  # its name
    reason: Reason
    message: str


@dataclass(frozen=True)
class Settings:
    """What the operator was started with."""

    compressor_image: str
    worker_image: str
    worker_gpu_image: str
    store: str  # default of spec.storage.uri; file:///folder in local mode
    store_audience: str | None = None  # of the tokens that pods show the default store; None: none
    plain_http_registry: str | None = None  # host:port of the registry that may speak plain HTTP
    cluster_domain: str = "cluster.local"
    fixed_user: bool = True  # pods name user, group and fsGroup 65532; else the cluster chooses
    defaults: Defaults = field(default_factory=Defaults)  # for all ModelDeployments
    tries_again: bool = True  # a Job whose source or store is away; local mode ends instead

    @property
    def is_local(self) -> bool:
        """Return whether artifacts are in a folder of this machine, which is its user's own."""
        return self.store.startswith("file:")

    def store_of(self, namespace: str) -> str:
        """Return the default store of a namespace: a repository of its own."""
        return self.store if self.is_local else f"{self.store}/{namespace}"


@dataclass(frozen=True)
class Repair:
    """A child was applied again, unchanged, because fields of it were out of place."""

    kind: str
    name: str
    fields: tuple[str, ...]  # as a person writes them
    count: int  # how often
    at: datetime  # the last time

    def is_of(self, kind: str, name: str, fields: tuple[str, ...]) -> bool:
        """Return whether the same fields of an object were put right."""
        return (self.kind, self.name, self.fields) == (kind, name, fields)


@dataclass(frozen=True)
class Observed:
    """One ModelDeployment and all that belongs to it, as the cluster last showed it."""

    resource: Body
    now: datetime
    jobs: tuple[Body, ...] = ()
    revisions: tuple[Body, ...] = ()  # ControllerRevisions
    deployments: tuple[Body, ...] = ()
    services: tuple[Body, ...] = ()
    network_policies: tuple[Body, ...] = ()
    disruption_budgets: tuple[Body, ...] = ()
    pods: tuple[Body, ...] = ()  # pods of Jobs and of Deployments
    artifacts: tuple[Known, ...] = ()  # of the whole namespace, those that were named last first
    events: tuple[Body, ...] = ()  # events about waiting pods, their claims, and Jobs without pods
    repairs: tuple[Repair, ...] = ()  # of the last minutes
    refusal: Refusal | None = None  # of the revision that would be rolled out
    live_jobs: frozenset[str] = frozenset()  # UIDs of Jobs all of whose pods were read live, not from a watch
    free_job_slots: int = 1  # how many more Jobs this ModelDeployment may start
    slot_seconds: float = 5.0  # until the next look where it may start none
    # digest of a status that changed nothing when it was written: the API server's CRD is older than it
    vain_status: str | None = None

    def of_kind(self, kind: str) -> tuple[Body, ...]:
        """Return the objects of a kind that the planner applies."""
        found: dict[str, tuple[Body, ...]] = {
            "Job": self.jobs,
            "ControllerRevision": self.revisions,
            "Deployment": self.deployments,
            "Service": self.services,
            "NetworkPolicy": self.network_policies,
            "PodDisruptionBudget": self.disruption_budgets,
        }
        return found[kind]


@dataclass(frozen=True)
class EventNote:
    """An event to write about the ModelDeployment."""

    type: str  # Normal or Warning
    reason: str
    message: str
    once: bool = False  # not again while the API server keeps the last one of this reason, an hour as a rule


@dataclass(frozen=True)
class Plan:
    """What to do now. Applying the same plan twice changes nothing the second time."""

    apply: tuple[Body, ...] = ()  # whole objects that differ from the observed ones, in this order
    delete: tuple[Ref, ...] = ()
    marks: tuple[Mark, ...] = ()
    unseen: tuple[Ref, ...] = ()  # Jobs whose pods decide: they are read live before a plan is carried out
    status: Body | None = None  # the whole status, or None where it is as desired
    events: tuple[EventNote, ...] = ()
    slot_since: str | None = None  # since when (RFC 3339) it waits for a slot of Jobs; None: it does not
    requeue: float | None = None  # seconds until a look is due that no watch event would cause
    log: Mapping[str, Any] = field(default_factory=dict)  # what the log line of this step says beside the key
