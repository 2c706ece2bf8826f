"""Rules that hold for every source file; the layers themselves are import-linter's (setup.cfg)."""

from __future__ import annotations

import ast
import configparser
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = REPOSITORY / "ptycho_dist"
FOLDERS = ("ptycho_dist", "tests", "benchmarks", "docs")
SOURCES = sorted(path for folder in FOLDERS for path in (REPOSITORY / folder).rglob("*.py"))
MODULES = sorted(PACKAGE.rglob("*.py"))
MAX_LINES = 400
MAX_TEST_LINES = 500
MAX_FUNCTION_LINES = 60

ONLY_IN = {
    "torch.distributed": ("distributed/collectives.py", "distributed/rendezvous.py", "distributed/watch.py"),
    "mpi4py": ("distributed/mpi/library.py",),
    "h5py": ("hdf5_files.py", "data/formats/", "assembly/shards.py"),
    "matplotlib": ("evaluate/figures/", "evaluate/scan_figure.py"),
    "lightning": ("training/", "data/datamodule.py"),
}
"""External packages, and the files or folders (ending in a slash) that may import them."""


def name_of(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def imported(path: Path) -> Iterator[str]:
    """Yield dotted names of everything a file imports, at any depth, and of attributes such as torch.distributed."""
    for node in ast.walk(ast.parse(path.read_text(encoding="ascii"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield f"{node.value.id}.{node.attr}"


def is_part_of(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def is_within(name: str, place: str) -> bool:
    return name.startswith(place) if place.endswith("/") else name == place


def calls(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="ascii"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id, node.lineno


def test_modules_are_found() -> None:
    assert PACKAGE / "cli.py" in MODULES


@pytest.mark.parametrize("package", ONLY_IN)
def test_package_is_imported_only_where_allowed(package: str) -> None:
    users = {name_of(path) for path in MODULES if any(is_part_of(name, package) for name in imported(path))}
    places = [f"ptycho_dist/{place}" for place in ONLY_IN[package]]
    strangers = {user for user in users if not any(is_within(user, place) for place in places)}
    assert not strangers, f"{package} is imported by {sorted(strangers)}; allowed only in {places}"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_source_is_ascii_and_short(path: Path) -> None:
    content = path.read_bytes()
    assert content.isascii(), f"{name_of(path)} is not ASCII"
    lines = content.count(b"\n")
    limit = MAX_TEST_LINES if path.is_relative_to(REPOSITORY / "tests") else MAX_LINES
    assert lines <= limit, f"{name_of(path)} has {lines} lines; at most {limit}. Split it."


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_module_does_not_print(path: Path) -> None:
    printing = [line for name, line in calls(path) if name == "print"]
    assert not printing, f"{name_of(path)} prints in lines {printing}; log, or write to sys.stdout in commands"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_functions_are_short(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="ascii"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = [node.name for node in functions if (node.end_lineno or 0) - node.lineno >= MAX_FUNCTION_LINES]
    assert not long, f"{name_of(path)}: {long} exceed {MAX_FUNCTION_LINES} lines"


def test_imported_sees_nested_and_attribute_imports(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text("import torch\ndef f():\n    from h5py import File\n    torch.distributed.barrier()\n")
    assert {"torch", "h5py.File", "torch.distributed"} <= set(imported(path))


def test_lowest_versions_are_those_that_setup_cfg_admits() -> None:
    config = configparser.ConfigParser()
    config.read(REPOSITORY / "setup.cfg")
    wanted = config["options"]["install_requires"] + config["options.extras_require"]["test"]
    bounds = dict(re.findall(r"^([A-Za-z0-9-]+)(?:\[\w+\])? >= ([\d.]+)$", wanted, re.MULTILINE))
    pins = dict(line.split("==") for line in (REPOSITORY / "tests" / "lowest.txt").read_text(encoding="utf-8").split())
    assert bounds.pop("torch") == "2.11"
    assert set(pins) == set(bounds)
    for name, version in pins.items():
        assert f"{version}.".startswith(f"{bounds[name]}."), f"{name}: {version} is not the oldest of {bounds[name]}"
