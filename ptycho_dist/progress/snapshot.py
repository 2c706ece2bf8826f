"""How far a rank was at one moment; also as plain values for a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

SCHEMA = 1
RUNNING, FINISHED, STOPPED, FAILED = STATES = ("running", "finished", "stopped", "failed")


@dataclass(frozen=True)
class Place:
    """Which process of which job.

    Parameters
    ----------
    command
        Name of the command.
    rank, world
        Number of this rank, and of all.
    host, pid
        Where it runs.
    """

    command: str = ""
    rank: int = 0
    world: int = 1
    host: str = ""
    pid: int = 0


@dataclass(frozen=True)
class PlannedStage:
    """A stage of a job.

    Parameters
    ----------
    name
        What it is called.
    seconds
        How long it took; None where it has not ended, or was not needed.
    """

    name: str
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """How far a rank is.

    Parameters
    ----------
    place
        Which rank of which job.
    state
        running, finished, stopped (can be resumed) or failed.
    reason
        Why it stopped or failed; empty else.
    stage, number
        Name of the stage, and which of the stages it is, from 1; 0 before the first.
    stages
        All that are known of.
    done, total, unit
        How much of what is done; ``total`` is None where that is not known.
    is_shared
        Whether all ranks together do this, so that each of them counts the same; else each counts its own part.
    patterns_per_s
        Rate over the last seconds; None where nothing is known.
    note
        Words on where the stage is, such as ``epoch 3 of 12``.
    values
        Latest numbers of the stage by name, such as ``loss``.
    history
        Numbers of the whole job so far by name, thinned out evenly to at most some hundred.
    stage_s, job_s
        Seconds that the stage and the job have taken.
    stage_left_s, job_left_s
        Seconds that they probably still take; None where nothing is known.
    resident_bytes, private_bytes
        Memory of the process.
    started, reported, updated
        ISO dates and times: of the start, of the last sign of work, and of this snapshot.
    ends_stage
        Whether the stage has just ended.
    """

    place: Place
    state: str = RUNNING
    reason: str = ""
    stage: str = ""
    number: int = 0
    stages: tuple[PlannedStage, ...] = ()
    done: float = 0
    total: float | None = None
    unit: str = ""
    is_shared: bool = True
    patterns_per_s: float | None = None
    note: str = ""
    values: Mapping[str, float] = field(default_factory=dict)
    history: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    stage_s: float = 0.0
    job_s: float = 0.0
    stage_left_s: float | None = None
    job_left_s: float | None = None
    resident_bytes: int = 0
    private_bytes: int = 0
    started: str = ""
    reported: str = ""
    updated: str = ""
    ends_stage: bool = False

    @property
    def fraction(self) -> float | None:
        """Part of the stage that is done; None where that is not known."""
        return None if not self.total else min(1.0, self.done / self.total)

    def to_dict(self) -> dict[str, Any]:
        """Give plain values for a file."""
        return {"schema": SCHEMA, **asdict(self)}

    @classmethod
    def of_dict(cls, values: Mapping[str, Any]) -> Snapshot:
        """Take what :meth:`to_dict` gave.

        Raises
        ------
        ValueError
            If it is of another version, or not such a thing.
        """
        if values.get("schema") != SCHEMA:
            msg = f"schema is {values.get('schema')!r}; expected {SCHEMA}"
            raise ValueError(msg)
        plain = {name: value for name, value in values.items() if name != "schema"}
        try:
            plain["place"] = Place(**plain["place"])
            plain["stages"] = tuple(PlannedStage(**one) for one in plain["stages"])
            plain["history"] = {name: tuple(some) for name, some in plain["history"].items()}
            return cls(**plain)
        except (KeyError, TypeError, AttributeError) as error:
            msg = f"no snapshot of a rank's progress ({error})"
            raise ValueError(msg) from error
