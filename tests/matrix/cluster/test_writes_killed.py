"""kill -9 of the operator at each write of a ModelDeployment's life, in turn, at each moment of a write."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests.support.cluster.controlplane import ControlPlane
from tests.support.cluster.life import Chapter, failures, fresh_life, lived, repeated_jobs, up_to
from tests.support.cluster.mortal import Reaper, mortal
from tests.support.cluster.proxy import Moment
from tests.support.cluster.still_node import StillNode

AT_ONCE = 4  # lives, each with an operator of its own


@dataclass(frozen=True)
class Killing:
    """What the lives of a test share."""

    control_plane: ControlPlane
    kubeconfig: Path
    folder: Path
    chapters: list[Chapter]

    def ends_well(self, moment: Moment, number: int) -> None:
        """Kill the operator at a write; all must become as it is without that."""
        life = fresh_life(self.control_plane, f"killed-{moment.name.lower()}-{number}")
        reaper = Reaper(lambda count: count == number, moment)
        chapters = up_to(self.chapters, number)
        with mortal(self.control_plane, self.kubeconfig, self.folder / life.namespace, reaper) as operator:
            for chapter in chapters:
                chapter.step(life)
            if not operator.deaths:  # it needed fewer writes this time
                operator.die()
            operator.wait_ready()
            chapters[-1].repeated(life)
            assert operator.deaths == 1
        life.end()


@pytest.fixture(scope="module")
def killing(
    control_plane: ControlPlane, kubeconfig: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Killing]:
    """A life without a fault, by which the others are measured."""
    folder = tmp_path_factory.mktemp("killed")
    with StillNode(control_plane):
        life = fresh_life(control_plane, "never-killed")
        never = Reaper(lambda number: False, Moment.BEFORE)
        with mortal(control_plane, kubeconfig, folder / life.namespace, never) as operator:
            chapters = lived(life, lambda: operator.writes)
        yield Killing(control_plane, kubeconfig, folder, chapters)


@pytest.mark.parametrize("moment", Moment)
def test_an_operator_that_dies_at_any_one_write_ends_where_another_does(
    killing: Killing, moment: Moment
) -> None:
    writes = killing.chapters[-1].count
    failed = failures(partial(killing.ends_well, moment), range(1, writes + 1), AT_ONCE)
    repeated = repeated_jobs(killing.control_plane, f"killed-{moment.name.lower()}-")
    converged = f"{writes - len(failed)} of {writes} converge"
    print(f"kill -9, {moment.value}: {converged}, {len(repeated)} duplicate Jobs")
    assert (failed, repeated) == ([], [])


def test_an_operator_that_dies_after_each_of_its_writes_leads_a_whole_life(killing: Killing) -> None:
    life = fresh_life(killing.control_plane, "killed-always")
    always = Reaper(lambda number: True, Moment.UNANSWERED)
    with mortal(
        killing.control_plane, killing.kubeconfig, killing.folder / life.namespace, always
    ) as operator:
        for chapter in killing.chapters:
            chapter.step(life)
            chapter.repeated(life)
        print(f"kill -9 after every write: {operator.deaths} deaths in one life")
    assert repeated_jobs(killing.control_plane, life.namespace) == []
