"""How the ranks of one launch find each other, and nobody else."""

from __future__ import annotations

import secrets
import socket
import time
from datetime import timedelta
from functools import partial
from typing import NoReturn

from torch.distributed import (  # type: ignore[attr-defined]  # torch names them in another way
    DistError,
    PrefixStore,
    Store,
    TCPStore,
)

from ptycho_dist.distributed.background import BackgroundCall
from ptycho_dist.errors import LaunchError
from ptycho_dist.launching.environment import RankContext

GLANCE_S = 2.0
"""How long a rank waits for an answer before it asks again."""
_PAUSE_S = 0.2
_LAUNCH, _PLACE, _LISTENS = "launch", "rank-{}", "listens"
_MEETING = "ptycho_dist/meeting"
_AGAIN_S = 0.2
_GPU, _SHARED = "gpu", "shared gpu"


def meet(context: RankContext, timeout_s: float) -> Store:
    """Open the key-value store of this launch: rank 0 listens, the others find it.

    A port that another launch holds is recognised: it tells another launch id,
    or a rank of this number is there already.

    Parameters
    ----------
    context
        Place of this process, and where rank 0 listens.
    timeout_s
        Longest wait for the other ranks, in seconds.

    Raises
    ------
    LaunchError
        On each rank, with the address and what was found there.
    """
    limit = timedelta(seconds=timeout_s)
    found = _listen(context, limit) if context.rank == 0 else _find(context, timeout_s)
    if isinstance(found, str):
        _refuse(context, found)
    found.set_timeout(limit)
    return PrefixStore("ptycho_dist", found)


def meet_through_agent(context: RankContext, timeout_s: float) -> Store:
    """Open the key-value store of this start of the ranks under torchrun.

    The agent's store may outlive a restart, and then still holds what the ranks
    of before wrote, such as where each listened. So rank 0 opens a store of its
    own and tells the others through the agent's; one that is gone is skipped.

    Parameters
    ----------
    context
        Place of this process; its address and port are those of the agent's store.
    timeout_s
        Longest wait for the other ranks, in seconds.

    Raises
    ------
    LaunchError
        If rank 0 does not open its store in time.
    """
    limit = timedelta(seconds=timeout_s)
    agent = TCPStore(context.main_address, context.main_port, None, False, limit, wait_for_workers=False)
    found = _tell(context, agent, limit) if context.rank == 0 else _ask(agent, timeout_s)
    if isinstance(found, str):
        _refuse(context, found)
    return PrefixStore("ptycho_dist", found)


def require_own_gpu(context: RankContext, store: Store, gpu: str, limit: timedelta) -> None:
    """Refuse ranks that share a GPU, on every rank, before NCCL hangs or fails over it.

    Parameters
    ----------
    context
        Place of this process.
    store
        Of this launch.
    gpu
        Which GPU this rank uses, such as its UUID; the same name on two ranks means the same GPU.
    limit
        Longest wait for the other ranks.

    Raises
    ------
    LaunchError
        Naming two ranks and their GPU.
    """
    me = f"{context.rank} on {socket.gethostname()}"
    first = store.compare_set(f"{_GPU}/{gpu}", "", me).decode()
    if first != me:
        store.set(_SHARED, f"ranks {first} and {me} both use GPU {gpu}")
    if store.add(f"{_GPU}s", 1) == context.world:
        store.set(f"{_GPU}s known", "")
    store.wait([f"{_GPU}s known"], limit)
    if store.check([_SHARED]):
        msg = (
            f"{store.get(_SHARED).decode()}; expected one for each rank. Show each rank a GPU of its own "
            "(CUDA_VISIBLE_DEVICES, or SLURM's --gpus-per-task=1), or all of its node, or start fewer ranks on a node."
        )
        raise LaunchError(msg)


def _tell(context: RankContext, agent: TCPStore, limit: timedelta) -> TCPStore:
    """Open a store on any free port, and tell the other ranks where it is."""
    store = TCPStore("localhost", 0, None, True, limit, wait_for_workers=False)
    word = secrets.token_hex(8)
    store.set(_LAUNCH, word)
    agent.set(_MEETING, f"{_own_address(context)} {store.port} {word}")
    return store


def _ask(agent: TCPStore, timeout_s: float) -> TCPStore | str:
    """Find the store of rank 0; say what was found instead."""
    found, deadline = "rank 0 has not said where it listens", time.monotonic() + timeout_s
    while (left_s := deadline - time.monotonic()) > 0:
        address, port, word = agent.get(_MEETING).decode().split()
        try:
            glance = timedelta(seconds=min(left_s, GLANCE_S))
            store = TCPStore(address, int(port), None, False, glance, wait_for_workers=False)
            if store.get(_LAUNCH).decode() == word:
                store.set_timeout(timedelta(seconds=timeout_s))
                return store
        except (DistError, RuntimeError) as error:
            found = _first_line(error)
        time.sleep(_AGAIN_S)
    return found


def _own_address(context: RankContext) -> str:
    """Address by which other hosts reach this one: that of the way to the agent's store."""
    where = socket.getaddrinfo(context.main_address, context.main_port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(where[0], socket.SOCK_DGRAM) as probe:
        probe.connect(where[4])
        address = str(probe.getsockname()[0])
    return context.main_address if address.startswith("127.") or address == "::1" else address


def _listen(context: RankContext, limit: timedelta) -> TCPStore | str:
    """Listen on the port of this launch; say so if it is taken."""
    try:
        store = TCPStore(context.main_address, context.main_port, None, True, limit, wait_for_workers=False)
    except (DistError, RuntimeError) as error:
        return f"rank 0 cannot listen there, the port is taken by another program or launch: {_first_line(error)}"
    store.set(_LAUNCH, context.launch_id)
    store.set(_PLACE.format(0), _LISTENS)
    return store


def _find(context: RankContext, timeout_s: float) -> TCPStore | str:
    """Find the store of this launch; say what was found instead."""
    found, deadline, word = "no answer", time.monotonic() + timeout_s, secrets.token_hex(8)
    while (left_s := deadline - time.monotonic()) > 0:
        look = BackgroundCall(partial(_look, context, word, min(left_s, GLANCE_S)))
        look.wait(min(left_s, GLANCE_S) + GLANCE_S)
        result = look.result() if look.done else "a program listens there that is no rank of ours"
        if isinstance(result, TCPStore):
            return result
        found = result
    return found


def _look(context: RankContext, word: str, limit_s: float) -> TCPStore | str:
    """Look once: the store of this launch, or what is wrong with what is there."""
    limit = timedelta(seconds=limit_s)
    try:
        store = TCPStore(context.main_address, context.main_port, None, False, limit, wait_for_workers=False)
        return _recognise(store, context, word) or store
    except (DistError, RuntimeError) as error:
        return _first_line(error)


def _recognise(store: TCPStore, context: RankContext, word: str) -> str:
    """Say what is wrong with a store that answered; empty if it is that of this launch.

    The word is that of this process: a look that was given up may still take its place.
    """
    launch_id = store.get(_LAUNCH).decode()
    if launch_id != context.launch_id:
        time.sleep(_PAUSE_S)
        return f"another launch listens there (id {launch_id!r}, expected {context.launch_id!r})"
    if store.compare_set(_PLACE.format(context.rank), "", word).decode() != word:
        msg = (
            f"rank {context.rank} of {context.world} is there already at {_where(context)}: two launches share this "
            "port. Give each launch its own MASTER_PORT."
        )
        raise LaunchError(msg)
    return ""


def _refuse(context: RankContext, found: str) -> NoReturn:
    msg = (
        f"rank {context.rank} of {context.world} did not find the other ranks at {_where(context)} ({found}); expected "
        f"{context.world} ranks of one launch. Check that all were started and that the port is free; MASTER_PORT "
        "names another."
    )
    raise LaunchError(msg)


def _where(context: RankContext) -> str:
    return f"{context.main_address}:{context.main_port}"


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
