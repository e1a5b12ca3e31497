"""What the tests of the operator run in: model and data on real servers, registry, node and operator."""

import base64
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.support.cluster.api import Json
from tests.support.cluster.controlplane import ControlPlane
from tests.support.cluster.helpers import SLOT, Deployed, Operator, merge
from tests.support.servers.servers import S3, Registry, Web

OPERATOR_ACCOUNT = ("modelpress-system", "modelpress-operator")  # of manifests/rbac
OPERATOR_USER = "system:serviceaccount:" + ":".join(OPERATOR_ACCOUNT)


@dataclass(frozen=True)
class Sources:
    """A trained classifier in a bucket and its held-out data on a web server."""

    s3: S3
    web: Web
    model_uri: str
    model_sha256: str
    data_uri: str
    test_x: np.ndarray  # (539, 64) float32
    test_y: np.ndarray  # (539,)

    @property
    def secret(self) -> dict[str, str]:
        """What the bucket asks for, as the keys of a Secret."""
        return {
            "AWS_ACCESS_KEY_ID": self.s3.key_id,
            "AWS_SECRET_ACCESS_KEY": self.s3.secret,
            "AWS_ENDPOINT_URL": self.s3.endpoint,
            "AWS_REGION": "us-east-1",
        }


@dataclass(frozen=True)
class Cluster:
    """All that a test of the operator needs."""

    control_plane: ControlPlane
    sources: Sources
    operator: Operator
    registry: Registry
    worker_image: str
    facts: list[str]  # shown at the end of the session
    arguments: list[str]
    folder: Path
    since: str  # when the operator was started

    def repository(self, namespace: str) -> str:
        """Return the address of a namespace's artifacts in the registry's API."""
        return f"http://{self.registry.host}/v2/models/{namespace}"

    def spec(self, change: Json | None = None) -> Json:
        """Return the spec of a compressed classifier on two devices, with a merge patch applied."""
        base = {
            "model": {"uri": self.sources.model_uri, "secretRef": {"name": "bucket"}},
            "data": {"evaluation": {"uri": self.sources.data_uri}},
            "compression": {"quantization": {"scheme": "Int8Dynamic"}},
            "evaluation": {"minScore": "90%", "maxDrop": "2%"},
            "parallelism": {"data": 2},
            "devices": {"type": "CPU", "resourceName": SLOT},
        }
        changed: Json = merge(base, change or {})
        return changed

    def deployed(self, namespace: str, name: str) -> Deployed:
        """Return a resource to be applied in a namespace that has the bucket's Secret."""
        if not self.control_plane.admin.find("secrets", namespace, "bucket"):
            self.add_secret(namespace, "bucket")
        return Deployed(self.control_plane, namespace, name)

    def add_secret(self, namespace: str, name: str) -> None:
        """Make a Secret with the bucket's credentials."""
        encoded = {
            key: base64.b64encode(value.encode()).decode() for key, value in self.sources.secret.items()
        }
        self.control_plane.admin.create("secrets", namespace, {"metadata": {"name": name}, "data": encoded})

    def another_operator(self) -> Operator:
        """Return one more operator with the same rights, not started."""
        folder = self.folder / f"operator-{uuid.uuid4().hex[:4]}"
        return new_operator(self.control_plane, self.arguments, folder)


def new_operator(
    control_plane: ControlPlane, arguments: list[str], folder: Path, python: Path = Path(sys.executable)
) -> Operator:
    """Return an operator with the rights of its ServiceAccount, not started; its log goes to `folder`."""
    folder.mkdir()
    kubeconfig = control_plane.kubeconfig_for_service_account(*OPERATOR_ACCOUNT)
    return Operator(kubeconfig, OPERATOR_USER, arguments, folder, python)
