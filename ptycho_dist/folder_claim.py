"""One owner of an output folder at a time: a claim that one process of a job holds while the job runs.

The claim is a file that appears whole, by a hard link to a name that is taken or free (atomic on NFS and Lustre). Its
owner touches it every few seconds. That of an owner who is gone is taken over.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from ptycho_dist.errors import FolderInUseError
from ptycho_dist.processes import place, start_of

logger = logging.getLogger(__name__)

NAME = ".owner.json"
BEAT_S = 5.0
"""Seconds between two signs of life of an owner."""
LIMIT_S = 60.0
"""Seconds without a sign of life after which an owner on another host is taken for dead."""
_LOOK_EVERY_S = 0.5
LOST = 1
"""Exit code of a process that finds its folder taken over."""
_JOB_VARIABLES = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "FLUX_JOB_ID")
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
"""What file systems without hard links answer."""


@dataclass(frozen=True, kw_only=True)
class Owner:
    """Who holds a folder.

    Parameters
    ----------
    token
        Of this claim alone.
    command, since
        What runs, and since when (ISO 8601, UTC).
    host, place
        Name of the host; boot and process namespace, within which a pid means one process.
    pid, started
        Process, and when it started in ticks since boot, for pids are used again.
    job, restarts
        Job of a batch system, empty without one; how often SLURM has queued it again.
    """

    token: str = ""
    command: str = ""
    since: str = ""
    host: str = ""
    place: str = ""
    pid: int = 0
    started: int = 0
    job: str = ""
    restarts: int = 0

    def __str__(self) -> str:
        job = f", job {self.job}" if self.job else ""
        return f"'{self.command}' on {self.host or 'an unknown host'} (pid {self.pid}{job}, since {self.since})"


def this_process(command: str, env: Mapping[str, str]) -> Owner:
    """Describe this process as an owner."""
    restarts = env.get("SLURM_RESTART_COUNT", "")
    return Owner(
        token=secrets.token_hex(8),
        command=command,
        since=datetime.now(UTC).isoformat(timespec="seconds"),
        host=socket.gethostname(),
        place=place(),
        pid=os.getpid(),
        started=start_of(os.getpid()) or 0,
        job=next((env[name] for name in _JOB_VARIABLES if env.get(name)), ""),
        restarts=int(restarts) if restarts.isdigit() else 0,
    )


def owner_of(folder: Path) -> Owner | None:
    """Who holds a folder, alive or not; None where nobody does."""
    chain = _chain(folder)
    return chain[-1][1] if chain else None


class FolderClaim:
    """The claim of one job on its output folder; held by one process of the job.

    Parameters
    ----------
    folder
        Output folder; made if needed, and removed with the claim if it is empty then.
    owner
        This process.
    beat_s, limit_s
        Seconds between signs of life, and after which an owner on another host is dead without one.
    """

    def __init__(self, folder: Path, owner: Owner, *, beat_s: float = BEAT_S, limit_s: float = LIMIT_S) -> None:
        self._folder, self._path, self._owner = folder.absolute(), folder.absolute() / NAME, owner
        self._beat_s, self._limit_s = beat_s, limit_s
        self._made: list[Path] = []
        self._ended = threading.Event()
        self._is_held = False

    def take(self) -> None:
        """Claim the folder, at once or after an owner has turned out to be dead.

        Raises
        ------
        FolderInUseError
            If a living job holds it.
        OSError
            If the folder cannot be written.
        """
        self._made = [one for one in (self._folder, *self._folder.parents) if not one.exists()]
        self._folder.mkdir(parents=True, exist_ok=True)
        own = self._folder / f".owner-{self._owner.token}.tmp"
        try:
            own.write_text(json.dumps(asdict(self._owner)), encoding="utf-8")
            while not self._try(own):
                time.sleep(_LOOK_EVERY_S / 10)
        except BaseException:
            own.unlink(missing_ok=True)
            self._remove_made()
            raise
        own.unlink(missing_ok=True)
        self._is_held = True
        threading.Thread(target=self._beat, daemon=True).start()

    def release(self) -> None:
        """Give the folder back; nothing where it is not held."""
        if not self._is_held:
            return
        self._ended.set()
        self._is_held = False
        owner = _read(self._path)
        if owner is not None and owner.token == self._owner.token:
            self._path.unlink(missing_ok=True)
        self._remove_made()

    def _try(self, own: Path) -> bool:
        """Claim the folder; False if the claims there have changed meanwhile, so that it is worth another look.

        The name of a successor is that of the claim that it takes over. So of those that find an owner dead one
        alone gets that name; it alone may replace the claim, as long as that is still the one it has read.
        """
        if _link(own, self._path):
            return True
        chain = _chain(self._folder)
        if not chain:
            return False
        path, last = chain[-1]
        if self._lives(last, path, own):
            msg = (
                f"{self._folder} is in use by {last}; expected a folder of one job. Wait until that one has ended, or "
                "choose another --output_dir."
            )
            raise FolderInUseError(msg)
        successor = _successor(self._folder, last)
        if not _link(own, successor):
            return False
        first = _read(self._path)
        if first is None or first.token != chain[0][1].token:
            successor.unlink(missing_ok=True)
            return False
        own.replace(self._path)
        for one in (*(path for path, _ in chain[1:]), successor):
            one.unlink(missing_ok=True)
        logger.info("taking %s over from %s, which is gone", self._folder, last)
        return True

    def _lives(self, owner: Owner, path: Path, own: Path) -> bool:
        """Tell whether an owner lives: by its process on this host, else by its signs of life."""
        if owner.place and owner.place == self._owner.place:
            return owner.started != 0 and start_of(owner.pid) == owner.started
        if owner.job and owner.job == self._owner.job and owner.restarts < self._owner.restarts:
            return False
        return self._beats(owner, path, own)

    def _beats(self, owner: Owner, path: Path, own: Path) -> bool:
        """Watch for a sign of life; times are those of the file system alone, whatever the clocks of the hosts say."""
        seen = _touched(path)
        os.utime(own)
        left_s = self._limit_s - (_touched(own) - seen)
        if seen and left_s > 0:
            logger.info("%s may be in use by %s; waiting up to %.0f s for a sign of life", self._folder, owner, left_s)
        deadline = time.monotonic() + left_s
        while seen and time.monotonic() < deadline:
            time.sleep(min(_LOOK_EVERY_S, self._beat_s))
            if _touched(path) != seen:
                return True
        return False

    def _beat(self) -> None:
        """Give signs of life until the claim is released."""
        while not self._ended.wait(self._beat_s):
            with suppress(OSError):
                self._require_own()
                os.utime(self._path)

    def _require_own(self) -> None:
        """End this process where another job has taken the folder over: what it would write is no longer wanted."""
        owner = _read(self._path)
        if owner is None or owner.token == self._owner.token or self._ended.is_set():
            return
        sys.stderr.write(
            f"ptycho-dist: FolderInUseError: {self._folder} was taken over by {owner} after this job had given no sign "
            f"of life for {self._limit_s:.0f} s; this job ends. The other one goes on.\n"
        )
        sys.stderr.flush()
        os._exit(LOST)

    def _remove_made(self) -> None:
        """Remove the folders that the claim has made, as far as nothing is in them."""
        with suppress(OSError):
            for one in self._made:
                one.rmdir()


@contextmanager
def claimed(folder: Path, command: str) -> Iterator[None]:
    """Hold a folder while the block runs; for a job of one process.

    Raises
    ------
    FolderInUseError
        If a living job holds it.
    """
    claim = FolderClaim(folder, this_process(command, os.environ))
    claim.take()
    try:
        yield
    finally:
        claim.release()


def _chain(folder: Path) -> list[tuple[Path, Owner]]:
    """Read the claim, and those that are about to take it over, one after the other."""
    found: list[tuple[Path, Owner]] = []
    path = folder / NAME
    while (owner := _read(path)) is not None:
        found.append((path, owner))
        path = _successor(folder, owner)
    return found


def _successor(folder: Path, owner: Owner) -> Path:
    return folder / f".owner-after-{owner.token}.json"


def _read(path: Path) -> Owner | None:
    """Read a claim; one that cannot be understood (yet) has an unknown owner, None is no claim."""
    try:
        return Owner(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        return Owner()


def _link(own: Path, name: Path) -> bool:
    """Give a file another name, unless that is taken; without hard links, make it anew."""
    try:
        os.link(own, name)
    except FileExistsError:
        return own.stat().st_nlink > 1 and own.samefile(name)  # an answer that NFS lost was sent again
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return _make(name, own.read_text(encoding="utf-8"))
    return True


def _make(name: Path, content: str) -> bool:
    try:
        with name.open("x", encoding="utf-8") as file:
            file.write(content)
    except FileExistsError:
        return False
    return True


def _touched(path: Path) -> float:
    """Time of the last sign of life in seconds; 0 without a file. Opening it makes NFS ask the server."""
    try:
        with path.open("rb") as file:
            return os.fstat(file.fileno()).st_mtime
    except FileNotFoundError:
        return 0.0
