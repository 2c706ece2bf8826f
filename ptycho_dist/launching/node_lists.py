"""SLURM's short forms of lists: hosts, and tasks per node."""

from __future__ import annotations

import re

from ptycho_dist.errors import LaunchError


def first_host(node_list: str) -> str:
    """First host of a node list: ``n[03-07,9],m1`` gives ``n03``, and ``r[1-2]n[1-2]`` gives ``r1n1``."""
    match = re.match(r"(?:[^,\[]|\[[^\]]*\])*", node_list)
    return re.sub(r"\[(\w+)[^\]]*\]", r"\1", match[0]) if match else node_list


def expand_tasks_per_node(text: str, name: str = "SLURM_TASKS_PER_NODE") -> list[int]:
    """Expand tasks per node: ``2(x3),1`` gives ``[2, 2, 2, 1]``.

    Parameters
    ----------
    text
        The value.
    name
        The variable that it comes from, for the message.

    Raises
    ------
    LaunchError
        If the text has another form.
    """
    tasks: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part.strip())
        if match is None:
            msg = f"{name} = {text!r}; expected a form such as 2 or 2(x3),1. Fix the launch command, or unset {name}."
            raise LaunchError(msg)
        tasks += [int(match[1])] * int(match[2] or 1)
    return tasks
