"""The API server is away for a minute and for ten, under load: the operator goes on where it was."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster.controlplane import ControlPlane
from tests.support.cluster.outage import Outages, outages

SIZE = 40  # ModelDeployments, half of them in a rollout and half before their Job


@pytest.fixture(scope="module")
def made(
    control_plane: ControlPlane, kubeconfig: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Outages]:
    with outages(control_plane, kubeconfig, tmp_path_factory.mktemp("outages")) as found:
        yield found


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("frozen", [True, False], ids=["frozen", "started anew"])
@pytest.mark.parametrize("seconds", [60, 600])
def test_an_outage_under_load_repeats_and_deletes_nothing(made: Outages, seconds: int, frozen: bool) -> None:
    made.survives(seconds, SIZE, frozen=frozen)
    print(f"API server {'frozen' if frozen else 'away'} for {seconds} s: {SIZE} of {SIZE} go on")
