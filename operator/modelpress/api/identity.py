"""The two identities that follow from the spec: the recipe (names a Job) and the revision (names a rollout).

Both hash only fields that differ from their defaults: a field that a later release adds changes no hash.
"""

import hashlib
import json
from typing import Any

from modelpress.api.schemes import Scheme
from modelpress.api.spec import Spec


def digest(value: Any) -> str:
    """Return the SHA-256 of `value` as canonical JSON, 64 hexadecimal digits."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def recipe(spec: Spec) -> dict[str, Any]:
    """Return the fragment of the spec that an artifact and its scores depend on."""
    wire = spec.to_wire()
    keys = ("model", "data", "compression", "optimization")
    fragment: dict[str, Any] = {key: wire[key] for key in keys if key in wire}
    fragment["deviceType"] = spec.devices.type.value
    quantization = spec.compression.quantization if spec.compression else None
    if spec.evaluation and quantization and quantization.scheme is Scheme.AUTO:
        fragment["evaluation"] = spec.evaluation.to_wire()  # Auto chooses by the limits
    if spec.evaluation:
        fragment["metric"] = spec.evaluation.metric.value
    return fragment


def job_settings_hash(spec: Spec) -> str:
    """Return the hash of what decides how a Job runs, but not what it makes.

    Of the spec only: neither a new operator release nor other defaults of it may replace a Job.
    """
    wire = spec.to_wire()
    return digest({key: wire[key] for key in ("job", "storage") if wire.get(key)})[:16]


def recipe_hash(spec: Spec) -> str:
    """Return the hash of what a Job depends on."""
    return digest(recipe(spec))


def revision_hash(spec: Spec, artifact_digest: str, restarted_at: str | None) -> str:
    """Return the hash of what a rollout depends on; never of the rendered template.

    So a new operator release, which may render pods differently, restarts nothing.
    """
    wire = spec.to_wire()
    fragment = {key: wire[key] for key in ("parallelism", "devices", "serving", "worker") if key in wire}
    return digest(
        {
            **fragment,
            "recipeHash": recipe_hash(spec),
            "artifactDigest": artifact_digest,
            "restartedAt": restarted_at,
        }
    )
