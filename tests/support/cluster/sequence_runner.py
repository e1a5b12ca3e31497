"""Many random sequences side by side on one control plane: a thread, a namespace and a seed for each share.

Hypothesis draws them, and shrinks the first of a share that fails while the others go on.
"""

import traceback
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.support.cluster.by_hand import ARGUMENTS
from tests.support.cluster.controlplane import ControlPlane
from tests.support.cluster.environment import new_operator
from tests.support.cluster.fixtures import FACTS, fresh_namespace
from tests.support.cluster.hands import Hands
from tests.support.cluster.quiet import CountedOperator
from tests.support.cluster.sequences import SEQUENCES, World

PROJECT = Path(__file__).resolve().parents[3]
_MANY_JOBS = ["--max-concurrent-jobs=1000", "--max-concurrent-jobs-per-namespace=100"]


@pytest.fixture(scope="module")
def running(
    control_plane: ControlPlane, crd: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """A control plane with our hands and an operator."""
    control_plane.kubectl("apply", "-f", str(PROJECT / "manifests" / "operator" / "namespace.yaml"))
    control_plane.kubectl("apply", "-k", str(PROJECT / "manifests" / "rbac"))
    folder = tmp_path_factory.mktemp("sequences") / "operator"
    operator = new_operator(control_plane, [*ARGUMENTS, *_MANY_JOBS], folder)
    with (
        Hands(control_plane.admin) as hands,
        CountedOperator(operator, control_plane.audit_log) as counted,
    ):
        yield World(control_plane, hands, counted)


def tell_of_many(
    world: World,
    seeds: Sequence[int],
    each: int,
    request: pytest.FixtureRequest,
    known: Mapping[str, list[str]] = MappingProxyType({}),
) -> None:
    """Play so many sequences of each seed, and known ones beside them.

    AssertionError with those that fail, of each seed the shortest.
    """
    shares = [_Share(world, number, each) for number in seeds]
    plays = [share.play for share in shares]
    plays += [partial(_play_known, world, name, steps) for name, steps in known.items()]
    with ThreadPoolExecutor(len(plays)) as pool:
        failures = [failure for failure in pool.map(lambda play: play(), plays) if failure]
    settled, steps = sum(share.settled for share in shares), sum(share.steps for share in shares)
    request.config.stash.setdefault(FACTS, []).append(
        f"{settled} random sequences of {steps} steps settle (seeds {seeds[0]}..{seeds[-1]}, "
        f"{world.operator.restarts} restarts of the operator), {len(failures)} fail"
    )
    assert not failures, "\n\n".join(failures)


def _play_known(world: World, name: str, steps: list[str]) -> str | None:
    for namespace in fresh_namespace(world.control_plane):
        try:
            world.play(namespace, steps)
        except Exception:
            return f"{name}: {steps}\n{traceback.format_exc()}"
    return None


class _Share:
    def __init__(self, world: World, number: int, count: int) -> None:
        self._world, self._seed, self._count = world, number, count
        self.settled = self.steps = 0  # before one failed

    def play(self) -> str | None:
        """Return the shortest sequence that fails, with the reason; None where none does."""
        with ExitStack() as stack:
            namespace = stack.enter_context(contextmanager(fresh_namespace)(self._world.control_plane))

            @seed(self._seed)
            @settings(
                max_examples=self._count + 1,  # the first is always the empty one
                database=None,
                deadline=None,
                phases=(Phase.generate, Phase.shrink),
                suppress_health_check=list(HealthCheck),
                report_multiple_bugs=False,
            )
            @given(steps=SEQUENCES)
            def one(steps: list[str]) -> None:
                if not steps:
                    return
                try:
                    self._world.play(namespace, steps)
                    self.settled += 1
                    self.steps += len(steps)
                except Exception as error:
                    print(f"seed {self._seed}: {steps} fails: {str(error)[:2000]}", flush=True)
                    raise

            try:
                one()
            except Exception:
                return f"seed {self._seed}:\n{traceback.format_exc()}"
            return None
