"""Whether an object in the cluster is as we applied it, and what of it is to be put right.

Ownership decides, not values: an object is in place while it carries the hash of what was applied last, all
that we applied is still recorded as ours, and nobody else set a field of its spec beside ours. So whatever
an admission webhook makes of our request is in place, and what a person changes is not. Labels and
annotations that others add are theirs. Where nothing is recorded (local mode), values decide.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from modelpress.api import names
from modelpress.api.identity import digest
from modelpress.planning.annotations import weakens
from modelpress.planning.children import managed_fields, objects
from modelpress.planning.children.drift import differs
from modelpress.planning.children.managed_fields import Path
from modelpress.planning.types import Body

_HASH_LENGTH = 16
_STAMP = ("f:metadata", "f:annotations", f"f:{names.APPLIED_ANNOTATION}")
# What the API server and cloud controllers put into a Service's spec; none of it opens more to anybody.
_OF_CLOUDS = frozenset(
    {
        "f:allocateLoadBalancerNodePorts",
        "f:clusterIP",
        "f:clusterIPs",
        "f:externalTrafficPolicy",
        "f:healthCheckNodePort",
        "f:ipFamilies",
        "f:ipFamilyPolicy",
        "f:loadBalancerClass",
        "f:loadBalancerIP",
        "f:loadBalancerSourceRanges",
    }
)
_TEMPLATE = ("f:spec", "f:template")
_POD_SPEC = (*_TEMPLATE, "f:spec")
_SERVICE_ACCOUNT = (*_POD_SPEC, "f:serviceAccountName")
_POD_ANNOTATIONS = (*_TEMPLATE, "f:metadata", "f:annotations")


def stamped(body: Body) -> dict[str, Any]:
    """Return a body to apply with the hash of its content, by which the next look knows it again."""
    metadata = body["metadata"]
    own = {
        key: value
        for key, value in (metadata.get("annotations") or {}).items()
        if key != names.APPLIED_ANNOTATION
    }
    plain = {**body, "metadata": {**metadata, "annotations": own}}
    stamp = {names.APPLIED_ANNOTATION: digest(plain)[:_HASH_LENGTH]}
    return {**body, "metadata": {**metadata, "annotations": {**own, **stamp}}}


def out_of_place(desired: Body, found: Body) -> tuple[str, ...]:
    """Return the fields that are to be put right, as a person writes them; none where all is in place."""
    expected = stamped(desired)
    if not managed_fields.are_known(found):
        return ("spec",) if differs(expected, found) else ()
    own = managed_fields.applied(found)
    if own is None:
        return ("metadata.managedFields",)
    wanted = _applicable(expected)
    lost = (*managed_fields.lacking(own, wanted, found), *managed_fields.beyond(own, wanted))
    hashes = {objects.annotation(body, names.APPLIED_ANNOTATION) for body in (expected, found)}
    stale = [_STAMP] if len(hashes) > 1 else []
    return tuple(sorted({managed_fields.shown(path) for path in (*lost, *stale, *_added(expected, found))}))


def put_right(desired: Body, found: Body, before: Body | None = None) -> Body | None:
    """Return an object without what others set beside ours in its spec, or None where nothing is to go.

    `before` is the object that the apply of `desired` met: what we gave up goes, too, where the API server
    keeps it. The rest stays: what webhooks and clouds added, labels, annotations, finalizers.
    """
    paths = (*_added(desired, found), *_given_up(desired, before, found))
    if not paths:
        return None
    body: Any = found
    for path in (*paths, *_consequences(desired, paths)):
        body = managed_fields.without(body, path)
    entries = found["metadata"]["managedFields"]
    for path in paths:
        entries = managed_fields.released(entries, path)
    return {**body, "metadata": {**body["metadata"], "managedFields": entries}}


def own_template(deployment: Body | None) -> Body | None:
    """Return what we applied of a Deployment's pod template; None where somebody else changed it since."""
    template: Body | None = objects.dig(deployment, "spec", "template")
    if deployment is None or template is None or not managed_fields.are_known(deployment):
        return template
    own = objects.dig(managed_fields.applied(deployment), *_TEMPLATE)
    others = (objects.dig(tree, *_TEMPLATE) for tree in managed_fields.of_others(deployment))
    if not own or any(set(tree or ()) - {"f:metadata"} for tree in others):
        return None
    chosen: Body = managed_fields.selected(own, template)
    return chosen


def made_whole(desired: Body, found: Body) -> Body:
    """Return an object of which nobody knows who set what, with our spec in the place of its own."""
    of_clouds = found["spec"] if desired["kind"] == "Service" else {}
    kept = {key: value for key, value in of_clouds.items() if f"f:{key}" in _OF_CLOUDS}
    return {**found, "spec": {**kept, **desired["spec"]}}


def _applicable(body: Body) -> Body:
    """Return the part of a body that has owners."""
    metadata = {key: value for key, value in body["metadata"].items() if key not in ("name", "namespace")}
    return {"metadata": metadata, "spec": body["spec"]}


def _added(desired: Body, found: Body) -> Iterator[Path]:
    """Yield the fields that others set in the spec beside ours and that may not stay."""
    seen = set()
    for tree in managed_fields.of_others(found):
        spec = {step: below for step, below in tree.items() if step == "f:spec"}
        for path in managed_fields.beyond(spec, desired):
            if path not in seen and managed_fields.holds(found, path) and not _may_stay(path, found):
                seen.add(path)
                yield path


def _given_up(desired: Body, before: Body | None, found: Body) -> Iterator[Path]:
    """Yield what was ours before, is not asked for, and has come back from its other name."""
    own = objects.dig(managed_fields.applied(before), *_POD_SPEC) if before else None
    field = _SERVICE_ACCOUNT[-1]
    is_given_up = own is not None and field in own and not managed_fields.holds(desired, _SERVICE_ACCOUNT)
    if is_given_up and managed_fields.holds(found, _SERVICE_ACCOUNT):
        yield _SERVICE_ACCOUNT


def _may_stay(path: Path, found: Body) -> bool:
    """Return whether a field beside ours may be somebody else's.

    On the pods' template those are annotations: `kubectl rollout restart` writes one. Replicas are beside
    ours only where they are left to an autoscaler.
    """
    if path == managed_fields.REPLICAS:
        return True
    if found.get("kind") == "Service":
        return path[1] in _OF_CLOUDS or path[-1] == "f:nodePort"
    if path[: len(_POD_ANNOTATIONS)] != _POD_ANNOTATIONS:
        return False
    annotations = objects.dig(found, "spec", "template", "metadata", "annotations") or {}
    chosen = {
        key: value
        for key, value in annotations.items()
        if len(path) == len(_POD_ANNOTATIONS) or f"f:{key}" == path[len(_POD_ANNOTATIONS)]
    }
    return not any(weakens(key, str(value)) for key, value in chosen.items())


def _consequences(desired: Body, paths: Sequence[Path]) -> Iterator[Path]:
    """Yield what the API server sets together with a field, in nobody's name, and keeps without it."""
    if _SERVICE_ACCOUNT in paths:
        yield (*_POD_SPEC, "f:serviceAccount")  # an old name of the same
    if (*_POD_SPEC, "f:hostNetwork") in paths:
        for group in ("containers", "initContainers"):
            for container in objects.items(desired, "spec", "template", "spec", group):
                for port in container.get("ports", ()):
                    yield (
                        *(*_POD_SPEC, f"f:{group}", _item(name=container["name"]), "f:ports"),
                        _item(containerPort=port["containerPort"], protocol=port.get("protocol", "TCP")),
                        "f:hostPort",
                    )


def _item(**key: Any) -> str:
    return f"k:{json.dumps(key)}"
