"""Where the ranks of mpirun meet."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ptycho_dist.distributed.mpi.library import available, start
from ptycho_dist.errors import LaunchError
from ptycho_dist.launching.environment import RankContext
from ptycho_dist.launching.network_interfaces import (
    Interface,
    free_port,
    interface_in_network_of,
    named_interface,
    own_interfaces,
    reaching,
    use_for_gloo,
)


def bootstrap(context: RankContext) -> RankContext:
    """Agree under mpirun where rank 0 listens; contexts of other launchers are returned as they are.

    Rank 0 takes, in this order: MASTER_ADDR; the interface that PTYCHO_DIST_INTERFACE
    or GLOO_SOCKET_IFNAME names; loopback where all ranks are on one host; the interface
    whose network all hosts share. The port is MASTER_PORT, else a free one. Each rank
    then tells gloo to use its own interface in that network. Without mpi4py
    the address and port derived from the environment stay.

    Raises
    ------
    LaunchError
        On every rank, if no address reaches all hosts.
    """
    if context.launcher != "mpi" or context.world == 1:
        return context
    if not available():
        if not context.main_address:
            msg = (
                f"mpirun started {context.world} ranks on {context.nodes} nodes, mpi4py is not available and "
                "MASTER_ADDR is not set; expected the host of rank 0. Export MASTER_ADDR to all ranks, or install "
                "ptycho-dist[mpi]."
            )
            raise LaunchError(msg)
        return context
    comm = start(context)
    own = own_interfaces()
    hosts = dict(comm.allgather((context.node_rank, own)))
    offer = comm.bcast(_offer(context, os.environ, hosts) if context.rank == 0 else None)
    if isinstance(offer, str):
        raise LaunchError(offer)
    address, port, launch_id = offer
    used = named_interface(os.environ, own) or interface_in_network_of(address, own)
    if used is not None:
        use_for_gloo(os.environ, used.name)
    return replace(context, main_address=address, main_port=port, launch_id=launch_id)


def _offer(
    context: RankContext, env: Mapping[str, str], hosts: Mapping[int, Sequence[Interface]]
) -> tuple[str, int, str] | str:
    """Address, port and id that rank 0 offers; a sentence if it has none."""
    try:
        address = choose_address(context, env, hosts)
        return address, context.main_port if "MASTER_PORT" in env else free_port(address), secrets.token_hex(8)
    except (LaunchError, OSError) as error:
        return f"rank 0 finds no address where the ranks can meet: {error}"


def choose_address(context: RankContext, env: Mapping[str, str], hosts: Mapping[int, Sequence[Interface]]) -> str:
    """Address of rank 0; see :func:`bootstrap`.

    Parameters
    ----------
    context
        Place of rank 0.
    env
        Its environment.
    hosts
        Interfaces by node.

    Raises
    ------
    LaunchError
        If the named interface is not there, or no interface reaches all hosts.
    """
    if env.get("MASTER_ADDR"):
        return env["MASTER_ADDR"]
    own = hosts[context.node_rank]
    named = named_interface(env, own)
    if named is not None:
        return named.address
    if context.nodes == 1:
        return "127.0.0.1"
    found = reaching(own, [one for node, one in hosts.items() if node != context.node_rank])
    if found is None:
        listed = ", ".join(f"{one.name} ({one.address}/{one.netmask})" for one in own) or "none"
        msg = (
            f"host {socket.gethostname()} has the interfaces {listed}, and no network of them holds all "
            f"{context.nodes} hosts; expected one. Export PTYCHO_DIST_INTERFACE or MASTER_ADDR to all ranks."
        )
        raise LaunchError(msg)
    return found.address
