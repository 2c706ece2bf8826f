"""Which address of rank 0 reaches the other hosts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ptycho_dist.distributed.mpi.address import choose_address
from ptycho_dist.errors import LaunchError
from ptycho_dist.launching import network_interfaces
from ptycho_dist.launching.environment import detect
from ptycho_dist.launching.network_interfaces import (
    Interface,
    interface_in_network_of,
    named_interface,
    own_interfaces,
    use_for_gloo,
    use_named_interface,
)

LO = Interface("lo", "127.0.0.1", "255.0.0.0")
ADMIN = Interface("eth0", "192.168.7.1", "255.255.255.0")
FAST = Interface("ib0", "10.0.0.1", "255.255.0.0")
SIX = Interface("eth0", "fd77::1", "64")
HOSTS = {
    0: (LO, ADMIN, FAST),
    1: (LO, Interface("ib0", "10.0.3.2", "255.255.0.0")),
    2: (LO, Interface("eth0", "192.168.7.3", "255.255.255.0"), Interface("ib1", "10.0.9.9", "255.255.0.0")),
}
ALONE = replace(detect({}), launcher="mpi", world=6, local_world=6)
SPREAD = replace(detect({}), launcher="mpi", world=6, local_world=2, nodes=3)


def test_address_is_loopback_on_one_host() -> None:
    assert choose_address(ALONE, {}, {0: HOSTS[0]}) == "127.0.0.1"


def test_address_is_in_the_network_that_all_hosts_share() -> None:
    assert choose_address(SPREAD, {}, HOSTS) == "10.0.0.1"


@pytest.mark.parametrize(
    ("env", "address"),
    [
        ({"PTYCHO_DIST_INTERFACE": "eth0"}, "192.168.7.1"),
        ({"GLOO_SOCKET_IFNAME": "eth0"}, "192.168.7.1"),
        ({"PTYCHO_DIST_INTERFACE": "ib0", "GLOO_SOCKET_IFNAME": "eth0"}, "10.0.0.1"),
        ({"MASTER_ADDR": "n0", "PTYCHO_DIST_INTERFACE": "eth0"}, "n0"),
    ],
)
def test_address_is_the_one_that_the_user_names(env: dict[str, str], address: str) -> None:
    assert choose_address(SPREAD, env, HOSTS) == address
    if "MASTER_ADDR" not in env:
        assert choose_address(ALONE, env, {0: HOSTS[0]}) == address


def test_address_may_be_ipv6_where_there_is_no_other() -> None:
    hosts = {0: (Interface("lo", "::1", "128"), SIX), 1: (Interface("ib1", "fd77::2", "64"),)}
    assert choose_address(replace(SPREAD, world=4, nodes=2), {}, hosts) == "fd77::1"
    used = interface_in_network_of("fd77::1", hosts[1])
    assert used is not None
    assert used.name == "ib1"
    assert interface_in_network_of("10.0.0.1", hosts[1]) is None


def test_ipv6_is_read_from_the_kernels_table(tmp_path: Path) -> None:
    table = tmp_path / "if_inet6"
    table.write_text(
        "00000000000000000000000000000001 01 80 10 80       lo\n"
        "fe8000000000000000fc00fffe000001 04 40 20 80     eth0\n"
        "fd770000000000000000000000000001 04 40 00 82     eth0\n"
    )
    assert network_interfaces._ipv6_interfaces(table) == [Interface("lo", "::1", "128"), SIX]
    assert network_interfaces._ipv6_interfaces(tmp_path / "none") == []
    assert network_interfaces.free_port("::1") > 0


def test_address_is_refused_when_no_network_holds_all_hosts() -> None:
    hosts = {0: (LO, ADMIN), 1: HOSTS[1]}
    with pytest.raises(LaunchError, match=r"eth0 \(192\.168\.7\.1/255\.255\.255\.0\), and no network .* PTYCHO_DIST_"):
        choose_address(replace(SPREAD, world=4, nodes=2), {}, hosts)


def test_named_interface_must_be_there() -> None:
    with pytest.raises(LaunchError, match=r"= 'eth9', but .* lo \(127\.0\.0\.1\), eth0"):
        named_interface({"PTYCHO_DIST_INTERFACE": "eth9"}, HOSTS[0])
    assert named_interface({}, HOSTS[0]) is None


def test_each_host_uses_its_interface_in_the_network_of_rank_0() -> None:
    assert [getattr(interface_in_network_of("10.0.0.1", one), "name", None) for one in HOSTS.values()] == [
        "ib0", "ib0", "ib1"
    ]  # fmt: skip
    assert interface_in_network_of("node7", HOSTS[0]) is None


def test_gloo_and_nccl_use_the_named_interface_unless_told_another() -> None:
    env = {"PTYCHO_DIST_INTERFACE": "eth0", "NCCL_SOCKET_IFNAME": "ib7", "GLOO_SOCKET_IFNAME": ""}
    use_named_interface(env)
    assert (env["GLOO_SOCKET_IFNAME"], env["NCCL_SOCKET_IFNAME"]) == ("eth0", "ib7")
    silent: dict[str, str] = {}
    use_named_interface(silent)
    assert silent == {}
    use_for_gloo(silent, "ib0")
    use_for_gloo(silent, "ib1")
    assert silent == {"GLOO_SOCKET_IFNAME": "ib0"}


def test_own_interfaces_hold_loopback() -> None:
    found = [one for one in own_interfaces() if one.is_loopback]
    assert found
    assert found[0].address.startswith("127.")
