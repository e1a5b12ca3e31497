"""A model for GPU devices: from kubectl apply to the answers of a worker that rehearses on its CPU."""

from collections.abc import Iterator

import numpy as np
import pytest

from tests.support.cluster.environment import Cluster
from tests.support.cluster.helpers import JOB_SECONDS, predict
from tests.support.cluster.node import Node

GPU = "nvidia.com/gpu"
REHEARSAL = {"env": [{"name": "MODELPRESS_LOGICAL_DEVICES", "value": "1"}]}
pytestmark = pytest.mark.timeout(1200)


@pytest.fixture
def gpus(cluster: Cluster, node: Node) -> Iterator[None]:
    """Eight devices on the node, as a device plugin reports them."""
    _report(cluster, node, "8")
    yield
    _report(cluster, node, None)


def _report(cluster: Cluster, node: Node, count: str | None) -> None:
    amounts = {"capacity": {GPU: count}, "allocatable": {GPU: count}}
    cluster.control_plane.admin.patch("nodes", None, node.name, {"status": amounts}, "status")


def test_a_model_for_gpus_is_compressed_scheduled_and_answers(
    cluster: Cluster, namespace: str, gpus: None
) -> None:
    deployed = cluster.deployed(namespace, "gpu")
    change = {
        "devices": {"type": "GPU", "resourceName": None},
        "compression": {"quantization": {"scheme": "Int8Weights"}},
        "parallelism": {"data": 2, "pipeline": 2, "tensor": 2},
        "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "worker": REHEARSAL,
    }
    deployed.apply(cluster.spec(change))
    status = deployed.wait_current(JOB_SECONDS)
    assert status["current"]["workerImage"] == "modelpress/worker-gpu:test"
    (pod,) = deployed.ready_pods()
    (container,) = pod["spec"]["containers"]
    assert container["resources"]["requests"][GPU] == container["resources"]["limits"][GPU] == "8"

    (address,) = deployed.addresses()
    sources = cluster.sources
    parts = [predict(address, "gpu", rows) for rows in np.array_split(sources.test_x, 7)]
    accuracy = 100 * float((np.concatenate(parts).argmax(axis=-1) == sources.test_y).mean())
    one_row = 100 / len(sources.test_y)  # can flip: compiled code rounds in another order
    assert float(status["evaluation"]["compressed"].removesuffix("%")) == pytest.approx(accuracy, abs=one_row)
    single = predict(address, "gpu", sources.test_x[:1])
    np.testing.assert_allclose(single, parts[0][:1], atol=2e-3)  # whatever else is in the batch

    deployed.patch({"parallelism": {"data": 4}})  # sixteen devices, of which there are eight
    deployed.wait(
        "no node with sixteen GPUs", lambda: f"Insufficient {GPU}" in str(deployed.status["conditions"])
    )
    assert predict(address, "gpu", sources.test_x[:1]).shape == single.shape
