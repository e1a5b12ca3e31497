"""The peak of a process tree, and the steps that report it."""

import logging
import subprocess
import sys
import time
from pathlib import Path

import pytest

from modelpress.compression.memory import PeakMeter, tree
from modelpress.compression.steps import Steps

MB = 10**6
ALLOCATE = """
import sys, time
data = bytearray({size})
data[::4096] = bytes(len(data[::4096]))  # touch each page
time.sleep(4)
"""


def allocate(size: int) -> None:
    subprocess.run([sys.executable, "-c", ALLOCATE.format(size=size)], check=True)


def test_the_peak_is_that_of_all_processes_below_and_is_forgotten_once_told() -> None:
    nested = (
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {ALLOCATE.format(size=300 * MB)!r}])"
    )
    with PeakMeter() as meter:
        time.sleep(0.3)
        idle = meter.peak()
        subprocess.run([sys.executable, "-c", nested], check=True)
        high = meter.peak()
        time.sleep(0.3)
        low = meter.peak()
    assert idle
    assert high
    assert low
    assert 290 * MB < high - idle < 380 * MB  # two interpreters are in it
    assert abs(low - idle) < 50 * MB


def test_memory_that_this_process_fills_counts_at_once() -> None:
    with PeakMeter() as meter:
        time.sleep(0.3)
        idle = meter.peak()
        data = bytearray(200 * MB)
        data[::4096] = bytes(len(data[::4096]))
        high = meter.peak()
    assert idle
    assert high
    assert high - idle > 190 * MB


def test_without_a_meter_nothing_is_claimed() -> None:
    meter = PeakMeter()
    assert meter.peak() is None
    with meter:
        process = meter._process
        assert process is not None
        process.kill()
        process.wait()
        assert meter.peak() is None


def test_a_tree_has_all_below_its_root_and_nothing_else() -> None:
    assert tree(2, {2: 1, 3: 2, 4: 3, 5: 1, 6: 5, 7: 2}) == {2, 3, 4, 7}
    assert tree(2, {}) == {2}


def test_steps_are_told_timed_and_measured(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    caplog.set_level(logging.INFO)
    with Steps(("load", "convert", "write")) as steps:
        time.sleep(0.1)
        steps.next()
        allocate(150 * MB)
        steps.next()
        load, convert, write = steps.reports()
    assert [step.name for step in (load, convert, write)] == ["load", "convert", "write"]
    assert load.seconds >= 0.1
    assert load.peak_bytes
    assert convert.peak_bytes
    assert convert.peak_bytes > load.peak_bytes + 120 * MB
    said = [record.progress for record in caplog.records if hasattr(record, "progress")]
    assert [item["done"] for item in said] == [0, 1, 2, 3]
    assert [item.get("doing") for item in said] == ["load", "convert", "write", None]


def test_a_long_step_says_that_it_lasts(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelpress.compression.steps.BEAT", 0.2)
    caplog.set_level(logging.INFO)
    said: list[dict[str, object]] = []
    deadline = time.monotonic() + 60
    with Steps(("load",)):
        while len(said) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
            told = [record.progress for record in caplog.records if hasattr(record, "progress")]
            said = [item for item in told if "seconds" in item]
    assert len(said) >= 2
