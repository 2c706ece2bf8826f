"""Ranks of a real mpirun: where they meet, what they tell each other, and how all end when one fails."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.launch import calm_environment, step_losses
from tests.support.mpi import find_mpirun, missing, mpirun
from tests.support.netns import ADDRESSES, DEVICE, TwoHosts

pytestmark = [
    pytest.mark.mpi,
    pytest.mark.skipif(missing() is not None, reason=f"NOT RUN: {missing()}"),
]

JOIN = """
import os
from ptycho_dist.launching.environment import detect
from ptycho_dist.distributed.mpi.address import bootstrap
from ptycho_dist.distributed.mpi.library import abort, failure_propagation, finish, start
context = detect(os.environ)
"""
"""Start of a program that runs as a rank of mpirun."""


def ranks_say(code: str, ranks: int = 2, **env: str) -> list[str]:
    """Run a program as ranks that must succeed; returns the lines that they wrote, sorted.

    They end MPI together, for mpirun kills what still runs when the first rank ends without.
    """
    done = mpirun(ranks, [sys.executable, "-c", f"{JOIN}{code}\nfinish()\n"], env)
    assert done.returncode == 0, done.stderr
    return sorted(done.stdout.splitlines())


def cli(*arguments: object) -> list[object]:
    return [sys.executable, "-m", "ptycho_dist", *arguments]


SAY_PLACE = """
from sys import stdout
c = bootstrap(context)
stdout.write(f"{c.rank} {c.main_address} {c.main_port} {c.launch_id}\\n")
"""


def test_bootstrap_gives_all_ranks_one_free_port_on_loopback() -> None:
    lines = [line.split() for line in ranks_say(SAY_PLACE, 3)]
    assert [line[0] for line in lines] == ["0", "1", "2"]
    assert len({tuple(line[1:]) for line in lines}) == 1
    _, address, port, launch_id = lines[0]
    assert (address, len(launch_id)) == ("127.0.0.1", 16)
    with socket.socket() as probe:
        probe.bind((address, int(port)))
    assert ranks_say(SAY_PLACE, 2)[0].split()[3] != launch_id, "two launches must not share an id"


def test_bootstrap_obeys_the_named_interface_and_the_named_port() -> None:
    lines = ranks_say(SAY_PLACE, 2, PTYCHO_DIST_INTERFACE="lo", MASTER_PORT="12345")
    assert [line.split()[1:3] for line in lines] == [["127.0.0.1", "12345"]] * 2


def test_bootstrap_refuses_on_every_rank_when_the_interface_is_not_there() -> None:
    code = "import sys\ntry:\n    bootstrap(context)\nexcept Exception as error:\n    sys.stdout.write(f'{error}\\n')"
    lines = ranks_say(code, 2, PTYCHO_DIST_INTERFACE="nosuch0")
    assert len(lines) == 2
    for line in lines:
        assert "PTYCHO_DIST_INTERFACE = 'nosuch0'" in line
        assert "expected one of" in line


REMOTE_SHELL = """#!/bin/sh
while [ "${1#-}" != "$1" ]; do shift; done
host=$1; shift
exec ip netns exec "$host" unshare --uts sh -c 'hostname "$0"; exec sh -c "$*"' "$host" "$@"
"""
"""What mpirun takes for ssh: it starts a command on the other host (network namespace)."""

MEET = (
    SAY_PLACE
    + """
from ptycho_dist.distributed.collectives import all_gather_object, process_group
stdout.write(f"{c.rank} uses {os.environ['GLOO_SOCKET_IFNAME']}\\n")
with process_group(context, "gloo", 20.0):
    stdout.write(f"{c.rank} sees {all_gather_object(c.rank)}\\n")
"""
)


@pytest.mark.netns
def test_ranks_on_two_hosts_meet_though_each_host_takes_its_own_name_for_loopback(
    two_hosts: TwoHosts, tmp_path: Path
) -> None:
    shell = tmp_path / "remote_shell"
    shell.write_text(REMOTE_SHELL)
    shell.chmod(0o755)
    for own, other in ((0, 1), (1, 0)):
        names = f"127.0.0.1 localhost\n127.0.1.1 {two_hosts.names[own]}\n{ADDRESSES[other]} {two_hosts.names[other]}\n"
        Path("/etc/netns", two_hosts.names[own], "hosts").write_text(names)
    mpirun_program = find_mpirun()
    assert mpirun_program is not None
    command = [mpirun_program, "-hosts", ",".join(two_hosts.names), "-ppn", 1, "-n", 2, "-iface", DEVICE, "-launcher",
               "ssh", "-launcher-exec", shell, sys.executable, "-c", JOIN + MEET]  # fmt: skip
    done = two_hosts.run(0, command, {"GLOO_SOCKET_IFNAME": "", "NCCL_SOCKET_IFNAME": ""}, limit_s=60.0)
    assert done.returncode == 0, done.stderr
    lines = sorted(done.stdout.splitlines())
    places = [line.split() for line in lines if "uses" not in line and "sees" not in line]
    assert [place[:2] for place in places] == [["0", ADDRESSES[0]], ["1", ADDRESSES[0]]]
    assert places[0][2:] == places[1][2:]
    assert [line for line in lines if "uses" in line] == [f"0 uses {DEVICE}", f"1 uses {DEVICE}"]
    assert [line for line in lines if "sees" in line] == ["0 sees [0, 1]", "1 sees [0, 1]"]


GATHER = """
from sys import stdout
own = bytes([context.rank + 1]) * ({bytes} if context.rank == 1 else 3)
got = start(context).allgather(own)
ends = [(one[0], one[-1], one.count(one[0]) == len(one)) for one in got]
stdout.write(f"{{[len(one) for one in got]}} {{ends}}\\n")
"""


@pytest.mark.exhaustive
def test_gather_is_whole_when_a_message_exceeds_2_to_the_31_bytes() -> None:
    size = 2_362_232_012
    if os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") < 6 * size:
        pytest.skip(f"NOT RUN: two ranks need {6 * size >> 30} GiB of memory")
    lines = ranks_say(GATHER.format(bytes=size), 2)
    assert lines == [f"[3, {size}] [(1, 1, True), (2, 2, True)]"] * 2


FAIL = """
import sys, time
from ptycho_dist import cli
from ptycho_dist.errors import ConfigError, OtherRankError
def work(_arguments):
    with failure_propagation(grace_s=20.0):
        comm = start(context)
        if context.rank == 1:
            raise {error}("the reason")
        {others}
    return 0
cli._run = work
cli.program()
"""
"""The entry point with another command in it."""


def fail(error: str, others: str, code: int) -> tuple[str, float]:
    """Let rank 1 fail; returns what was reported and how long it took."""
    started = time.monotonic()
    done = mpirun(2, [sys.executable, "-c", JOIN + FAIL.format(error=error, others=others)], limit_s=60.0)
    assert done.returncode == code, done.stderr
    return done.stderr, time.monotonic() - started


OTHERS = {
    "is done": "pass",
    "waits for it": "comm.allgather(1)",
    "does not listen": "time.sleep(50)",
    "has lost it": "raise OtherRankError('rank 1 is gone')",
}


@pytest.mark.parametrize("others", OTHERS.values(), ids=OTHERS.keys())
def test_failing_rank_reports_its_error_and_ends_all_whatever_the_other_does(others: str) -> None:
    said, seconds = fail("ConfigError", others, 2)
    assert said.count("the reason") == 1
    assert "rank 1 of 2 failed" in said
    assert "ptycho-dist: ConfigError: the reason" in said
    assert seconds < 20


def test_crash_of_a_rank_keeps_its_traceback_and_its_exit_code() -> None:
    said, _ = fail("ZeroDivisionError", "comm.allgather(1)", 1)
    assert "Traceback" in said
    assert "ZeroDivisionError: the reason" in said


def test_rank_that_never_starts_mpi_ends_the_others_within_the_limit() -> None:
    program = JOIN + "import sys\nif context.rank == 1: sys.exit(3)\nstart(context, 2.0)\n"
    started = time.monotonic()
    done = mpirun(2, [sys.executable, "-c", program], limit_s=60.0)
    assert time.monotonic() - started < 30
    assert done.returncode != 0
    assert "_wait_for_every_rank_to_start_mpi" in done.stderr


def test_start_of_mpi_waits_no_longer_than_timeout_s(tmp_path: Path) -> None:
    words = ["train", tmp_path / "scan.h5", "--output_dir", tmp_path, "--timeout_s", "3"]
    started = time.monotonic()
    done = mpirun(2, ["sh", "-c", '[ "$PMI_RANK" = 1 ] && exec sleep 50; exec "$@"', "sh", *cli(*words)], limit_s=45.0)
    assert time.monotonic() - started < 30
    assert done.returncode != 0
    assert "_wait_for_every_rank_to_start_mpi" in done.stderr


def test_user_error_of_all_ranks_is_shown_once(tmp_path: Path) -> None:
    done = mpirun(2, cli("train", tmp_path / "nosuch.h5", "--output_dir", tmp_path))
    assert done.returncode == 2
    assert done.stderr.count("DataFormatError") == 1


@pytest.fixture
def broken_library(tmp_path: Path) -> dict[str, str]:
    """Name an MPI library that is none."""
    path = tmp_path / "libmpi.so"
    path.write_bytes(b"")
    return {"MPI4PY_LIBMPI": str(path)}


def test_broken_library_is_not_available_and_raises_nothing(broken_library: dict[str, str]) -> None:
    code = "from ptycho_dist.distributed.mpi.library import available; import sys; sys.exit(10 + available())"
    assert python(["-c", code], broken_library).returncode == 10
    assert python(["-c", code], {}).returncode == 11


def test_plain_training_needs_no_mpi_library(scan: Path, tmp_path: Path, broken_library: dict[str, str]) -> None:
    flags = ["--max_steps", "1", "--accelerator", "cpu", "--width", "8", "--depth", "1"]
    done = python(["-m", "ptycho_dist", "train", str(scan), "--output_dir", str(tmp_path), *flags], broken_library)
    assert done.returncode == 0, done.stderr


def test_ranks_of_mpirun_need_no_mpi_library(scan: Path, tmp_path: Path, broken_library: dict[str, str]) -> None:
    flags = ["--max_steps", 2, "--accelerator", "cpu", "--width", 8, "--depth", 1]
    done = mpirun(2, cli("train", scan, "--output_dir", tmp_path, *flags), broken_library)
    assert done.returncode == 0, done.stderr
    assert len(step_losses(tmp_path)) == 2


def test_library_of_another_mpi_than_mpirun_is_refused_with_the_fix() -> None:
    pretend = {"PMI_RANK": "1", "PMI_SIZE": "2", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "2"}
    done = run_with(["inspect", "nosuch.h5"], pretend)
    assert done.returncode == 2
    assert "says rank 0 of 1; expected one MPI for both" in done.stderr


def run_with(arguments: Sequence[object], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return python(["-m", "ptycho_dist", *map(str, arguments)], env)


def python(arguments: Sequence[str], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=calm_environment(env), text=True, capture_output=True, timeout=60, check=False)
