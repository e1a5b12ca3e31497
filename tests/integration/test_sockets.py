"""What `::` means: every address of the host, whatever it has. With real sockets and network namespaces."""

import shutil
import socket
import subprocess
import sys

import pytest

from modelpress.sockets import bound

PROGRAM = """
import socket, subprocess, sys
from pathlib import Path
from modelpress.sockets import bound
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
for setting in sys.argv[1:]:
    name, _, value = setting.partition("=")
    Path("/proc/sys/net/ipv6", name).write_text(value)
listener = bound("::", 0)
listener.listen()
with socket.create_connection(("127.0.0.1", listener.getsockname()[1]), 5):
    print(listener.accept()[1][0])
"""
NO_SUCH_FAMILY = """
import errno, socket
class NoIPv6(socket.socket):
    def __init__(self, family=-1, *args, **settings):
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        super().__init__(family, *args, **settings)
socket.socket = NoIPv6
"""


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_it_takes_connections_of_both_families(address: str) -> None:
    with bound("::", 0) as listener:
        listener.listen()
        with socket.create_connection((address, listener.getsockname()[1]), 5):
            assert listener.accept()[1][0].endswith(address)


def test_a_single_address_stays_one() -> None:
    with bound("127.0.0.1", 0) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"


def test_a_port_that_is_taken_is_not_asked_for_in_another_family() -> None:
    with bound("::", 0) as taken:
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            bound("::", taken.getsockname()[1])


def in_namespace(program: str, *settings: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a network namespace of its own."""
    unshare = ["unshare", "--user", "--map-root-user", "--net"]
    if shutil.which("ip") is None or subprocess.run([*unshare, "true"], check=False).returncode:
        pytest.skip("no network namespaces here")
    command = [*unshare, sys.executable, "-c", program, *settings]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(
    "settings",
    [
        ("conf/all/disable_ipv6=1",),
        ("conf/lo/disable_ipv6=1", "conf/default/disable_ipv6=1"),
        ("bindv6only=1",),
    ],
    ids=["IPv6 is switched off", "no interface has it", "bindv6only"],
)
def test_ipv4_is_served_on_a_host_where(settings: tuple[str, ...]) -> None:
    done = in_namespace(PROGRAM, *settings)
    assert done.stdout.strip().endswith("127.0.0.1"), done.stderr


def test_ipv4_is_served_where_a_stand_in_for_the_kernel_knows_no_ipv6() -> None:
    done = in_namespace(NO_SUCH_FAMILY + PROGRAM)
    assert done.stdout.strip() == "127.0.0.1", done.stderr
