"""What every field of a ModelDeployment becomes: whole objects, as files to review.

`UPDATE_GOLDEN=1 pytest tests/unit/golden` rewrites the files; read the difference before it is committed.
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelpress.api import defaults, names
from modelpress.planning.preview import preview
from modelpress.planning.types import Settings

FOLDER = Path(__file__).parent
SETTINGS = Settings(
    compressor_image="registry.example.com/modelpress/compressor:1",
    worker_image="registry.example.com/modelpress/worker:1",
    worker_gpu_image="registry.example.com/modelpress/worker-gpu:1",
    store="oci://modelpress-registry.modelpress-system.svc:5000/models",
    store_audience="modelpress-registry",
    plain_http_registry="modelpress-registry.modelpress-system.svc:5000",
)
DEFAULTS = """
imagePullSecrets: [{name: login}]
storage: {secretRef: {name: login}}
proxy: {httpProxy: "http://$proxy.corp:3128", httpsProxy: "http://proxy.corp:3128", noProxy: .corp}
caBundle: {configMapName: trusted, key: bundle.pem}
job:
  labels: {team: platform}
  nodeSelector: {pool: batch}
  tolerations: [{key: batch, operator: Exists}]
  priorityClassName: batch
  resources: {limits: {memory: 16Gi}, requests: {memory: 2Gi}}
workers:
  CPU:
    annotations: {example.com/owner: platform}
    env: [{name: no_proxy, value: .shop}]
    resources: {limits: {ephemeral-storage: 10Gi}}
  GPU: {runtimeClassName: nvidia}
"""
POD_SETTINGS: dict[str, Any] = {
    "labels": {"team": "vision", names.NAME_LABEL: "ignored: ours wins"},
    "annotations": {"example.com/scrape": "true"},
    "image": "registry.example.com/own/image:2",
    "imagePullSecrets": [{"name": "pull"}],
    "serviceAccountName": "digits",
    "nodeSelector": {"pool": "inference"},
    "tolerations": [{"key": "dedicated", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
    "topologySpreadConstraints": [
        {
            "maxSkew": 1,
            "topologyKey": "zone",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": {names.NAME_LABEL: "digits"}},
        }
    ],
    "priorityClassName": "high",
    "runtimeClassName": "gvisor",
    "env": [{"name": "HTTPS_PROXY", "value": "http://proxy.example.com"}],
    "resources": {
        "limits": {"cpu": "2", "memory": "4Gi"},
        "requests": {"cpu": "500m", "memory": "1Gi"},
    },
    "resourceClaims": [{"name": "device", "resourceClaimTemplateName": "device"}],
}
SPECS: dict[str, dict[str, Any]] = {
    "minimal": {"model": {"uri": "s3://models/digits.keras"}, "devices": {"type": "CPU"}},
    "claims": {
        "model": {"uri": "pvc://models/v3/digits.keras", "sha256": "a" * 64},
        "data": {
            "training": {"uri": "pvc://data/train.npz"},
            "calibration": {"uri": "pvc://data/calibrate.npz"},
            "evaluation": {"uri": "s3://data/test.npz", "secretRef": {"name": "s3"}},
        },
        "devices": {"type": "CPU"},
    },
    "everything": {
        "model": {
            "uri": "s3://models/$(NOT)A$REFERENCE.keras",
            "sha256": "a" * 64,
            "version": "7",
            "secretRef": {"name": "s3"},
        },
        "data": {
            "training": {"uri": "s3://data/train.npz", "secretRef": {"name": "s3"}},
            "calibration": {"uri": "s3://data/calibrate.npz", "secretRef": {"name": "s3"}},
            "evaluation": {"uri": "https://data.example.com/test.npz", "secretRef": {"name": "web"}},
        },
        "compression": {"quantization": {"scheme": "Int8Dynamic"}, "pruning": {"sparsity": "50%"}},
        "optimization": {"weightClipping": {"min": "-1", "max": "1"}},
        "evaluation": {"minScore": "92%", "maxDrop": "0.5%", "maxSize": "20Mi"},
        "parallelism": {"data": 2, "pipeline": 3},
        "devices": {"type": "CPU", "resourceName": "example.com/slot"},
        "replicas": 4,
        "serving": {
            "maxBatchSize": 64,
            "maxBatchDelayMilliseconds": 5,
            "requestTimeoutSeconds": 60,
            "maxRequestBytes": "1.5Mi",
            "drainSeconds": 20,
            "maxInputLength": 512,
        },
        "service": {
            "type": "LoadBalancer",
            "labels": {"team": "vision", names.NAME_LABEL: "ignored: ours wins"},
            "annotations": {"example.com/internal": "true"},
        },
        "strategy": {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}},
        "progressDeadlineSeconds": 120,
        "storage": {"uri": "oci://registry.example.com/models", "secretRef": {"name": "registry"}},
        "worker": POD_SETTINGS,
        "job": {**POD_SETTINGS, "backoffLimit": 5, "activeDeadlineSeconds": 3600},
    },
    "defaults": {
        "model": {"uri": "s3://models/digits.keras"},
        "devices": {"type": "CPU"},
        "job": {"nodeSelector": {"pool": "own"}, "resources": {"requests": {"cpu": "2"}}},
    },
    "gpu": {
        "model": {"uri": "s3://models/digits.keras"},
        "compression": {"quantization": {"scheme": "Int8Weights"}},
        "parallelism": {"data": 2, "tensor": 4},
        "strategy": {"type": "Recreate"},
        "worker": {"resources": {"requests": {"cpu": "4"}}},
    },
    "mig": {
        "model": {"uri": "s3://models/digits.keras"},
        "devices": {"resourceName": "nvidia.com/mig-1g.10gb"},
        "worker": {"resources": {"limits": {"nvidia.com/mig-1g.10gb": "7"}}},
    },
}


def resource(spec: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": "digits", "namespace": "models"}
    return {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": metadata, "spec": spec}


class _Plain(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


@pytest.mark.parametrize("case", SPECS)
def test_rendered_objects_are_those_of_the_file(case: str) -> None:
    settings = SETTINGS
    if case == "defaults":
        settings = replace(SETTINGS, fixed_user=False, defaults=defaults.parse(DEFAULTS))
    text = yaml.dump_all(preview(resource(SPECS[case]), settings), Dumper=_Plain, sort_keys=False, width=110)
    file = FOLDER / f"{case}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(text)
    assert file.read_text() == text
