"""Write the pages that are made from the code: ``python docs/make_pages.py``."""

from __future__ import annotations

from argparse import SUPPRESS, Action
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

import ptycho_dist
from ptycho_dist.commands.parser import build_parser
from ptycho_dist.commands.registry import Command, commands
from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.config.fields import field_docs, field_types
from ptycho_dist.config.ptychopinn import PTYCHOPINN, Entry

ACTS_ON = {
    "accelerator": "Trainer accelerator, device of the tensors",
    "devices": "ranks per node: Trainer devices, process group, shards",
    "strategy": "Trainer strategy",
    "cuda_graphs": "forward and backward pass of a training step",
    "deterministic": "Trainer deterministic (torch deterministic algorithms)",
    "precision": "Trainer precision; autocast in prediction",
    "gradient_clip_val": "Trainer gradient_clip_val",
    "gradient_clip_algorithm": "Trainer gradient_clip_algorithm",
    "accum_steps": "Trainer accumulate_grad_batches",
    "num_workers": "DataLoader num_workers",
    "pin_memory": "DataLoader pin_memory",
    "persistent_workers": "DataLoader persistent_workers",
    "prefetch_factor": "DataLoader prefetch_factor",
    "learning_rate": "optimiser, network parameter group",
    "scheduler": "learning-rate scheduler",
    "enable_progress_bar": "bar or lines of rank 0",
    "enable_checkpointing": "Trainer enable_checkpointing",
    "checkpoint_interval_s": "checkpoints to resume from (`step-*.ckpt`)",
    "report": "report.html beside the results",
    "resume": "unfinished jobs (`unfinished.json`)",
    "checkpoint_save_top_k": "ModelCheckpoint save_top_k",
    "checkpoint_monitor_metric": "ModelCheckpoint and EarlyStopping monitor",
    "checkpoint_mode": "ModelCheckpoint and EarlyStopping mode",
    "early_stop_patience": "EarlyStopping patience",
    "logger_backend": "Trainer logger",
    "recon_log_every_n_epochs": "previews of a training",
    "recon_log_num_patches": "previews: patches shown",
    "recon_log_fixed_indices": "previews: patches shown",
    "recon_log_stitch": "previews: stitched object",
    "recon_log_max_stitch_samples": "previews: stitched object",
    "inference_batch_size": "batches of the sharded prediction",
    "middle_trim": "stitching: border cut from each patch",
    "cpu_loops": "steps of a refinement, and of the search for a probe",
    "timeout_s": "process group: longest wait of a collective; `infer --follow` and `--zmq`: longest wait for the scan",
}
"""Where each field acts."""

_EXECUTION = """\
# Execution config

`PyTorchExecutionConfig` says how a run is executed. This page is made from the code
(`python docs/make_pages.py`); a test holds both equal.

## Fields
"""

_PRECEDENCE = """\

## Precedence

The highest level that gives a setting decides; `provenance` names it first, then those it beat.

| level | given by | beats |
|---|---|---|
| `override` | `overrides=` of a factory, or a flag typed on the command line | all below |
| `execution_config` | `execution_config=` of a factory; every field of it counts as given | all below |
| `config_file` | `config_file=` of a factory, or `--config run.yaml` | all below |
| `bundle` | settings of a trained network (inference, `init_from`); contradicting them is an error | all below |
| `scan` | the scan file (`N`, `nphotons`, `n_modes`) | defaults |
| `default` | the dataclass | nothing |

Which value is in force, for one setting given at several levels:

| override | execution_config | config_file | in force | provenance |
|---|---|---|---|---|
| A | B | C | A | `override > execution_config > config_file` |
| A | B | - | A | `override > execution_config` |
| A | - | C | A | `override > config_file` |
| A | - | - | A | `override` |
| - | B | C | B | `execution_config > config_file` |
| - | B | - | B | `execution_config` |
| - | - | C | C | `config_file` |
| - | - | - | the default | `default` |

Within one level, two names of one setting (`lr` and `learning_rate`) must agree. `auto` is settled once,
in the factory, and the payload holds the result. What is not available is an error, never replaced.
"""

_PTYCHOPINN = """\
# Coming from PtychoPINN

Scan files of PtychoPINN open as they are (`ptycho-dist inspect FILE` says how they are read), and its flags and
config fields are understood on the command line, in files for `--config`, and in `overrides` of the factories.
`ptycho-dist train scan.npz` takes the place of `ptycho_torch/train.py` and `scripts/training/train.py`,
`ptycho-dist infer` that of their inference scripts, `ptycho-dist reconstruct` that of both and of stitching.

This page is made from the code (`python docs/make_pages.py`); tests hold it equal to the settings that there are.

## Habits that change

- A bundle is a folder of weights and settings that executes nothing when it is loaded; there is no `wts.h5.zip`.
- The number of ranks never changes a result. `batch_size` counts groups of a step over *all* ranks.
- Without `gridsize`, groups are compact and cover every pattern once (`group_size`); with it, they are those of
  PtychoPINN: a pattern and its neighbours. All groups are used unless `n_groups` is given (there: 512).
- The probe is trained along with the network (`probe_trainable`); there it stays as supplied.
- The default network is not the CNN of PtychoPINN; `--architecture cnn` gives its shape (see [networks](networks.md)).

## Every name

| PtychoPINN | here | |
|---|---|---|
"""

_COMMAND_LINE = """\
# Command line

`ptycho-dist COMMAND --help` shows the flags that most runs need, `--help all` every one, `--help TOPIC` those of a
section. Flags may be written with hyphens or underscores; a typed flag wins over the file of `--config`. This page is
made from the code (`python docs/make_pages.py`); a test holds both equal.

| command | |
|---|---|
"""

_API = """\
# API

## Public names

Import them from `ptycho_dist` itself: `import ptycho_dist as ptd`. The [Python interface](python_api.md) shows them at
work.

```{{eval-rst}}
.. autosummary::
   :toctree: _api
   :nosignatures:
   :template: autosummary/name.rst

{public}
```

## Modules

One page each, for those who extend the program. What is not here (launchers, files of a run, the command line) is
internal.

```{{eval-rst}}
.. autosummary::
   :toctree: _api
   :recursive:

   ptycho_dist.api
   ptycho_dist.config
   ptycho_dist.data
   ptycho_dist.convert
   ptycho_dist.simulate
   ptycho_dist.factory
   ptycho_dist.physics
   ptycho_dist.nn
   ptycho_dist.model
   ptycho_dist.training
   ptycho_dist.inference
   ptycho_dist.assembly
   ptycho_dist.refine
   ptycho_dist.evaluate
   ptycho_dist.report
   ptycho_dist.results
   ptycho_dist.bundle
   ptycho_dist.registry
   ptycho_dist.errors
```
"""


def execution_page() -> str:
    """Compose the page: every field, its default, meaning and place, and the precedence."""
    docs, types = field_docs(PyTorchExecutionConfig), field_types(PyTorchExecutionConfig)
    rows = ["| field | type | default | meaning | acts on |", "|---|---|---|---|---|"]
    for field in fields(PyTorchExecutionConfig):
        kind = _type_text(types[field.name])
        cells = (f"`{field.name}`", kind, f"`{field.default!r}`", docs[field.name], ACTS_ON[field.name])
        rows.append(f"| {' | '.join(cells)} |")
    return f"{_EXECUTION}\n" + "\n".join(rows) + "\n" + _PRECEDENCE


def _type_text(kind: Any) -> str:
    text = kind.__name__ if isinstance(kind, type) else str(kind)
    return text.replace("|", "or")


def ptychopinn_page() -> str:
    """Compose the page that maps every name."""
    rows = [_row(entry) for _, entry in sorted(PTYCHOPINN.items(), key=lambda item: item[0].lower())]
    return _PTYCHOPINN + "\n".join(rows) + "\n"


def _row(entry: Entry) -> str:
    values = "; ".join(f"`{theirs}` is `{ours}`" for theirs, ours in entry.values.items())
    switch = f"the flag alone means `{entry.switch}`" if entry.switch else ""
    ours = f"`{entry.ours}`" if entry.ours else ("always so" if entry.moot else "none")
    said = ". ".join(part for part in (values, switch, entry.note.rstrip(".")) if part)
    return f"| `{entry.name}` | {ours} | {said} |"


def command_line_page() -> str:
    """Compose the page: each command with the flags that most runs need, and all of them folded."""
    known = commands().values()
    rows = "".join(f"| [`{one.name}`](#ptycho-dist-{one.name}) | {one.summary} |\n" for one in known)
    return _COMMAND_LINE + rows + "".join(_section(command) for command in known)


def api_page() -> str:
    """Compose the page that leads to one page for each public name, and for each module."""
    return _API.format(public="\n".join(f"   ~ptycho_dist.{name}" for name in ptycho_dist.__all__))


def _section(command: Command) -> str:
    groups = {
        str(group.title): [one for one in group._group_actions if one.option_strings and one.help != SUPPRESS]
        for group in build_parser(command)._action_groups
    }
    by_name = {_name(action): action for actions in groups.values() for action in actions}
    folded = "".join(f"\n**{_capital(title)}**\n\n{_table(actions)}" for title, actions in groups.items() if actions)
    return (
        f"\n## ptycho-dist {command.name}\n\n{' '.join(command.description.split())}\n\n"
        f"```\n{_usage(command)}\n```\n\nFor example\n\n```\n{_example(command)}\n```\n\n"
        f"`{command.operand.upper()}`: {command.operand_help}\n\n"
        f"{_table(by_name[name] for name in command.main_flags)}\n"
        f":::{{dropdown}} All {len(by_name)} flags\n{folded}:::\n"
    )


def _usage(command: Command) -> str:
    return " ".join(build_parser(command).format_usage().removeprefix("usage: ").split())


def _example(command: Command) -> str:
    return "\n".join(line.strip() for line in command.example.splitlines())


def _table(actions: Iterable[Action]) -> str:
    rows = (f"| `--{_name(one)}` | {_takes(one)} | {_told(one)} |\n" for one in actions)
    return "| flag | takes | |\n|---|---|---|\n" + "".join(rows)


def _name(action: Action) -> str:
    return action.option_strings[0].lstrip("-")


def _takes(action: Action) -> str:
    return "" if action.nargs == 0 else f"`{action.metavar!s}`".replace("|", " or ")


def _told(action: Action) -> str:
    return str(action.help).replace("%%", "%").replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def pages() -> dict[str, str]:
    """Text of each page by its file name."""
    return {
        "execution_config.md": execution_page(),
        "from_ptychopinn.md": ptychopinn_page(),
        "cli.md": command_line_page(),
        "api.md": api_page(),
    }


if __name__ == "__main__":
    for name, text in pages().items():
        Path(__file__).with_name(name).write_text(text, encoding="ascii")
