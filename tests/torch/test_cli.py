"""Tests of the command line."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import ptycho_dist.cli
from ptycho_dist import create_training_payload, save_bundle
from ptycho_dist.cli import main
from ptycho_dist.commands.parser import build_parser
from ptycho_dist.commands.parsing import parse, spellings
from ptycho_dist.commands.registry import Command, Typed, commands, register_command
from ptycho_dist.commands.startup import make_request, ranks_of
from ptycho_dist.config.execution import STAGES, USED_BY, PyTorchExecutionConfig
from ptycho_dist.config.schema import DataConfig
from ptycho_dist.config.sections import homes
from ptycho_dist.data.scan import ScanOptions
from ptycho_dist.errors import ConfigError
from tests.support.runs import simulate_tiny

BY_NAME = commands()
COMMANDS = tuple(BY_NAME.values())


@pytest.fixture(autouse=True)
def _plain_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("SLURM_", "OMPI_", "PMI_", "TORCHELASTIC_", "PTYCHO_DIST_LAUNCHER")):
            monkeypatch.delenv(name)


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "scan.npz",
        data=rng.poisson(9.0, (1, 20, 32, 32)).astype(np.float32),
        scan=rng.uniform(-20, 20, (1, 20, 2)).astype(np.float32),
        probe=np.ones((1, 1, 1, 2, 32, 32), np.complex64),
    )
    return tmp_path / "scan.npz"


def typed(line: str) -> Typed:
    name, *arguments = line.split()
    return parse(BY_NAME[name], arguments)


def ranks_started(line: str) -> int:
    return ranks_of(make_request(typed(line)))


@pytest.mark.parametrize(
    ("line", "overrides"),
    [
        ("train s --max_epochs 3", {"training.max_epochs": 3}),
        ("train s --max-epochs=3 --nepochs 3", {"training.max_epochs": 3}),
        ("train s --training.max_epochs 3 --training.epochs 3", {"training.max_epochs": 3}),
        ("train --num-workers 2 --learning-rate 1e-4 s", {"execution.num_workers": 2, "execution.learning_rate": 1e-4}),
        ("train s --logger tensorboard --accelerator cpu", {"execution.logger_backend": "tensorboard",
                                                            "execution.accelerator": "cpu"}),
        ("train s --gridsize 2 --batch_size 8 --N 64", {"data.gridsize": 2, "training.batch_size": 8, "data.N": 64}),
        ("train --enable_progress_bar s", {"execution.enable_progress_bar": True}),
        ("train --enable_progress_bar no s", {"execution.enable_progress_bar": False}),
        ("train s --probe-trainable=false", {"data.probe_trainable": False}),
        ("train s --deterministic warn", {"execution.deterministic": "warn"}),
        ("train s --deterministic", {"execution.deterministic": True}),
        ("train s --devices 2", {"execution.devices": 2}),
        ("train s --devices auto", {"execution.devices": "auto"}),
        ("train s --gradient_clip_val null", {"execution.gradient_clip_val": None}),
        ("train s --train_rows [0,0.5]", {"training.train_rows": (0.0, 0.5)}),
        ("train s", {}),
        ("infer s --patch_weighting uniform --intensity-kind counts", {"inference.patch_weighting": "uniform",
                                                                       "data.intensity_kind": "counts"}),
    ],
)  # fmt: skip
def test_parse_gives_only_what_was_typed(line: str, overrides: dict[str, Any]) -> None:
    assert typed(line).overrides == overrides


@pytest.mark.parametrize(
    "line",
    [
        "train a.npz --output_dir out",
        "train --train_data_file a.npz --output-dir out",
        "train --output_dir=out --train-data-file=a.npz a.npz",
        "reconstruct --train_data_file a.npz --test_data_file a.npz --output_dir out",
        "infer --test_data_file a.npz --model_path m --output_dir out",
    ],
)
def test_request_finds_paths_however_they_are_spelled(line: str) -> None:
    request = make_request(typed(line))
    assert (request.scan, request.output_dir) == (Path("a.npz"), Path("out"))


def test_request_takes_paths_from_the_config_file(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("training: {train_data_file: a.npz, output_dir: out}\nexecution: {devices: 2}\n")
    request = make_request(typed(f"train --config {file} --output_dir other"))
    assert (request.scan, request.output_dir) == (Path("a.npz"), Path("other"))
    assert request.overrides == {}
    assert ranks_started(f"train --config {file}") == 2
    assert ranks_started(f"train --config {file} --devices 3") == 3


def test_quiet_turns_the_progress_bar_off_unless_typed() -> None:
    assert make_request(typed("train s --quiet")).overrides == {"execution.enable_progress_bar": False}
    assert make_request(typed("train s --quiet --enable_progress_bar")).overrides == {
        "execution.enable_progress_bar": True
    }


def test_ranks_are_not_started_again_under_a_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ranks_started("train s --devices 2") == 2
    monkeypatch.setenv("PTYCHO_DIST_LAUNCHER", "spawn")
    assert ranks_started("train s --devices 2") == 1


def test_one_rank_is_started_when_nothing_is_asked() -> None:
    assert ranks_started("train s --accelerator cpu") == 1
    assert ranks_started("train s") == 1


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("train s --max_epoch 3", "unknown flag --max_epoch.*Did you mean --max_epochs"),
        (
            "train s --patch_weighting uniform",
            "--patch_weighting is a setting of infer, reconstruct, plan; .*Remove it",
        ),
        ("train s --epochs 3 --max_epochs 4", "--epochs 3 and --max_epochs 4 name one setting"),
        ("train s --devices", "--devices has no value"),
        ("train s --devices --quiet", "--devices has no value"),
        ("train s --quiet=1", "--quiet got a value"),
        ("train s --num_workers many", "--num_workers got many; expected INT"),
        ("train s --train_rows 0.5", r"--train_rows got .*; expected \[NUMBER,NUMBER\]"),
        ("train s t", "train got s and t; expected one scan"),
        ("train s --train_data_file t", "expected one scan"),
    ],
)
def test_parse_refuses_what_it_cannot_understand(line: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        typed(line)


@pytest.mark.parametrize(
    ("flag", "words"),
    [("--devices two", r"execution\.devices = 'two'"), ("--precision half", r"execution\.precision = 'half'")],
)
def test_wrong_execution_settings_are_refused_before_ranks_start(flag: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        ranks_started(f"train s {flag}")


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_help_explains_every_flag_once(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command.name, "--help", "all"]) == 0
    text = capsys.readouterr().out
    assert command.example in text
    for section in command.sections:
        for field in command.settings(section):
            assert text.count(f"  --{field.name} ") == 1
    assert text == build_parser(command).format_help()


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_field_has_a_plain_and_a_dotted_flag(command: Command) -> None:
    names = spellings(command)
    for section in command.sections:
        for field in command.settings(section):
            dotted = f"{section}.{field.name}"
            assert names[dotted] == dotted
            assert names[field.name] == f"{homes(field.name, command.sections)[0]}.{field.name}"


def test_a_command_is_a_file_of_its_name() -> None:
    assert {name: command.run.__module__ for name, command in BY_NAME.items()} == {
        name: f"ptycho_dist.commands.{name}" for name in BY_NAME
    }


def test_a_name_is_registered_once() -> None:
    with pytest.raises(ConfigError, match="command 'train' is registered twice"):
        register_command(BY_NAME["train"])(BY_NAME["train"].run)


def test_plain_flags_of_reconstruct_mean_the_training_where_the_refinement_has_them_too() -> None:
    names = spellings(BY_NAME["reconstruct"])
    assert names["batch_size"] == "training.batch_size"
    assert names["seed"] == "training.seed"
    assert names["n_modes"] == "data.n_modes"
    assert names["iterations"] == "refine.iterations"
    assert spellings(BY_NAME["refine"])["batch_size"] == "refine.batch_size"


def used_settings(name: str) -> set[str]:
    """Dotted names of the settings of data and execution that the help of a command shows."""
    command = BY_NAME[name]
    return {f"{section}.{one.name}" for section in ("data", "execution") if section in command.sections
            for one in command.settings(section)}  # fmt: skip


def test_every_setting_of_execution_and_data_is_used_by_a_stage_that_is_known() -> None:
    execution = {f"execution.{field.name}" for field in fields(PyTorchExecutionConfig)}
    data = {f"data.{field.name}" for field in fields(DataConfig)}
    readers = {f"data.{field.name}" for field in fields(ScanOptions)}
    assert set(USED_BY) == execution | (data - readers)
    assert all(stages and set(stages) <= set(STAGES) for stages in USED_BY.values())
    assert used_settings("reconstruct") == set(USED_BY) | readers


@pytest.mark.parametrize("name", ["train", "infer", "refine", "orient", "evaluate", "convert"])
def test_help_shows_the_settings_that_the_command_uses(name: str) -> None:
    sections = [section for section in ("data", "execution") if section in BY_NAME[name].sections]
    used = {key for key, stages in USED_BY.items() if name in stages and key.partition(".")[0] in sections}
    assert used_settings(name) == used | {f"data.{field.name}" for field in fields(ScanOptions)}
    text = build_parser(BY_NAME[name]).format_help()
    asked = [key for key in USED_BY if key.partition(".")[0] in sections]
    assert {key for key in asked if f"  --{key.partition('.')[2]} " in text} == used


@pytest.mark.parametrize("flag", ["--group_size 4", "--data.group_size 4"])
def test_settings_of_training_are_not_those_of_a_refinement(flag: str) -> None:
    assert "learning_rate" not in build_parser(BY_NAME["refine"]).format_help()
    with pytest.raises(ConfigError, match=r"is a setting of train, reconstruct, .*plan; 'ptycho-dist refine' does"):
        typed(f"refine s {flag}")


def stage_of(path: Path) -> str | None:
    """Stage to which a module belongs, by its folder."""
    return {"training": "train", "inference": "infer", "refine": "refine"}.get(path.parent.name)


def test_stages_use_the_execution_settings_that_their_code_reads() -> None:
    for path in Path(ptycho_dist.cli.__file__).parent.rglob("*.py"):
        read = re.findall(r"\bexecution(?:_config)?\.([a-z_]+)", path.read_text(encoding="ascii"))
        for name in read:
            stages, stage = USED_BY.get(f"execution.{name}", ()), stage_of(path)
            assert not stages or stage is None or stage in stages, f"{path} reads execution.{name}"


def test_a_setting_that_a_command_does_not_use_is_refused_unless_it_is_a_name_of_ptychopinn() -> None:
    with pytest.raises(
        ConfigError,
        match=r"--checkpoint_interval_s is a setting of train, reconstruct, refine.*; .*'ptycho-dist infer'",
    ):
        typed("infer s --checkpoint_interval_s 3")
    assert typed("infer s --num-workers 2").overrides == {"execution.num_workers": 2}


def test_a_config_file_is_shared_by_all_commands(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("learning_rate: 1e-3\nrecon_log_stitch: true\ntraining: {epochs: 3}\nrefine: {iterations: 2}\n")
    for name in ("train", "infer", "reconstruct", "refine", "evaluate", "plan", "doctor"):
        assert make_request(typed(f"{name} s --config {file}")).in_file["refine.iterations"] == 2


def test_overview_names_all_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(command.summary in text for command in COMMANDS)
    assert main([]) == 2


def test_printed_config_is_a_config_file_that_means_the_same(
    scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["train", str(scan), "--epochs", "7", "--train_rows", "[0,0.5]", "--lr", "2e-4", "--print_config"]
    assert main(line) == 0
    file = tmp_path / "run.yaml"
    file.write_text(capsys.readouterr().out)
    given = {"max_epochs": 7, "train_rows": (0.0, 0.5), "learning_rate": 2e-4}
    from_file = create_training_payload(scan, "out", config_file=file)
    assert from_file.fingerprint() == create_training_payload(scan, "out", given).fingerprint()
    assert from_file.provenance["learning_rate"] == "config_file"


def test_printed_config_joins_file_and_flags(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("seed: 4\nmax_epochs: 5\n")
    assert main(["train", "--config", str(file), "--seed", "6", "--print-config"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert (printed["training"]["seed"], printed["training"]["max_epochs"]) == (6, 5)


def test_inspect_describes_a_scan(scan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(scan)]) == 0
    text = capsys.readouterr().out
    for words in ("format tike_npz", "20 of 32 x 32", "2 mode(s)", "unknown", "fftshift", "ptycho-dist reconstruct"):
        assert words in text


def test_inspect_describes_a_bundle(scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    payload = create_training_payload(scan, tmp_path, {"accelerator": "cpu", "width": 24})
    save_bundle(tmp_path / "run" / "bundle", {"w": torch.ones(2)}, payload.to_dict())
    assert main(["inspect", str(tmp_path / "run")]) == 0
    text = capsys.readouterr().out
    assert "model bundle" in text
    assert "width = 24" in text
    assert "ptycho-dist infer SCAN --model_path" in text


def test_simulate_writes_a_scan_that_inspect_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("simulate: {n_patterns: 5, N: 32, seed: 1}\ntraining: {seed: 9}\n")
    output = tmp_path / "scan.h5"
    assert main(["simulate", str(output), "--config", str(file), "--n_patterns", "6", "--quiet"]) == 0
    assert capsys.readouterr().out == f"{output}\n"
    assert main(["inspect", str(output)]) == 0
    assert "6 of 32 x 32" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("reconstrct s", "unknown command 'reconstrct'"),
        ("inspect", "inspect got no file"),
        ("inspect /no/such/file", "/no/such/file is missing"),
        ("train", "train got no scan"),
        ("train s", "train got no output_dir; expected --output_dir"),
        ("train s --output_dir o --config /no/such.yaml", "cannot be read"),
        ("simulate", "no output_file"),
        ("reconstruct /no/scan.h5 --output_dir o --devices 2", "/no/scan.h5 is not a file"),
        ("evaluate /no/such.h5 --output_dir .", "/no/such.h5 is missing; expected an HDF5 file"),
        ("evaluate s.h5 --reference /no/r.npz --output_dir .", "/no/r.npz is not a file"),
        ("simulate . --n_patterns 2", "is a folder; expected the name of a file"),
        ("simulate x.h5 --photons 1e30", "expected 1 to 1e+15 photons"),
        ("simulate x.h5 --photons 1e-3", "expected 1 to 1e+15 photons"),
        ("simulate x.h5 --step_px 4000", "needs an object of about"),
        ("simulate scan.npz --n_patterns 2", "expected a name that ends in .h5"),
        ("simulate setup.cfg/scan.h5 --n_patterns 2", "setup.cfg is a file; expected a folder"),
        ("train setup.cfg --output_dir setup.cfg/o", "setup.cfg is a file; expected a folder"),
        ("train setup.cfg --output_dir o --devices 100000", "would start 100000 processes"),
        ("reconstruct setup.cfg --output_dir o --reference /no/r.npz", "/no/r.npz is not a file"),
    ],
)
def test_user_error_is_one_line_and_exit_code_two(
    line: str, words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    assert main(line.split()) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert words in captured.err
    assert "Traceback" not in captured.err


def test_full_or_locked_storage_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = Path("/proc/ptycho_dist_test/scan.h5")
    if not Path("/proc/self").exists():
        pytest.skip("needs /proc, where nobody can make a folder")
    assert main(["simulate", str(target), "--n_patterns", "2", "--N", "16", "--quiet"]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert "/proc" in captured.err


def test_inspect_quotes_paths_with_spaces(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "my scan.h5"
    assert main(["simulate", str(path), "--n_patterns", "2", "--N", "16", "--quiet"]) == 0
    assert main(["inspect", str(path)]) == 0
    assert f"reconstruct '{path}' --output_dir 'runs/my scan'" in capsys.readouterr().out


def test_debug_adds_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "/no/such/file", "--debug"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("Traceback")
    assert lines[-1].startswith("ptycho-dist: DataFormatError")


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from ptycho_dist.cli import main; main(['train', '--help']); "
        "sys.exit(','.join(sorted({'torch', 'lightning', 'h5py', 'numpy'} & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_module_runs_as_a_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ptycho_dist", "inspect", "nowhere"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("ptycho-dist: DataFormatError: nowhere is missing")


def test_program_ends_at_once_after_all_is_said() -> None:
    code = (
        "import atexit, sys; sys.argv = ['ptycho-dist', '--help']; atexit.register(print, 'too late'); "
        "from ptycho_dist.cli import program; program()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: ptycho-dist COMMAND")
    assert "too late" not in done.stdout


def test_program_refuses_a_launcher_that_is_not_known_in_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ptycho_dist", "train", "x.h5", "--output_dir", "r"],
        env=os.environ | {"PTYCHO_DIST_LAUNCHER": "pbs"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("ptycho-dist: LaunchError: PTYCHO_DIST_LAUNCHER = 'pbs'")
    assert "Traceback" not in done.stderr


def test_a_reader_that_leaves_early_is_no_fault_of_the_program(tmp_path: Path) -> None:
    """As in ``ptycho-dist inspect SCAN | head -1``."""
    scan = simulate_tiny(tmp_path / "scan.h5")
    process = subprocess.Popen(
        [sys.executable, "-m", "ptycho_dist", "inspect", str(scan)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    process.stdout.close()
    _, said = process.communicate(timeout=60)
    assert b"Traceback" not in said
    assert process.returncode == 141
