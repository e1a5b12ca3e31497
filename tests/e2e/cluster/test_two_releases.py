"""Two operators of different releases that both act: one template for each edit, and no endless fight."""

from pathlib import Path

from tests.support.cluster.controlplane import ControlPlane
from tests.support.cluster.two_releases import two_releases


def test_two_releases_that_both_act_agree(
    control_plane: ControlPlane, kubeconfig: Path, tmp_path: Path
) -> None:
    with two_releases(control_plane, kubeconfig, tmp_path) as both:
        both.agree("two-releases", 15)
