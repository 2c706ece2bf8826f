"""Two network namespaces joined by a cable: two "hosts" on one machine (needs root and iproute2)."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.launch import calm_environment, finish

ADDRESSES = ("10.77.0.1", "10.77.0.2")
IPV6_ADDRESSES = ("fd77::1", "fd77::2")
DEVICE = "ptd0"
"""Name of the network device on either host."""
_IP = "ip" if shutil.which("ip") else "/usr/sbin/ip"


def missing() -> str | None:
    """Say what two hosts lack here; None when they can be made."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which(_IP) is None:
        return "network namespaces need iproute2 (.ci/run installs it for root)"
    if subprocess.run(["unshare", "--net", "--uts", "true"], check=False, capture_output=True).returncode != 0:
        return "this machine does not let root make network namespaces"
    return None


@dataclass(frozen=True)
class TwoHosts:
    """Two hosts with a name and an address each; they share the file system and see nothing but each other."""

    names: tuple[str, str]

    def start(self, host: int, argv: Sequence[object], env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start a command on host 0 or 1; the process is the command itself, not a wrapper."""
        name = self.names[host]
        inside = ["unshare", "--uts", "sh", "-c", 'hostname "$0"; exec "$@"', name, *map(str, argv)]
        return subprocess.Popen(
            [_IP, "netns", "exec", name, *inside],
            env=calm_environment({"GLOO_SOCKET_IFNAME": DEVICE, "NCCL_SOCKET_IFNAME": DEVICE} | dict(env or {})),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(
        self, host: int, argv: Sequence[object], env: Mapping[str, str] | None = None, limit_s: float = 90.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on host 0 or 1 to its end."""
        return finish(self.start(host, argv, env), limit_s)

    def cut(self) -> None:
        """Cut the cable: open connections fall silent, new ones fail."""
        _ip("-n", self.names[1], "link", "set", DEVICE, "down")

    def heal(self) -> None:
        """Mend the cable."""
        _ip("-n", self.names[1], "link", "set", DEVICE, "up")


@contextmanager
def two_hosts(addresses: tuple[str, str] = ADDRESSES) -> Iterator[TwoHosts]:
    """Make two hosts whose names no other process uses, and remove them at the end."""
    pair = TwoHosts((f"ptd{os.getpid()}a", f"ptd{os.getpid()}b"))
    with ExitStack() as stack:
        for name in pair.names:
            stack.enter_context(_namespace(name, pair.names, addresses))
        first, second = pair.names
        _ip("link", "add", DEVICE, "netns", first, "type", "veth", "peer", "name", DEVICE, "netns", second)
        for name, address in zip(pair.names, addresses, strict=True):
            prefix = [f"{address}/64", "nodad"] if ":" in address else [f"{address}/24"]
            _ip("-n", name, "addr", "add", *prefix, "dev", DEVICE)
            for device in ("lo", DEVICE):
                _ip("-n", name, "link", "set", device, "up")
        yield pair


@contextmanager
def _namespace(name: str, names: Sequence[str], addresses: Sequence[str]) -> Iterator[None]:
    """Make one namespace whose hosts file names both hosts."""
    folder = Path("/etc/netns") / name
    folder.mkdir(parents=True)
    try:
        lines = [f"{address} {host}" for host, address in zip(names, addresses, strict=True)]
        (folder / "hosts").write_text("\n".join(["127.0.0.1 localhost", *lines, ""]))
        _ip("netns", "add", name)
        try:
            yield
        finally:
            _ip("netns", "del", name)
    finally:
        shutil.rmtree(folder)


def _ip(*arguments: str) -> None:
    subprocess.run([_IP, *arguments], check=True, capture_output=True, text=True)
