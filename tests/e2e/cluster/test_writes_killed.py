"""kill -9 of the operator after each of its writes: the next process goes on, nothing is repeated or lost.

tests/matrix/cluster lets it live on after one such death, and goes through a whole life.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster.controlplane import ControlPlane
from tests.support.cluster.life import Life, fresh_life, lived, repeated_jobs
from tests.support.cluster.mortal import Reaper, mortal
from tests.support.cluster.proxy import Moment
from tests.support.cluster.still_node import StillNode


@pytest.fixture(scope="module", autouse=True)
def still_node(control_plane: ControlPlane) -> Iterator[None]:
    with StillNode(control_plane):
        yield


def test_an_operator_that_dies_after_each_of_its_writes_ends_where_another_does(
    control_plane: ControlPlane, kubeconfig: Path, tmp_path: Path
) -> None:
    healthy, killed = (fresh_life(control_plane, name) for name in ("never-killed", "killed"))
    never = Reaper(lambda number: False, Moment.UNANSWERED)
    with mortal(control_plane, kubeconfig, tmp_path / healthy.namespace, never) as operator:
        (chapter,) = lived(healthy, lambda: operator.writes, (Life.create,))
    always = Reaper(lambda number: True, Moment.UNANSWERED)
    with mortal(control_plane, kubeconfig, tmp_path / killed.namespace, always) as operator:
        chapter.step(killed)
        chapter.repeated(killed)
        print(f"created with {operator.deaths} deaths; without a death {chapter.count} writes")
        assert operator.deaths > 1
    assert repeated_jobs(control_plane, killed.namespace) == []
