"""How much memory is left, by the files of the kernel."""

from pathlib import Path

import pytest

from modelpress.compression import memory

MIB = 2**20
MEMINFO = "MemTotal:       16000000 kB\nMemAvailable:    4194304 kB\n"


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in place of those where the kernel tells it: /proc and /sys/fs/cgroup."""
    monkeypatch.setattr(memory, "_PROC", tmp_path)
    monkeypatch.setattr(memory, "_GROUPS", tmp_path)
    (tmp_path / "meminfo").write_text(MEMINFO)
    return tmp_path


def test_without_a_limit_it_is_that_of_the_machine(kernel: Path) -> None:
    assert memory.available() == 4096 * MIB
    (kernel / "memory.max").write_text("max\n")
    (kernel / "memory.current").write_text("1000\n")
    assert memory.available() == 4096 * MIB


def test_a_container_has_what_its_limit_leaves_and_the_pages_that_can_be_dropped(kernel: Path) -> None:
    (kernel / "memory.max").write_text(f"{1000 * MIB}\n")
    (kernel / "memory.current").write_text(f"{900 * MIB}\n")
    (kernel / "memory.stat").write_text(f"anon 5\ninactive_file {300 * MIB}\n")
    assert memory.available() == 400 * MIB


def test_the_files_of_control_groups_of_version_1(kernel: Path) -> None:
    group = kernel / "memory"
    group.mkdir()
    (group / "memory.limit_in_bytes").write_text(f"{1000 * MIB}\n")
    (group / "memory.usage_in_bytes").write_text(f"{1001 * MIB}\n")
    assert memory.available() == 0
    (group / "memory.stat").write_text(f"inactive_file 7\ntotal_inactive_file {200 * MIB}\n")
    assert memory.available() == 199 * MIB


def test_where_nothing_tells_it_there_is_none(kernel: Path) -> None:
    (kernel / "meminfo").unlink()
    assert memory.available() == 0
