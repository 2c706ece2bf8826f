"""Write the reference page of the execution config from the code itself."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Any

from ptycho_dist.config.coerce import field_types
from ptycho_dist.config.execution import PyTorchExecutionConfig

ACTS_ON = {
    "accelerator": "Trainer accelerator, device of the tensors",
    "devices": "ranks per node: Trainer devices, process group, shards",
    "strategy": "Trainer strategy",
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
    "enable_progress_bar": "Trainer enable_progress_bar, rank 0",
    "enable_checkpointing": "Trainer enable_checkpointing",
    "checkpoint_interval_s": "checkpoints to go on from (`step-*.ckpt`)",
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
    "timeout_s": "process group: longest wait of a collective",
}
"""Where each field acts."""

_INTRODUCTION = """\
# Execution config

`PyTorchExecutionConfig` says how a run is executed. This page is made from the code
(`python -m ptycho_dist.config.field_docs docs/execution_config.md`); a test holds both equal.

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
in the factory, and the payload holds the result. What cannot be had is an error, never replaced.
"""


def field_docs(config: type[Any]) -> dict[str, str]:
    """Read the docstring under each field of a config dataclass.

    Parameters
    ----------
    config
        A dataclass whose source is there; fields of its bases count.
    """
    docs: dict[str, str] = {}
    for part in reversed(config.__mro__[:-1]):
        docs |= _own_field_docs(part)
    return docs


def _own_field_docs(part: type[Any]) -> dict[str, str]:
    body = ast.parse(textwrap.dedent(inspect.getsource(part))).body[0]
    statements = body.body if isinstance(body, ast.ClassDef) else []
    docs = {}
    for statement, following in pairwise(statements):
        if not (isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)):
            continue
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            docs[statement.target.id] = inspect.cleandoc(str(following.value.value))
    return docs


def execution_page() -> str:
    """Compose the page: every field, its default, meaning and place, and the precedence."""
    docs, types = field_docs(PyTorchExecutionConfig), field_types(PyTorchExecutionConfig)
    rows = ["| field | type | default | meaning | acts on |", "|---|---|---|---|---|"]
    for field in fields(PyTorchExecutionConfig):
        kind = _type_text(types[field.name])
        cells = (f"`{field.name}`", kind, f"`{field.default!r}`", docs[field.name], ACTS_ON[field.name])
        rows.append(f"| {' | '.join(cells)} |")
    return f"{_INTRODUCTION}\n" + "\n".join(rows) + "\n" + _PRECEDENCE


def _type_text(kind: Any) -> str:
    text = kind.__name__ if isinstance(kind, type) else str(kind)
    return text.replace("|", "or")


def main(arguments: list[str]) -> None:
    """Write the page to the path given as the only argument."""
    (target,) = arguments
    Path(target).write_text(execution_page(), encoding="ascii")


if __name__ == "__main__":
    main(sys.argv[1:])
