"""Two operators of different releases that both act for two minutes."""

from pathlib import Path

from tests.support.cluster.controlplane import ControlPlane
from tests.support.cluster.two_releases import two_releases


def test_two_releases_that_both_act_for_two_minutes_agree(
    control_plane: ControlPlane, kubeconfig: Path, tmp_path: Path
) -> None:
    with two_releases(control_plane, kubeconfig, tmp_path) as both:
        both.agree("two-releases-for-long", 120)
