"""What completion, help and errors of the Python interface show."""

from __future__ import annotations

import inspect
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest

import ptycho_dist as ptd
from ptycho_dist.api.notebook_progress import in_notebook, told
from ptycho_dist.api.python_words import in_python_words
from ptycho_dist.commands.parser import shown_flags
from ptycho_dist.commands.registry import commands
from ptycho_dist.config.fields import field_types
from ptycho_dist.errors import ConfigError
from ptycho_dist.progress.snapshot import FINISHED, Place, PlannedStage, Snapshot

CALLS = {
    "reconstruct": "reconstruct",
    "train": "train",
    "infer": "infer",
    "refine_object": "refine",
    "simulate_scan": "simulate",
}


def test_dir_lists_the_public_names_only() -> None:
    code = "import ptycho_dist as ptd; ptd.ScanOptions; print(*dir(ptd))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert shown == sorted(ptd.__all__)
    assert all(inspect.getdoc(getattr(ptd, name)) for name in shown)


@pytest.mark.parametrize("name", CALLS)
def test_signature_has_every_setting_of_the_command(name: str) -> None:
    command, known = commands()[CALLS[name]], inspect.signature(getattr(ptd, name)).parameters
    shown, doc = shown_flags(command), inspect.getdoc(getattr(ptd, name)) or ""
    settings = [(section, field) for section in command.sections for field in command.settings(section)]
    for section, field in settings:
        plain = shown[f"{section}.{field.name}"]
        assert f"\n{plain}\n    " in doc
        if plain.isidentifier() and plain not in ("progress", "overwrite"):
            assert known[plain].kind is inspect.Parameter.KEYWORD_ONLY
            assert known[plain].default == field.default
            assert known[plain].annotation == field_types(command.sections[section])[field.name]
    assert {*command.paths} <= {*known}


def test_signatures_of_scans_list_their_parts() -> None:
    assert {"mask", "probe_mask", "object_", "pixel_size_m", "metadata"} <= {
        *inspect.signature(ptd.write_scan).parameters
    }
    convert = inspect.signature(ptd.convert_scan).parameters
    assert {*inspect.signature(ptd.ScanOptions).parameters} <= {*convert}


@pytest.mark.parametrize("use_jedi", [False, True])
@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("ptd.refine_o", "refine_object"),
        ("ptd.reconstruct(max_ep", "max_epochs="),
        ("ptd.refine_object(iterat", "iterations="),
        ("ptd.simulate_scan('s.h5', phot", "photons="),
        ("ptd.write_scan(a, b, c, pixel_", "pixel_size_m="),
    ],
)
def test_ipython_completes_names_and_keywords(typed: str, offered: str, *, use_jedi: bool) -> None:
    pytest.importorskip("IPython")
    from IPython.core.completer import IPCompleter, provisionalcompleter

    completer = IPCompleter(namespace={"ptd": ptd}, global_namespace={})
    completer.use_jedi = use_jedi
    with provisionalcompleter():
        found = [one.text.lstrip(".") for one in completer.completions(typed, len(typed))]
    assert offered in found


def test_completion_of_the_module_offers_nothing_internal() -> None:
    pytest.importorskip("IPython")
    from IPython.core.completer import IPCompleter, provisionalcompleter

    completer = IPCompleter(namespace={"ptd": ptd}, global_namespace={})
    with provisionalcompleter():
        found = {one.text.lstrip(".") for one in completer.completions("ptd.", 4)}
    assert found == {*ptd.__all__}


@pytest.mark.parametrize(
    ("said", "python"),
    [
        ("Set --max_epochs to 3, or leave --reference out.", "Set max_epochs= to 3, or leave reference= out."),
        ("start anew with --resume false.", "start anew with resume=False."),
        ("Choose another name, or give --overwrite.", "Choose another name, or give overwrite=True."),
        ("Set --iterations 0.", "Set iterations=0."),
        ("expected a path. See ptycho-dist refine --help.", "expected a path. See help(ptycho_dist.refine_object)."),
        ("a -- dash, left--right and refine.iterations = 0", "a -- dash, left--right and refine.iterations = 0"),
    ],
)
def test_messages_speak_python(said: str, python: str) -> None:
    assert in_python_words(said) == python


def test_error_has_a_short_traceback_and_one_line_in_a_notebook(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        ptd.reconstruct(tmp_path / "s.h5", output_dir=tmp_path, max_epoch=2)
    error = raised.value
    assert error.__suppress_context__
    lines = "".join(traceback.format_exception(error)).splitlines()
    assert len(lines) <= 8
    shown = error._render_traceback_()
    assert shown == [f"ConfigError: {error}"]


def snapshot(**facts: Any) -> Snapshot:
    """Give one moment of a job on two ranks."""
    place = Place(command="refine", rank=0, world=2)
    stages = (PlannedStage("start"), PlannedStage("refinement"))
    return Snapshot(place=place, stage="refinement", number=2, stages=stages, unit="iterations", **facts)


def test_progress_is_told_in_one_line() -> None:
    assert told(snapshot(done=3, total=20)).startswith(
        "refine on 2 ranks (stage 2 of 2): refinement 3 of 20 iterations"
    )
    assert told(snapshot(state=FINISHED, job_s=61.0)) == "refine on 2 ranks finished after 1:01"
    assert told(snapshot(state="failed", reason="ConfigError: <no>")).endswith("failed after 0:00: ConfigError: <no>")
    assert not in_notebook()
