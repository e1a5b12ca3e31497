"""Pod templates of workers and of the compression Job.

Both satisfy the Pod Security Standard `restricted`, have no API token and write only to one emptyDir. All
configuration is in environment variables (api/contract.py), paths and ports included.
"""

import contextlib
from collections.abc import Mapping
from typing import Any

from modelpress.api import contract, names
from modelpress.api.contract import JobRequest, WorkerConfig
from modelpress.api.pod_settings import PodSettings
from modelpress.api.spec import Data, Serving, Source, Spec
from modelpress.api.values import CLAIM, parse_claim
from modelpress.planning.artifacts import known
from modelpress.planning.artifacts.artifact import Artifact
from modelpress.planning.render import connection, resources, store_token
from modelpress.planning.view import View

WORK_MOUNT = "/var/lib/modelpress"
SECRETS_MOUNT = "/etc/modelpress/secrets"
_STORAGE_FOLDER = f"{SECRETS_MOUNT}/{contract.STORAGE_SECRET}"
TERMINATION_PATH = "/dev/termination-log"
USER_ID = 65532  # the images' user
SECRET_MODE = 0o440  # readable for the pod's group, which fsGroup sets
OPEN_SECRET_MODE = 0o444  # for any user of the pod: without an fsGroup the files are those of root
GRACE_SLACK_SECONDS = 5  # for what follows the last answer
RECIPE_LABEL_LENGTH = 16  # a label value holds at most 63 characters, a hash has 64

_CONTAINER_SECURITY = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}
_FIXED_USER = {
    "runAsUser": USER_ID,
    "runAsGroup": USER_ID,
    "fsGroup": USER_ID,
    "fsGroupChangePolicy": "OnRootMismatch",
}


def reserved_variable(spec: Spec) -> str | None:
    """Return why an environment variable of the spec cannot be set, or None."""
    for part, settings in (("worker", spec.worker), ("job", spec.job)):
        for entry in (settings.env or []) if settings else []:
            if contract.is_reserved(name := str(entry.get("name", ""))):
                return f"spec.{part}.env: {name} is set by ModelPress and cannot be changed"
    return None


def recipe_label(recipe_hash: str) -> str:
    """Return the recipe's hash as a label value."""
    return recipe_hash[:RECIPE_LABEL_LENGTH]


def worker_template(view: View, artifact: Artifact, revision: str, image: str) -> dict[str, Any]:
    """Return the pod template of a revision's workers: one container fetches the artifact, one serves it."""
    spec, settings = view.spec, view.worker_settings
    granted = resources.of_worker(view, artifact)
    secrets = {contract.STORAGE_SECRET: artifact.store.secret} if artifact.store.secret else {}
    fetch = {
        **_container("fetch", ["modelpress", "fetch"], image),
        "env": _environment(
            _store_variables(view, artifact.store.uri)
            | {
                contract.ARTIFACT_DIGEST: artifact.artifact_digest,
                contract.MODEL_DIR: f"{WORK_MOUNT}/model",
                contract.SECRETS: SECRETS_MOUNT,
            },
            settings,
            connection.variables(view),
        ),
        "volumeMounts": [
            _WORK_VOLUME_MOUNT,
            *_secret_mounts(secrets),
            *store_token.mounts(view, artifact.store, _STORAGE_FOLDER),
            *connection.mounts(view),
        ],
    } | _resources(resources.plain(granted))
    worker = {
        **_container("worker", ["modelpress", "serve"], image),
        "env": _environment(_worker_variables(view, artifact, revision), settings),
        "ports": [
            {"name": "http", "containerPort": contract.HTTP_PORT, "protocol": "TCP"},
            {"name": "grpc", "containerPort": contract.GRPC_PORT, "protocol": "TCP"},
        ],
        "volumeMounts": [_WORK_VOLUME_MOUNT],
        **_PROBES,
    } | _resources(resources.with_devices(granted, view))
    return {
        "metadata": _template_metadata(
            settings,
            names.labels(view.name, "worker")
            | {names.ROLE_LABEL: names.WORKER, names.REVISION_LABEL: revision},
        ),
        "spec": {
            "topologySpreadConstraints": [_over_nodes(view.name)],
            **_pod_spec(view, settings),
            "terminationGracePeriodSeconds": _grace_period(spec.serving),
            "initContainers": [fetch],
            "containers": [worker],
            "volumes": [*_volumes(view, granted, secrets), *store_token.volumes(view, artifact.store)],
        },
    }


def _grace_period(serving: Serving) -> int:
    """Return the seconds from SIGTERM to SIGKILL: new requests, the answer to the last of them, the end."""
    return serving.drain_seconds + serving.request_timeout_seconds + GRACE_SLACK_SECONDS


def _over_nodes(name: str) -> dict[str, Any]:
    """Return the wish that workers of one revision stand on different nodes.

    Zones are not named: the scheduler leaves nodes that lack a label of any constraint out of all of them.
    """
    return {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": names.worker_selector(name)},
        "matchLabelKeys": ["pod-template-hash"],
    }


def job_template(view: View) -> dict[str, Any]:
    """Return the pod template of the Job for the desired recipe."""
    settings = view.job_settings
    granted = resources.of_job(view)
    secrets, claims = _job_secrets(view), _job_claims(view)
    job = {
        **_container("job", ["modelpress", "job"], settings.image or view.settings.compressor_image),
        "env": _environment(
            _store_variables(view, view.store.uri)
            | {
                contract.REQUEST: _request(view),
                contract.WORK_DIR: WORK_MOUNT,
                contract.SECRETS: SECRETS_MOUNT,
            }
            | ({contract.CLAIMS: contract.CLAIMS_MOUNT} if claims else {})
            | ({contract.KNOWN_ARTIFACTS: known.to_json(view)} if view.store_is_shared else {}),
            settings,
            connection.variables(view),
        ),
        "volumeMounts": [
            _WORK_VOLUME_MOUNT,
            *_secret_mounts(secrets),
            *_claim_mounts(claims),
            *store_token.mounts(view, view.store, _STORAGE_FOLDER),
            *connection.mounts(view),
        ],
    } | _resources(granted)
    return {
        "metadata": _template_metadata(
            settings,
            names.labels(view.name, "compressor")
            | {names.ROLE_LABEL: names.JOB, names.RECIPE_LABEL: recipe_label(view.recipe_hash)},
        ),
        "spec": {
            **_pod_spec(view, settings),
            "restartPolicy": "Never",
            "containers": [job],
            "volumes": [
                *_volumes(view, granted, secrets),
                *_claim_volumes(claims),
                *store_token.volumes(view, view.store),
            ],
        },
    }


_WORK_VOLUME_MOUNT = {"name": "work", "mountPath": WORK_MOUNT}


def _probe(path: str, period: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": "http"},
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


# No startup probe: after its own restart the kubelet takes every container with one for not started, and so
# for not ready. A model may load for any time: liveness is answered meanwhile. The delay is for the program's
# start.
_PROBES = {
    "readinessProbe": _probe("/v2/health/ready", 1, 3),
    "livenessProbe": {**_probe("/v2/health/live", 10, 6), "initialDelaySeconds": 60},
}


def _container(name: str, command: list[str], image: str) -> dict[str, Any]:
    return {
        "name": name,
        "image": image,
        "command": command,
        "securityContext": _CONTAINER_SECURITY,
        "terminationMessagePath": TERMINATION_PATH,
        "terminationMessagePolicy": "File",
    }


def _environment(
    variables: Mapping[str, str], settings: PodSettings, defaults: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """Return the variables of a container; those of `defaults` where the settings do not name them."""
    named = {str(entry.get("name", "")).upper() for entry in settings.env or []}  # https_proxy is HTTPS_PROXY
    own = {
        **variables,
        **{name: value for name, value in (defaults or {}).items() if name not in named},
        contract.TERMINATION_MESSAGE: TERMINATION_PATH,
        "HOME": WORK_MOUNT,
        "TMPDIR": WORK_MOUNT,
    }
    # the kubelet reads $(NAME) in a value as a reference and $$ as a dollar sign
    escaped = ({"name": name, "value": value.replace("$", "$$")} for name, value in own.items())
    return [*escaped, *(settings.env or [])]


def _store_variables(view: View, uri: str) -> dict[str, str]:
    variables = {contract.STORE: uri}
    if view.settings.plain_http_registry:
        variables[contract.PLAIN_HTTP_REGISTRY] = view.settings.plain_http_registry
    return variables


def _worker_variables(view: View, artifact: Artifact, revision: str) -> dict[str, str]:
    config = WorkerConfig(
        name=view.name,
        revision=revision,
        artifact_digest=artifact.artifact_digest,
        parallelism=view.spec.parallelism,
        serving=view.spec.serving,
    )
    return {
        contract.WORKER_CONFIG: config.to_json(),
        contract.MODEL_DIR: f"{WORK_MOUNT}/model",
        contract.HOST: "::",  # every address of the pod; NetworkPolicy limits who may connect
        contract.PORT: str(contract.HTTP_PORT),
        contract.GRPC_PORT_VARIABLE: str(contract.GRPC_PORT),
    }


def _request(view: View) -> str:
    spec = view.spec
    request = JobRequest(
        name=view.name,
        namespace=view.key.namespace,
        recipe_hash=view.recipe_hash,
        model=spec.model,
        data=spec.data,
        compression=spec.compression,
        optimization=spec.optimization,
        evaluation=spec.evaluation,
        device_type=spec.devices.type,
    )
    return request.model_dump_json(by_alias=True, exclude_none=True)


def _sources(spec: Spec) -> dict[str, Source]:
    """Return what a Job reads, by the folder of its Secret."""
    data = spec.data or Data()
    found: dict[str, Source | None] = {
        contract.MODEL_SECRET: spec.model,
        "training": data.training,
        "calibration": data.calibration,
        "evaluation": data.evaluation,
    }
    return {folder: source for folder, source in found.items() if source}


def _job_secrets(view: View) -> dict[str, str]:
    """Return the Secrets of a Job by their folder."""
    secrets = {
        folder: source.secret_ref.name
        for folder, source in _sources(view.spec).items()
        if source.secret_ref is not None
    }
    if view.store.secret:
        secrets[contract.STORAGE_SECRET] = view.store.secret
    return secrets


def _job_claims(view: View) -> list[str]:
    """Return the claims that a Job reads, each once: several sources may be in one."""
    claims = set()
    for source in _sources(view.spec).values():
        if source.uri.startswith(CLAIM):
            with contextlib.suppress(ValueError):  # older than the CRD's rule: the Job says what is wrong
                claims.add(parse_claim(source.uri)[0])
    return sorted(claims)


def _claim_volumes(claims: list[str]) -> list[dict[str, Any]]:
    # numbered: the name of a claim may be longer than that of a volume
    return [
        {"name": f"claim-{number}", "persistentVolumeClaim": {"claimName": claim, "readOnly": True}}
        for number, claim in enumerate(claims)
    ]


def _claim_mounts(claims: list[str]) -> list[dict[str, Any]]:
    return [
        {"name": f"claim-{number}", "mountPath": f"{contract.CLAIMS_MOUNT}/{claim}", "readOnly": True}
        for number, claim in enumerate(claims)
    ]


def _volumes(
    view: View, granted: Mapping[str, Any] | None, secrets: Mapping[str, str]
) -> list[dict[str, Any]]:
    mode = SECRET_MODE if view.settings.fixed_user else OPEN_SECRET_MODE
    return [
        {"name": "work", "emptyDir": resources.work_volume(granted)},
        *(
            {"name": f"secret-{folder}", "secret": {"secretName": name, "defaultMode": mode}}
            for folder, name in secrets.items()
        ),
        *connection.volumes(view),
    ]


def _secret_mounts(secrets: Mapping[str, str]) -> list[dict[str, Any]]:
    return [
        {"name": f"secret-{folder}", "mountPath": f"{SECRETS_MOUNT}/{folder}", "readOnly": True}
        for folder in secrets
    ]


def _resources(granted: Mapping[str, Any] | None) -> dict[str, Any]:
    return {"resources": dict(granted)} if granted else {}


def _template_metadata(settings: PodSettings, labels: Mapping[str, str]) -> dict[str, Any]:
    metadata: dict[str, Any] = {"labels": {**(settings.labels or {}), **labels}}
    if settings.annotations:
        metadata["annotations"] = dict(settings.annotations)
    return metadata


def _pod_spec(view: View, settings: PodSettings) -> dict[str, Any]:
    chosen = settings.to_wire()
    copied = (
        "imagePullSecrets",
        "serviceAccountName",
        "nodeSelector",
        "tolerations",
        "affinity",
        "topologySpreadConstraints",
        "priorityClassName",
        "runtimeClassName",
        "resourceClaims",
    )
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            **(_FIXED_USER if view.settings.fixed_user else {}),
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **{name: chosen[name] for name in copied if name in chosen},
    }
