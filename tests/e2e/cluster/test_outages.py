"""The API server is away for some seconds: the operator goes on where it was.

tests/matrix/cluster takes it away for a minute and for ten, from many resources.
"""

from pathlib import Path

from tests.support.cluster.controlplane import ControlPlane
from tests.support.cluster.life import Life
from tests.support.cluster.outage import outages


def test_an_outage_repeats_and_deletes_nothing(
    control_plane: ControlPlane, kubeconfig: Path, tmp_path: Path
) -> None:
    with outages(control_plane, kubeconfig, tmp_path, (Life.create, Life.update)) as made:
        made.survives(3, 2, frozen=True)
        made.survives(3, 2, frozen=False)
