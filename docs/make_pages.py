"""Write the pages that are made from the code: ``python docs/make_pages.py``."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

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


def pages() -> dict[str, str]:
    """Text of each page by its file name."""
    return {"execution_config.md": execution_page(), "from_ptychopinn.md": ptychopinn_page()}


if __name__ == "__main__":
    for name, text in pages().items():
        Path(__file__).with_name(name).write_text(text, encoding="ascii")
