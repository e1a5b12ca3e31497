"""A model and its data on a PersistentVolumeClaim: mounted read-only into the Job on a real node."""

import shutil

import pytest

from tests.e2e.node.conftest import JOB_SECONDS, Installed, make_namespace
from tests.e2e.node.test_faults import Fault, tells
from tests.support.cluster.helpers import ROLLOUT_SECONDS

SOURCES = {
    "model": {"uri": "pvc://models/team/digits.keras", "secretRef": None},
    "data": {"evaluation": {"uri": "pvc://models/team/digits-eval.npz", "secretRef": None}},
}


@pytest.mark.parametrize("mode", ["ReadWriteOnce", "ReadWriteMany"])
def test_a_model_on_a_claim_is_compressed_and_served(installed: Installed, mode: str) -> None:
    namespace = make_namespace(installed, f"claim-{mode.lower()}")
    volume = installed.cluster.folder / "volumes" / namespace / "team"
    volume.mkdir(parents=True)
    for name in ("digits.keras", "digits-eval.npz"):
        shutil.copy(installed.model / name, volume / name)
    before = {path.name: path.read_bytes() for path in volume.iterdir()}
    deployed = installed.deployed("digits", namespace)
    deployed.apply(installed.spec(SOURCES))
    missing = Fault({}, "PodsUnschedulable", ('persistentvolumeclaim "models" not found',))
    deployed.wait("the missing claim in the status", lambda: tells(deployed, missing), ROLLOUT_SECONDS)

    installed.cluster.add_volume(namespace, "1Gi", volume.parent)
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "models", "namespace": namespace},
        "spec": {
            "accessModes": [mode],
            "resources": {"requests": {"storage": "1Gi"}},
            "volumeName": namespace,
        },
    }
    installed.cluster.apply(claim)
    deployed.wait_current(JOB_SECONDS)
    (pod,) = (pod for pod in deployed.children("pods") if "job-name" in pod["metadata"]["labels"])
    (mount,) = (item for item in pod["spec"]["containers"][0]["volumeMounts"] if "claim" in item["name"])
    assert mount["readOnly"] is True
    assert {path.name: path.read_bytes() for path in volume.iterdir()} == before
    installed.kubectl("delete", "namespace", namespace, "--wait=false")
