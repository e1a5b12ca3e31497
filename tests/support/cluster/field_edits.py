"""Each field of the spec is set, changed, reverted and removed; then all is as in a fresh resource."""

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from tests.support.cluster.api import Json
from tests.support.cluster.controlplane import ControlPlane
from tests.support.cluster.end_state import differences, end_state, job_state
from tests.support.cluster.fields import FIELDS, spec_of
from tests.support.cluster.fixtures import FACTS, fresh_namespace
from tests.support.cluster.helpers import Deployed
from tests.support.cluster.sequences import World

_AT_ONCE = 16
_RESYNCS = 2
_NAMES = ("first", "second")  # as in the table


def tell_of_edits(world: World, fields: list[str], request: pytest.FixtureRequest) -> None:
    """Edit these fields, many at a time, each in a namespace of its own; AssertionError with what differs."""
    with _runtime_classes(world.control_plane), ThreadPoolExecutor(_AT_ONCE) as pool:
        lines = [line for lines in pool.map(partial(_play, world), fields) for line in lines]
    request.config.stash.setdefault(FACTS, []).append(
        f"{len(fields)} of {len(FIELDS)} fields set, changed, reverted and removed: {len(lines)} differences"
    )
    assert not lines, "\n".join(lines)


def _play(world: World, field: str) -> list[str]:
    with contextlib.contextmanager(fresh_namespace)(world.control_plane) as namespace:
        _provide(world, namespace)
        values = {"first": FIELDS[field].first, "second": FIELDS[field].second, "none": None}
        fresh = {name: Deployed(world.control_plane, namespace, f"of-{name}-value") for name in values}
        for name, digits in fresh.items():
            digits.create(spec_of(field, values[name]))
        world.operator.settle(namespace, fresh.values(), _RESYNCS)
        expected = {name: _state(digits, field) for name, digits in fresh.items()}
        edited, found = fresh["none"], []
        for verb, name in (("set", "first"), ("change", "second"), ("revert", "first"), ("remove", "none")):
            edited.replace(spec_of(field, values[name]))
            world.operator.settle(namespace, [edited], _RESYNCS)
            if name == "none" or not FIELDS[field].served_before:
                different = _differences(_state(edited, field), expected[name])
                if different:  # on a busy machine pods may not have been moved yet
                    world.operator.settle(namespace, [edited], 5 * _RESYNCS)
                    different = _differences(_state(edited, field), expected[name])
                found += [f"{field} {verb}{line}" for line in different]
        print(f"{field}: {len(found)} differences", flush=True)
        return found


def _provide(world: World, namespace: str) -> None:
    """Make what pods name in their namespace."""
    for name in _NAMES:
        world.control_plane.admin.create("serviceaccounts", namespace, {"metadata": {"name": name}})


@contextlib.contextmanager
def _runtime_classes(control_plane: ControlPlane) -> Iterator[None]:
    where = "/apis/node.k8s.io/v1/runtimeclasses"
    for name in _NAMES:
        control_plane.admin.request("POST", where, {"metadata": {"name": name}, "handler": "any"})
    try:
        yield
    finally:
        for name in _NAMES:
            control_plane.admin.request("DELETE", f"{where}/{name}")


def _state(digits: Deployed, field: str) -> Json:
    state = end_state(digits)
    return state if FIELDS[field].judged else {**state, "job": job_state(digits)}


def _differences(found: Json, expected: Json) -> list[str]:
    if expected["conditions"]["Stalled"]["status"] == "True":  # what served goes on
        return differences(found["conditions"]["Stalled"], expected["conditions"]["Stalled"], ".Stalled")
    return differences(found, expected)
