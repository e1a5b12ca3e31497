"""The sample for KEDA, judged by KEDA's own CustomResourceDefinition."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.support.cluster.api import Json
from tests.support.cluster.controlplane import ControlPlane, wait_until
from tests.support.servers import binaries, module_files, needs

MANIFESTS = Path(__file__).resolve().parents[3] / "manifests"
SAMPLE = MANIFESTS / "autoscaling" / "keda.yaml"
PLURAL = "scaledobjects"


@pytest.fixture(scope="module")
def keda(control_plane: ControlPlane) -> Iterator[None]:
    """KEDA's ScaledObject, served."""
    needs.program("keda-crd")
    definition = str(module_files.place("keda-crd", binaries.cache()))
    control_plane.kubectl("apply", "--server-side", "-f", definition)
    where = f"/apis/keda.sh/v1alpha1/{PLURAL}"
    wait_until("ScaledObjects served", lambda: control_plane.admin.request("GET", where))
    yield
    control_plane.kubectl("delete", "-f", definition)


def test_the_sample_is_accepted_and_aims_at_the_scale_of_the_other_sample(
    control_plane: ControlPlane, crd: str, keda: None, namespace: str
) -> None:
    kubectl, own = control_plane.kubectl, ("-n", namespace)
    kubectl(*own, "apply", "-f", str(MANIFESTS / "samples" / "digits.yaml"))
    applied = kubectl(*own, "apply", "--validate=strict", "-f", str(SAMPLE))
    assert applied.stdout == "scaledobject.keda.sh/digits created\n"
    assert applied.stderr == ""
    group = f"/apis/keda.sh/v1alpha1/namespaces/{namespace}/{PLURAL}/digits"
    target = control_plane.admin.request("GET", group)["spec"]["scaleTargetRef"]
    assert target["kind"] == "ModelDeployment"
    scale = f"/apis/{target['apiVersion']}/namespaces/{namespace}/modeldeployments/{target['name']}/scale"
    assert control_plane.admin.request("GET", scale)["spec"] == {"replicas": 2}


def test_a_misspelt_field_of_it_is_refused(control_plane: ControlPlane, keda: None, namespace: str) -> None:
    body: Json = yaml.safe_load(SAMPLE.read_text())
    body["spec"]["minReplicas"] = body["spec"].pop("minReplicaCount")
    text = yaml.safe_dump(body)
    done = control_plane.kubectl(
        "-n", namespace, "apply", "--validate=strict", "-f", "-", input=text, check=False
    )
    assert done.returncode
    assert 'unknown field "spec.minReplicas"' in done.stderr
