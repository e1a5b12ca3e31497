"""The kinds of objects that the operator touches, and every verb that it uses on them.

The table is the operator's whole permission: the REST client refuses a verb that is not in it, and a test
compares it with manifests/rbac.
"""

from dataclasses import dataclass

from modelpress.api import names


@dataclass(frozen=True)
class Resource:
    """A kind of objects in the API."""

    kind: str
    group: str  # empty for the core group
    version: str
    plural: str
    verbs: frozenset[str]
    status_verbs: frozenset[str] = frozenset()  # verbs on the status subresource
    label: str | None = names.NAME_LABEL  # only objects with this label are watched

    @property
    def api_version(self) -> str:
        """Return what stands in an object's apiVersion."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        """Return the URL path of an object or, without a name, of a collection."""
        parts = ["/apis", self.group] if self.group else ["/api"]
        parts.append(self.version)
        if namespace is not None:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        parts += [part for part in (name, subresource) if part is not None]
        return "/".join(parts)


_READ = {"list", "watch"}
_CREATED_ONCE = frozenset({*_READ, "get", "create", "patch", "delete"})
_APPLIED = frozenset({*_READ, "get", "create", "patch", "update", "delete"})

MODEL_DEPLOYMENT = Resource(
    names.KIND,
    names.GROUP,
    names.VERSION,
    names.PLURAL,
    frozenset(_READ),
    status_verbs=frozenset({"update"}),
    label=None,
)
JOB = Resource("Job", "batch", "v1", "jobs", _CREATED_ONCE)
REVISION = Resource("ControllerRevision", "apps", "v1", "controllerrevisions", _CREATED_ONCE)
DEPLOYMENT = Resource("Deployment", "apps", "v1", "deployments", _APPLIED)
SERVICE = Resource("Service", "", "v1", "services", _APPLIED)
NETWORK_POLICY = Resource("NetworkPolicy", "networking.k8s.io", "v1", "networkpolicies", _APPLIED)
DISRUPTION_BUDGET = Resource("PodDisruptionBudget", "policy", "v1", "poddisruptionbudgets", _APPLIED)
POD = Resource("Pod", "", "v1", "pods", frozenset(_READ))
EVENT = Resource("Event", "", "v1", "events", frozenset({"list", "create"}), label=None)
# Only the one that the active operator holds, in the operator's own namespace: a Role of its own.
LEASE = Resource(
    "Lease", "coordination.k8s.io", "v1", "leases", frozenset({"get", "create", "update"}), label=None
)

WATCHED = (
    MODEL_DEPLOYMENT,
    JOB,
    REVISION,
    DEPLOYMENT,
    SERVICE,
    NETWORK_POLICY,
    DISRUPTION_BUDGET,
    POD,
)
CREATED_ONCE = frozenset({JOB.kind, REVISION.kind})
APPLIED = frozenset({DEPLOYMENT.kind, SERVICE.kind, NETWORK_POLICY.kind, DISRUPTION_BUDGET.kind})
BY_KIND = {resource.kind: resource for resource in (*WATCHED, EVENT)}


def permissions() -> set[tuple[str, str, str]]:
    """Return every (group, resource, verb) that the operator uses in the namespaces that it watches."""
    used = {(item.group, item.plural, verb) for item in BY_KIND.values() for verb in item.verbs}
    return used | {
        (item.group, f"{item.plural}/status", verb) for item in BY_KIND.values() for verb in item.status_verbs
    }
