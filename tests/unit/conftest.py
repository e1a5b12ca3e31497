"""Tests of this folder need no TensorFlow, no socket and no process; one that uses them fails."""

from collections.abc import Generator

import pytest

from tests.support.isolation import Isolation

_isolation = Isolation()


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    # some libraries open a socket when they are imported, to see whether there is IPv6
    with _isolation.enforced(imports_only=True):
        report = yield
    if _isolation.seen:
        report.outcome, report.longrepr = "failed", _isolation.seen[0]
    return report


def _isolated() -> Generator[None, None, None]:
    with _isolation.enforced():
        yield
    if _isolation.seen:
        pytest.fail(_isolation.seen[0], pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None, None, None]:
    return (yield from _isolated())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, None, None]:
    return (yield from _isolated())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Generator[None, None, None]:
    return (yield from _isolated())
