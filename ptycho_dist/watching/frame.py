"""A job as one frame of a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from ptycho_dist.progress.snapshot import FAILED, FINISHED, RUNNING, STOPPED, Snapshot
from ptycho_dist.progress.words import amount, count, details, duration, time_left
from ptycho_dist.watching.job import SILENT, WAITING, Job, RankState
from ptycho_dist.watching.pictures import half_blocks
from ptycho_dist.watching.ranks import chosen, summary

_COLOURS = {RUNNING: "cyan", FINISHED: "green", FAILED: "red", STOPPED: "yellow", SILENT: "red", WAITING: "dim"}
_BLOCKS = "".join(chr(code) for code in range(0x2581, 0x2589))
_SPARK_COLUMNS, _WIDE = 40, 110
_COLUMNS = {
    "rank": True,
    "host": False,
    "stage": False,
    "done": False,
    "left": False,
    "patterns/s": True,
    "GiB": True,
    "": False,
}
"""Columns of the table, and whether they hold numbers."""
_LEAST_ROWS, _MOST_ROWS = 6, 24
_GIB = 2**30


def frame(job: Job, console: Console) -> Group:
    """Draw a job; its picture takes what is left of the height, on a terminal with colours."""
    words = Group(*_words(job, console.width))
    if console.color_system is None or not job.pictures:
        return Group(words, *_picture_name(job))
    taken = len(console.render_lines(words, pad=False))
    rows = max(_LEAST_ROWS, min(_MOST_ROWS, console.height - taken - 2))
    picture = half_blocks(job.pictures[0].path, console.width - 1, rows)
    return Group(words, *_picture_name(job), *([] if picture is None else [picture]))


def _words(job: Job, width: int) -> Iterator[RenderableType]:
    first = job.first
    yield Rule(Text(str(job.folder), overflow="ellipsis"), align="left", style="dim")
    title = "" if first is None else f"{first.place.command}, begun {first.started}: "
    yield Text(title).append(job.verdict, style=f"bold {_COLOURS[job.status]}")
    if first is None:
        return
    yield _stages(first)
    if job.status == RUNNING:
        yield from _present(first, width)
    yield from (sparkline(name, values) for name, values in first.history.items())
    yield _table(job.ranks, width)
    yield Text(summary(job.ranks), style="dim")
    for one in job.messages:
        colour = "yellow" if one.level == "WARNING" else "red"
        yield Text(f"{one.at.astimezone():%Y-%m-%dT%H:%M:%S} {one.level} rank {one.rank}: {one.text}", style=colour)


def _stages(first: Snapshot) -> Text:
    """Name all stages: those that were done with their duration, the present one in bold."""
    line = Text()
    for number, one in enumerate(first.stages, 1):
        line.append(" > " if line else "", style="dim")
        if one.seconds is not None:
            line.append(f"{one.name} {duration(one.seconds)}", style="green")
        else:
            line.append(one.name, style="bold" if number == first.number else "dim")
    return line


def _present(first: Snapshot, width: int) -> Iterator[RenderableType]:
    columns = max(10, min(60, width - 40))
    row = Table.grid(padding=(0, 1))
    bar = ProgressBar(total=first.total or None, completed=first.done, width=columns, pulse=False)
    row.add_row(bar, Text(amount(first) or first.note, no_wrap=True, overflow="ellipsis"))
    yield row
    yield Text(", ".join([*time_left(first), *details(first), f"{duration(first.job_s)} so far"]))


def sparkline(name: str, values: Sequence[float]) -> Text:
    """Draw numbers as blocks, on a logarithmic scale where all are positive, with the first and the last of them."""
    finite = [one for one in values if math.isfinite(one)]
    if not finite:
        return Text(f"{name}: no finite value", style="red")
    shown = [finite[index * len(finite) // _SPARK_COLUMNS] for index in range(_SPARK_COLUMNS - 1)]
    shown = [*shown, finite[-1]] if len(finite) > _SPARK_COLUMNS else finite
    scaled = [math.log(one) for one in shown] if min(shown) > 0 else shown
    low, span = min(scaled), max(scaled) - min(scaled)
    blocks = "".join(_BLOCKS[round((one - low) / span * (len(_BLOCKS) - 1)) if span else 0] for one in scaled)
    return Text(f"{name} ").append(blocks, style="cyan").append(f" {finite[0]:.4g} to {finite[-1]:.4g}")


def _table(ranks: Sequence[RankState], width: int) -> Table:
    """Draw a line for each rank that is worth one; on a narrow terminal without hosts and units."""
    table, is_wide = Table(box=None, padding=(0, 2, 0, 0), header_style="dim"), width >= _WIDE
    for name, is_number in _COLUMNS.items():
        if is_wide or name != "host":
            table.add_column(name, no_wrap=True, justify="right" if is_number else "left")
    for one in chosen(ranks):
        table.add_row(*_cells(one, is_wide=is_wide))
    return table


def _cells(one: RankState, *, is_wide: bool) -> Iterator[str | Text]:
    last = one.last
    yield str(last.place.rank)
    if is_wide:
        yield last.place.host
    yield last.stage
    yield _done(last) if is_wide else _done(last).partition(" ")[0]
    yield "" if last.stage_left_s is None else duration(last.stage_left_s)
    yield "" if last.patterns_per_s is None else f"{last.patterns_per_s:,.0f}"
    yield f"{last.private_bytes / _GIB:.1f}"
    yield Text(one.trouble, style="red") if one.trouble else Text(last.state, style=_COLOURS[last.state])


def _done(last: Snapshot) -> str:
    return amount(last) if last.total is None else f"{count(last.done)}/{count(last.total)} {last.unit}"


def _picture_name(job: Job) -> list[Text]:
    return [Text(f"picture: {job.pictures[0].path}", style="dim", overflow="ellipsis")] if job.pictures else []
