"""Network interfaces of this host, and the one that reaches other hosts."""

from __future__ import annotations

import fcntl
import ipaddress
import secrets
import socket
import struct
from collections.abc import Mapping, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ptycho_dist.errors import LaunchError

INTERFACE_VARIABLES = ("PTYCHO_DIST_INTERFACE", "GLOO_SOCKET_IFNAME")
"""Variables that name the interface to use; the first that is set decides."""
_SIOCGIFADDR, _SIOCGIFNETMASK = 0x8915, 0x891B
_LINK_SCOPE = 0x20
_FIRST_PORT, _PORTS, _PORT_TRIES = 10000, 10000, 100


@dataclass(frozen=True)
class Interface:
    """A network interface with an address.

    Parameters
    ----------
    name
        Such as ``eth0``.
    address
        IPv4 in dotted form, or IPv6.
    netmask
        In dotted form; of IPv6 the bits of the prefix.
    """

    name: str
    address: str
    netmask: str

    @property
    def network(self) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
        """The network that this interface is part of."""
        return ipaddress.ip_interface(f"{self.address}/{self.netmask}").network

    @property
    def is_loopback(self) -> bool:
        """Whether it reaches this host only."""
        return ipaddress.ip_address(self.address).is_loopback


def own_interfaces() -> tuple[Interface, ...]:
    """Addresses of this host's interfaces, IPv4 before IPv6, without those that are valid on one link only."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        found = [
            Interface(name, address, _ask(probe, name, _SIOCGIFNETMASK) or "255.255.255.255")
            for _, name in socket.if_nameindex()
            if (address := _ask(probe, name, _SIOCGIFADDR)) is not None
        ]
    return (*found, *_ipv6_interfaces())


def free_port(address: str) -> int:
    """Find a port of this address that nobody uses, below those that systems give to outgoing connections.

    Raises
    ------
    LaunchError
        If none is found.
    """
    for _ in range(_PORT_TRIES):
        port = _FIRST_PORT + secrets.randbelow(_PORTS)
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family) as probe, suppress(OSError):
            probe.bind((address, port))
            return port
    msg = f"{_PORT_TRIES} random ports of {address} are all in use; expected a free one. Set MASTER_PORT to one."
    raise LaunchError(msg)


def named_interface(env: Mapping[str, str], interfaces: Sequence[Interface]) -> Interface | None:
    """Interface that a variable names; None where none does.

    Raises
    ------
    LaunchError
        If this host has no such interface.
    """
    variable = next((name for name in INTERFACE_VARIABLES if env.get(name)), None)
    if variable is None:
        return None
    for one in interfaces:
        if one.name == env[variable]:
            return one
    listed = ", ".join(f"{one.name} ({one.address})" for one in interfaces) or "none"
    msg = (
        f"{variable} = {env[variable]!r}, but {socket.gethostname()} has no such interface with an address; "
        f"expected one of {listed}. Change or unset {variable}."
    )
    raise LaunchError(msg)


def use_named_interface(env: MutableMapping[str, str]) -> None:
    """Make gloo and NCCL use the interface of PTYCHO_DIST_INTERFACE, unless they have been told another one."""
    for variable in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME") if env.get(INTERFACE_VARIABLES[0]) else ():
        env[variable] = env.get(variable) or env[INTERFACE_VARIABLES[0]]


def use_for_gloo(env: MutableMapping[str, str], name: str) -> None:
    """Make gloo use an interface, unless it has been told one; NCCL finds fast networks itself."""
    env["GLOO_SOCKET_IFNAME"] = env.get("GLOO_SOCKET_IFNAME") or name


def reaching(own: Sequence[Interface], others: Sequence[Sequence[Interface]]) -> Interface | None:
    """First of our interfaces whose network every other host is part of; None where there is none."""
    for one in own:
        if not one.is_loopback and all(_is_in(one.network, host) for host in others):
            return one
    return None


def interface_in_network_of(address: str, own: Sequence[Interface]) -> Interface | None:
    """First of our interfaces whose network holds an address; None where there is none, or it is a host's name."""
    try:
        wanted = ipaddress.ip_address(address)
    except ValueError:
        return None
    return next((one for one in own if wanted in one.network), None)


def _is_in(network: ipaddress.IPv4Network | ipaddress.IPv6Network, host: Sequence[Interface]) -> bool:
    return any(ipaddress.ip_address(one.address) in network for one in host)


def _ipv6_interfaces(table: Path = Path("/proc/net/if_inet6")) -> list[Interface]:
    """IPv6 addresses, from the kernel's table: address, index, bits of the prefix, scope, flags, name."""
    lines = table.read_text(encoding="ascii").splitlines() if table.is_file() else []
    rows = [line.split() for line in lines]
    return [
        Interface(row[5], str(ipaddress.IPv6Address(bytes.fromhex(row[0]))), str(int(row[2], 16)))
        for row in rows
        if int(row[3], 16) != _LINK_SCOPE
    ]


def _ask(probe: socket.socket, name: str, request: int) -> str | None:
    """One address of an interface; None where it has none."""
    try:
        answer = fcntl.ioctl(probe.fileno(), request, struct.pack("256s", name.encode()[:15]))
    except OSError:
        return None
    return socket.inet_ntoa(answer[20:24])
