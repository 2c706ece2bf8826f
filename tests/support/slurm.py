"""A real SLURM on this host: slurmctld, some slurmd and a munge of its own, on loopback (needs root)."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tests.support.hosts import loopback_names
from tests.support.launch import calm_environment, finish, free_port

NODES, CPUS, GPUS = 2, 4, 4
"""Nodes, and what each claims to have: more than there is, since tests measure no speed."""
_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "scancel", "sinfo", "squeue", "setpriv")
_PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
_START_S, _STOP_S, _POLL_S = 30.0, 15.0, 0.2
_HURRY_S = 2
_ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE"}


def missing() -> str | None:
    """Say what a real SLURM lacks here; None when it can be started."""
    if os.geteuid() != 0:
        return "a SLURM of our own needs root"
    lacking = [name for name in _PROGRAMS if shutil.which(name, path=_PATH) is None]
    if lacking:
        return f"SLURM needs {', '.join(lacking)} (.ci/run installs them for root)"
    return None


@dataclass(frozen=True)
class EndedJob:
    """What a job left: state as SLURM names it, exit code and signal, restarts, and its log."""

    state: str
    exit_code: int
    signal: int
    restarts: int
    log: str


@dataclass(frozen=True)
class SlurmCluster:
    """A running cluster; ``nodes`` are names that resolve to loopback."""

    folder: Path
    nodes: tuple[str, ...]

    @property
    def conf(self) -> Path:
        """The configuration that clients find through SLURM_CONF."""
        return self.folder / "slurm.conf"

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """Variables of a client: those of a calm child, and where this cluster is."""
        own = {"SLURM_CONF": str(self.conf), "PATH": _PATH, "GLOO_SOCKET_IFNAME": "lo"}
        return calm_environment(own | dict(extra or {}))

    def client(
        self, *argv: object, env: Mapping[str, str] | None = None, limit_s: float = 30.0
    ) -> subprocess.CompletedProcess[str]:
        """Run any client program (sbatch, salloc, a script that calls them) to its end."""
        return finish(self.start(*argv, env=env), limit_s)

    def start(self, *argv: object, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start any client program; both outputs are kept apart."""
        return subprocess.Popen(
            [str(word) for word in argv],
            env=self.environment(env),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def srun(
        self, *arguments: object, env: Mapping[str, str] | None = None, limit_s: float = 90.0
    ) -> subprocess.CompletedProcess[str]:
        """Run ``srun ARGUMENTS`` to its end."""
        return self.client("srun", *arguments, env=env, limit_s=limit_s)

    def submit(self, *arguments: object, env: Mapping[str, str] | None = None) -> str:
        """Submit ``sbatch ARGUMENTS``: flags, script, its arguments. Returns the job id."""
        output = self.folder / "jobs" / "%A-%a-%j.log"
        done = self.client("sbatch", "--parsable", f"--output={output}", *arguments, env=env)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip().partition(";")[0]

    def scontrol(self, *arguments: object) -> str:
        """Output of ``scontrol ARGUMENTS``, which must succeed."""
        done = self.client("scontrol", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def facts(self, job: str) -> list[dict[str, str]]:
        """Read what ``scontrol show job`` says, one mapping for each task of a job array."""
        lines = self.scontrol("show", "job", "-o", job).splitlines()
        return [dict(re.findall(r"(\w+)=(\S*)", line)) for line in lines if line.strip()]

    def wait(self, job: str, limit_s: float = 90.0) -> EndedJob:
        """Wait for a job to end (a requeued one is not made to wait for its turn)."""
        return self.wait_all(job, limit_s)[0]

    def wait_all(self, job: str, limit_s: float = 90.0) -> list[EndedJob]:
        """Wait for all tasks of a job array."""
        self.wait_for(job, lambda facts: all(one["JobState"] in _ENDED for one in facts), limit_s)
        return [self._ended(one) for one in sorted(self.facts(job), key=lambda one: int(one["JobId"]))]

    def wait_for(
        self, job: str, condition: Callable[[list[dict[str, str]]], bool], limit_s: float = 90.0
    ) -> list[dict[str, str]]:
        """Wait until the facts of a job meet a condition."""
        deadline = time.monotonic() + limit_s
        while not condition(facts := self.facts(job)):
            assert time.monotonic() < deadline, f"job {job} after {limit_s} s: {facts}\n{self.log(facts[0])}"
            for one in facts:
                self._hurry(one)
            time.sleep(_POLL_S)
        return facts

    def _hurry(self, facts: Mapping[str, str]) -> None:
        """Let a requeued job start in 2 s, not in 2 minutes; within the same second its node would refuse it."""
        if (facts["JobState"], facts["Reason"]) == ("PENDING", "BeginTime"):
            wait = datetime.fromisoformat(facts["EligibleTime"]) - datetime.now()  # both are local, as SLURM prints it
            if wait.total_seconds() > _HURRY_S:
                self.client("scontrol", "update", f"jobid={facts['JobId']}", f"StartTime=now+{_HURRY_S}")

    def log(self, facts: Mapping[str, str]) -> str:
        """Read what a job has written to its log so far."""
        path = Path(facts["StdOut"])
        return path.read_text() if path.is_file() else ""

    def _ended(self, facts: Mapping[str, str]) -> EndedJob:
        code, _, signal = facts["ExitCode"].partition(":")
        return EndedJob(facts["JobState"], int(code), int(signal), int(facts["Restarts"]), self.log(facts))


@contextmanager
def slurm_cluster(nodes: int = NODES) -> Iterator[SlurmCluster]:
    """Start a cluster with its own folder, ports, key and node names; stop it at the end."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ptd-slurm-", ignore_cleanup_errors=True)))
        cluster = SlurmCluster(folder, tuple(f"ptd{os.getpid()}-n{index}" for index in range(nodes)))
        stack.enter_context(loopback_names(cluster.nodes))
        _write_files(cluster)
        stack.enter_context(_daemon(cluster, *_munged(folder)))
        _wait_until(cluster, lambda: (folder / "munge.socket").exists(), "munged")
        stack.enter_context(_daemon(cluster, "slurmctld", "-D", "-i", "-f", cluster.conf))
        for name in cluster.nodes:
            stack.enter_context(_daemon(cluster, "slurmd", "-D", "-f", cluster.conf, "-N", name))
        _wait_until(cluster, lambda: _idle_nodes(cluster) == nodes, "SLURM")
        stack.callback(_end_jobs, cluster)
        yield cluster


def _munged(folder: Path) -> list[object]:
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o400)
    files = {"key-file": "munge.key", "socket": "munge.socket", "pid-file": "munge.pid", "log-file": "munge.log",
             "seed-file": "munge.seed"}  # fmt: skip
    return ["munged", "--foreground", "--force", *(f"--{flag}={folder / name}" for flag, name in files.items())]


def _write_files(cluster: SlurmCluster) -> None:
    folder = cluster.folder
    folder.chmod(0o755)
    for name in ("jobs", "ctld", *(f"slurmd.{node}" for node in cluster.nodes)):
        (folder / name).mkdir()
    host = socket.gethostname().partition(".")[0]
    lines = [
        "ClusterName=ptd", f"SlurmctldHost={host}(127.0.0.1)", f"SlurmctldPort={free_port()}",
        "SlurmUser=root", "SlurmdUser=root", "AuthType=auth/munge", "CredType=cred/munge",
        f"AuthInfo=socket={folder / 'munge.socket'}",
        f"SlurmctldPidFile={folder / 'slurmctld.pid'}", f"SlurmdPidFile={folder}/slurmd.%n.pid",
        f"StateSaveLocation={folder / 'ctld'}", f"SlurmdSpoolDir={folder}/slurmd.%n",
        "ProctrackType=proctrack/linuxproc", "TaskPlugin=task/none", "JobAcctGatherType=jobacct_gather/none",
        "AccountingStorageType=accounting_storage/none", "SwitchType=switch/none", "MpiDefault=none",
        "SelectType=select/cons_tres", "SelectTypeParameters=CR_CPU", "SchedulerType=sched/backfill",
        "SchedulerParameters=bf_interval=1,sched_interval=1,sched_min_interval=0,batch_sched_delay=0",
        "ReturnToService=2",
        "SlurmdParameters=config_overrides", "KillWait=3", "MinJobAge=3600", "InactiveLimit=0",
        "MessageTimeout=30", "GresTypes=gpu",
    ]  # fmt: skip
    for name in cluster.nodes:
        lines.append(
            f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={free_port()} "
            f"CPUs={CPUS} Gres=gpu:{GPUS} State=UNKNOWN"
        )
    lines.append(f"PartitionName=debug Nodes={','.join(cluster.nodes)} Default=YES DefaultTime=5 State=UP")
    cluster.conf.write_text("\n".join(lines) + "\n")
    for index in range(GPUS):
        (folder / f"gpu{index}").touch()
    (folder / "gres.conf").write_text(f"Name=gpu File={folder}/gpu[0-{GPUS - 1}]\n")


@contextmanager
def _daemon(cluster: SlurmCluster, program: str, *arguments: object) -> Iterator[None]:
    """Run a daemon that also ends when this process is killed."""
    name = f"{program}.{arguments[-1]}" if program == "slurmd" else program
    with (cluster.folder / f"{name}.out").open("w") as out:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "SIGTERM", program, *map(str, arguments)],
            env=os.environ | {"PATH": _PATH, "SLURM_CONF": str(cluster.conf)},
            stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _idle_nodes(cluster: SlurmCluster) -> int:
    states = cluster.client("sinfo", "-h", "-N", "-o", "%T").stdout.split()
    return states.count("idle")


def _end_jobs(cluster: SlurmCluster) -> None:
    """Cancel what still runs, and wait until its processes are gone."""
    cluster.client("scancel", "--user=root")
    _wait_until(cluster, lambda: not cluster.client("squeue", "-h").stdout.strip(), "the end of all jobs")


def _wait_until(cluster: SlurmCluster, condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _START_S
    while not condition():
        if time.monotonic() > deadline:
            said = [f"{path.name}: {path.read_text()[-500:]}" for path in sorted(cluster.folder.glob("*.out"))]
            msg = f"{what} did not come within {_START_S} s.\n" + "\n".join(said)
            raise TimeoutError(msg)
        time.sleep(_POLL_S)
