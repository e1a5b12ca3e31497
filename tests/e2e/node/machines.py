"""Network namespaces that stand for the machines of a small cluster, joined by a bridge.

Everything that a machine runs is in its network namespace or its control groups, so that `down` finds
and ends all of it, also what an earlier run left behind. Needs root and Linux.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

BRIDGE = "mp-nodes"
BRIDGE_ADDRESS = "10.99.0.254"
CONTROL_GROUPS = Path("/sys/fs/cgroup")
RUNTIME = Path("/run/modelpress-node")  # sockets: their paths have to be short
STOP_SECONDS = 10
# What a kubelet sets for the whole computer.
_SYSCTLS = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
_BEFORE = RUNTIME / "sysctls.json"  # what they were: outlives a run that was killed


class Machine:
    """One machine: `10.99.0.NUMBER`, pods in `10.244.NUMBER.0/24`."""

    def __init__(self, number: int, folder: Path) -> None:
        self.number = number
        self.name = f"mp-node-{number}"
        self.address = f"10.99.0.{number}"
        self.pods = f"10.244.{number}.0/24"
        self.gateway = f"10.244.{number}.1"
        self.folder = folder / self.name
        self.runtime = RUNTIME / self.name
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def prefix(self) -> tuple[str, ...]:
        """What stands before a command that is to run there. `ip netns exec` would hide /sys/fs/cgroup."""
        return ("nsenter", f"--net=/run/netns/{self.name}")

    def up(self) -> None:
        """Make the namespace, its link to the bridge, the bridge of its pods and its control groups."""
        self.down()
        self.folder.mkdir(parents=True)
        self.runtime.mkdir(parents=True)
        outside, inside = f"mp-out-{self.number}", "eth0"
        if Path("/sys/class/net", outside).exists():  # of a run that was killed: the kernel takes its time
            _call("ip", "link", "delete", outside)
        _call("ip", "netns", "add", self.name)
        _call("ip", "link", "add", outside, "type", "veth", "peer", "name", inside, "netns", self.name)
        _call("ip", "link", "set", outside, "master", BRIDGE, "up")
        for command in (
            "ip link set lo up",
            f"ip addr add {self.address}/24 dev {inside}",
            f"ip link set {inside} up",
            f"ip route add default via {BRIDGE_ADDRESS}",  # nothing forwards it further
            "ip link add cni0 type bridge",
            f"ip addr add {self.gateway}/24 dev cni0",
            "ip link set cni0 up",
            "sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.route_localnet=1",
            "sysctl -qw net.bridge.bridge-nf-call-iptables=1",
        ):
            _call(*self.prefix, *command.split())
        for group in self._control_groups():
            group.mkdir(exist_ok=True)
            for name in ("cpuset.cpus", "cpuset.mems"):  # version 1: empty in a new group
                if (group / name).exists() and (group.parent / name).exists():
                    (group / name).write_text((group.parent / name).read_text())

    def route(self, other: "Machine") -> None:
        """Reach the pods of another machine."""
        _call(*self.prefix, "ip", "route", "replace", other.pods, "via", other.address)

    def run(self, name: str, *command: str) -> None:
        """Start a program there; its log is `name`.log in the machine's folder."""
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [*self.prefix, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                start_new_session=True,
            )

    def runs(self, name: str) -> bool:
        """Whether a program that was started there goes on."""
        return self._processes[name].poll() is None

    def stop(self, name: str, how: signal.Signals = signal.SIGTERM) -> None:
        """End one program; one that was not started is fine."""
        process = self._processes.pop(name, None)
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def down(self) -> None:
        """End all that runs there and take everything away but the logs."""
        # the kubelet first: it would start pods again
        for name in ("kubelet", *reversed(list(self._processes))):
            self.stop(name)
        for _ in range(50):
            left = self._members()
            if not left:
                break
            for process in left:
                _kill(process)
            time.sleep(0.1)
        for mount in reversed(_mounts((self.folder, self.runtime))):
            subprocess.run(["umount", "--lazy", mount], check=False, stderr=subprocess.DEVNULL)
        if Path("/run/netns", self.name).exists():
            _call("ip", "netns", "delete", self.name)  # takes the links along
        for group in self._control_groups():
            for folder in sorted(group.rglob("*/"), key=lambda path: len(path.parts), reverse=True):
                folder.rmdir()
            if group.exists():
                group.rmdir()
        shutil.rmtree(self.runtime, ignore_errors=True)

    def _control_groups(self) -> list[Path]:
        """The machine's group of each controller (version 1), or its one group (version 2)."""
        if (CONTROL_GROUPS / "cgroup.controllers").exists():
            return [CONTROL_GROUPS / self.name]
        return [path / self.name for path in CONTROL_GROUPS.iterdir() if (path / "cgroup.procs").exists()]

    def _members(self) -> set[int]:
        """The processes of the namespace and of all pods."""
        found: set[int] = set()
        if Path("/run/netns", self.name).exists():
            listed = subprocess.run(
                ["ip", "netns", "pids", self.name], check=True, capture_output=True, text=True
            ).stdout
            found |= {int(line) for line in listed.split()}
        for group in self._control_groups():
            for members in group.rglob("cgroup.procs"):
                found |= {int(line) for line in members.read_text().split()}
        return found


class Network:
    """The bridge that joins the machines, and the settings of this computer that a kubelet changes."""

    def __init__(self, machines: Iterable[Machine]) -> None:
        self.machines = tuple(machines)

    def up(self) -> None:
        """Make the bridge and all machines; this computer reaches their pods, too."""
        RUNTIME.mkdir(exist_ok=True)
        if not _BEFORE.exists():
            _BEFORE.write_text(json.dumps({name: Path("/proc/sys", name).read_text() for name in _SYSCTLS}))
        if shutil.which("modprobe"):  # built into the kernel where it is no module
            subprocess.run(["modprobe", "br_netfilter"], check=False, stderr=subprocess.DEVNULL)
        if not Path("/sys/class/net", BRIDGE).exists():
            _call("ip", "link", "add", BRIDGE, "type", "bridge")
        _call("ip", "addr", "replace", f"{BRIDGE_ADDRESS}/24", "dev", BRIDGE)
        _call("ip", "link", "set", BRIDGE, "up")
        for machine in self.machines:
            machine.up()
        for machine in self.machines:
            for other in self.machines:
                if other is not machine:
                    machine.route(other)

    def down(self) -> None:
        """Take everything away again."""
        for machine in reversed(self.machines):
            machine.down()
        subprocess.run(["ip", "link", "delete", BRIDGE], check=False, stderr=subprocess.DEVNULL)
        if _BEFORE.exists():
            for name, value in json.loads(_BEFORE.read_text()).items():
                Path("/proc/sys", name).write_text(value)
            _BEFORE.unlink()


def _call(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")


def _kill(process: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


def _mounts(folders: Iterable[Path]) -> list[str]:
    """The mount points below some folders, outer ones first."""
    inside = tuple(f"{folder}/" for folder in folders)
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return [point for point in (line.split()[1] for line in lines) if point.startswith(inside)]
