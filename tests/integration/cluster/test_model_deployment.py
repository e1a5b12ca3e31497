"""One ModelDeployment from apply to predictions, on a real API server; tests/e2e/cluster has all else."""

import numpy as np
import pytest

from tests.support.cluster.environment import Cluster
from tests.support.cluster.helpers import JOB_SECONDS, predict
from tests.support.cluster.oracle import serving_form


@pytest.mark.timeout(1200)  # waits for all parts of the cluster and a Job
def test_an_applied_model_is_compressed_judged_and_served(cluster: Cluster, namespace: str) -> None:
    deployed = cluster.deployed(namespace, "digits")
    deployed.apply(cluster.spec())
    status = deployed.wait_current(JOB_SECONDS)
    assert status["evaluation"]["passed"] is True
    assert status["compression"]["originalBytes"] > status["compression"]["compressedBytes"] > 0
    (address,) = deployed.addresses()
    model = serving_form(cluster.repository(namespace), status["current"]["artifactDigest"])
    for rows in (1, 65):
        images = cluster.sources.test_x[:rows]
        np.testing.assert_array_equal(predict(address, "digits", images), model(images))
