"""PtychoPINN's names: every one is known, and does what the page says."""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path

import pytest

from ptycho_dist.commands.parsing import parse, spellings
from ptycho_dist.commands.registry import commands
from ptycho_dist.config.precedence import canonicalise
from ptycho_dist.config.ptychopinn import ABSENT, CHANGED, MOOT, ONLY, PTYCHOPINN, SAME
from ptycho_dist.config.sections import ALL_SECTIONS, TRAINING_SECTIONS, field_names, homes
from ptycho_dist.errors import ConfigError

COMMAND = {command.name: command for command in commands().values()}
ONLY_WORDS = {"config", "quiet", "debug"}
CHECKOUT = Path(os.environ.get("PTYCHOPINN_DIR", "nowhere"))


def test_no_name_is_listed_twice() -> None:
    names = [
        *SAME.split(),
        *(row[0] for row in CHANGED),
        *MOOT,
        *ONLY,
        *(name for names, _ in ABSENT for name in names.split()),
    ]
    assert sorted(names) == sorted(PTYCHOPINN)


def test_every_counterpart_is_a_field_or_flag() -> None:
    for entry in PTYCHOPINN.values():
        if entry.ours and entry.ours not in ONLY_WORDS:
            assert homes(entry.ours, ALL_SECTIONS), entry.name


def test_names_without_a_counterpart_are_no_fields_of_ours() -> None:
    assert [name for name, entry in PTYCHOPINN.items() if not entry.ours and homes(name, ALL_SECTIONS)] == []


def test_notes_name_only_settings_that_there_are() -> None:
    fields = {name for config in ALL_SECTIONS.values() for name in field_names(config)}
    words = {word for entry in PTYCHOPINN.values() for word in re.findall(r"\b[a-z]+(?:_[a-z0-9]+)+\b", entry.note)}
    known = fields | {"ptychopinn_cnn", "ddp_spawn", "probe_mask"}
    assert words - known == set()


@pytest.mark.parametrize("name", sorted(name for name, entry in PTYCHOPINN.items() if entry.ours))
def test_flag_is_accepted_by_a_command_and_means_its_counterpart(name: str) -> None:
    ours = PTYCHOPINN[name].ours
    meant = {spellings(command).get(name, "").rpartition(".")[2] for command in commands().values()}
    assert meant & ({ours, "scan"} if ours.endswith("_data_file") else {ours})


def test_flags_of_a_training_of_theirs_are_understood() -> None:
    line = (
        "--train_data_file s.npz --output_dir o --max_epochs 7 --n_images 512 --gridsize 2 --batch_size 4 --device cpu "
        "--torch-loss-mode mae --disable_mlflow --no-deterministic --num-workers 2 --learning-rate 1e-3 --logger csv "
        "--disable-checkpointing --checkpoint-save-top-k 3 --checkpoint-monitor train_loss --checkpoint-mode min "
        "--early-stop-patience 9 --scheduler Exponential --accumulate-grad-batches 2 --quiet --architecture cnn "
        "--model_type pinn --neighbor_count 6 --backend pytorch --do_stitching --positions_provided True"
    )
    typed = parse(COMMAND["train"], line.split())
    assert typed.overrides == {
        "training.max_epochs": 7, "training.n_groups": 512, "data.gridsize": 2, "training.batch_size": 4,
        "execution.accelerator": "cpu", "training.likelihood": "amplitude", "execution.deterministic": False,
        "execution.num_workers": 2, "execution.learning_rate": 1e-3, "execution.logger_backend": "csv",
        "execution.enable_checkpointing": False, "execution.checkpoint_save_top_k": 3,
        "execution.checkpoint_monitor_metric": "train_loss", "execution.checkpoint_mode": "min",
        "execution.early_stop_patience": 9, "execution.scheduler": "Exponential", "execution.accum_steps": 2,
        "model.architecture": "ptychopinn_cnn", "training.mode": "unsupervised", "training.neighbor_count": 6,
    }  # fmt: skip
    assert typed.quiet


def test_flags_of_a_prediction_of_theirs_are_understood() -> None:
    line = "--model_path b --test_data s.npz --output_dir o --torch-accelerator cpu --torch-inference-batch-size 8"
    typed = parse(COMMAND["infer"], line.split())
    assert typed.overrides == {"execution.accelerator": "cpu", "execution.inference_batch_size": 8}
    assert typed.paths["scan"] == Path("s.npz")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--fno_modes 12", "name of PtychoPINN without a counterpart here: A network of another kind"),
        ("--backend tensorflow", "expected 'pytorch'"),
        ("--log-patch-stats", "maps of coverage"),
    ],
)
def test_flag_without_a_counterpart_is_refused_with_what_to_do(flags: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse(COMMAND["train"], ["s.npz", *flags.split()])


def test_fields_of_a_config_file_of_theirs_are_understood() -> None:
    given = {"nepochs": 5, "loss_function": "Poisson", "mode": "Supervised", "object_big": True,
             "model.architecture": "cnn", "disable_checkpointing": True, "n_devices": 2}  # fmt: skip
    assert canonicalise(given, TRAINING_SECTIONS, "config_file").values == {
        "training.max_epochs": 5, "training.likelihood": "poisson", "training.mode": "supervised",
        "model.architecture": "ptychopinn_cnn", "execution.enable_checkpointing": False, "execution.devices": 2,
    }  # fmt: skip
    with pytest.raises(ConfigError, match="overrides: 'probe_scale' is a name of PtychoPINN"):
        canonicalise({"probe_scale": 4.0}, TRAINING_SECTIONS, "overrides")
    with pytest.raises(ConfigError, match="backend = 'tensorflow'; expected 'pytorch'"):
        canonicalise({"backend": "tensorflow"}, TRAINING_SECTIONS, "overrides")


@pytest.mark.skipif(not CHECKOUT.is_dir(), reason="PTYCHOPINN_DIR names no checkout of PtychoPINN")
def test_every_field_of_theirs_is_in_the_table() -> None:
    found = set()
    for path in ("ptycho/config/config.py", "ptycho_torch/config_params.py"):
        for part in ast.walk(ast.parse((CHECKOUT / path).read_text(encoding="utf-8"))):
            if isinstance(part, ast.ClassDef) and part.name.endswith("Config"):
                found |= {
                    line.target.id
                    for line in part.body
                    if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
                }
    for path in ("ptycho_torch/train.py", "ptycho_torch/inference.py", "scripts/training/train.py",
                 "scripts/inference/inference.py"):  # fmt: skip
        text = (CHECKOUT / path).read_text(encoding="utf-8")
        found |= {name.replace("-", "_") for name in re.findall(r"add_argument\(\s*['\"]--([\w-]+)['\"]", text)}
    assert found - set(PTYCHOPINN) == set()
