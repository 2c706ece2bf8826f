"""Print what makes a shell complete commands and flags."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

from ptycho_dist.commands.parser import default_text, shown_flags
from ptycho_dist.commands.parsing import SWITCHES, bool_settings
from ptycho_dist.commands.registry import Command, Typed, commands, register_command
from ptycho_dist.commands.startup import required_path
from ptycho_dist.errors import ConfigError

_PROGRAM = "ptycho-dist"
_BOOL = (default_text(True), default_text(False))

COMMAND = Command(
    name="completion",
    summary="print what makes bash, zsh or fish complete commands and flags",
    description="Print a script for bash, zsh or fish, with which Tab completes commands, flags, true or false, files.",
    example="source <(ptycho-dist completion bash)\n"
    "  ptycho-dist completion fish > ~/.config/fish/completions/ptycho-dist.fish",
    order=99,
    operand="shell",
    operand_help="bash, zsh or fish.",
    stages=(),
    main_flags=("help",),
)


@register_command(COMMAND)
def completion(typed: Typed) -> int:
    """Print the script of a shell."""
    shell = str(required_path(typed, "shell"))
    if shell not in SHELLS:
        msg = f"completion got {shell!r}; expected {', '.join(SHELLS)}. Name your shell."
        raise ConfigError(msg)
    sys.stdout.write(SHELLS[shell]())
    return 0


def flags_of(command: Command) -> Mapping[str, tuple[str, ...]]:
    """Give each flag of a command the words that may follow it; none where these are not known, or none follow."""
    shown, bools = shown_flags(command), bool_settings(command)
    used = {dotted: flag for dotted, flag in shown.items() if command.uses(*dotted.split(".", 1))}
    settings = {flag: _BOOL if dotted in bools else () for dotted, flag in used.items()}
    general: dict[str, tuple[str, ...]] = dict.fromkeys((*command.paths, "config", *SWITCHES), ())
    return general | ({"overwrite": _BOOL} if command.replaces else {}) | settings


def _bash() -> str:
    cases = "".join(
        f'        {name}) flags="{_flags(command)}" bools="{_bools(command)}" ;;\n'
        for name, command in commands().items()
    )
    return _BASH.format(program=_PROGRAM, names=" ".join(commands()), cases=cases)


def _zsh() -> str:
    names = " ".join(f"'{name}:{_quoted(command.summary)}'" for name, command in commands().items())
    cases = "".join(
        f"    {name}) flags=({_flags(command)}) bools=({_bools(command)}) ;;\n" for name, command in commands().items()
    )
    return _ZSH.format(program=_PROGRAM, names=names, cases=cases)


def _fish() -> str:
    lines = [f"complete -c {_PROGRAM} -n __fish_use_subcommand -f"]
    for name, command in commands().items():
        summary = _quoted(command.summary)
        lines.append(f"complete -c {_PROGRAM} -n __fish_use_subcommand -f -a {name} -d '{summary}'")
        seen = f"-n '__fish_seen_subcommand_from {name}'"
        for flag, words in flags_of(command).items():
            follows = f" -x -a '{' '.join(words)}'" if words else "" if flag in SWITCHES else " -r"
            lines.append(f"complete -c {_PROGRAM} {seen} -l {flag}{follows}")
    return "\n".join(lines) + "\n"


def _flags(command: Command) -> str:
    return " ".join(f"--{flag}" for flag in flags_of(command))


def _bools(command: Command) -> str:
    return " ".join(f"--{flag}" for flag, words in flags_of(command).items() if words)


def _quoted(text: str) -> str:
    return text.replace("'", "").replace(":", ",")


SHELLS: dict[str, Callable[[], str]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}

_BASH = """\
_ptycho_dist() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}" flags="" bools=""
    COMPREPLY=()
    if [ "$COMP_CWORD" = 1 ]; then
        mapfile -t COMPREPLY < <(compgen -W "{names}" -- "$current")
        return
    fi
    case "${{COMP_WORDS[1]}}" in
{cases}    esac
    if [[ " $bools " == *" $before "* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "true false" -- "$current")
    elif [[ "$current" == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$flags" -- "$current")
    else
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
    fi
}}
complete -o filenames -F _ptycho_dist {program}
"""

_ZSH = """\
#compdef {program}
local -a names flags bools
if (( CURRENT == 2 )); then
    names=({names})
    _describe command names
    return
fi
case $words[2] in
{cases}esac
if (( $bools[(Ie)$words[CURRENT-1]] )); then
    compadd -- true false
elif [[ $words[CURRENT] == -* ]]; then
    compadd -- $flags
else
    _files
fi
"""
