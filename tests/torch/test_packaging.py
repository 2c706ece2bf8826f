"""What people install: a wheel with all it needs, an environment file, a container's recipe, a citation."""

from __future__ import annotations

import configparser
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "ptycho_dist"


def setup_cfg() -> configparser.ConfigParser:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    return config


def requirements() -> list[str]:
    return [line.replace(" ", "") for line in setup_cfg()["options"]["install_requires"].split("\n") if line]


def data_files() -> set[str]:
    """Files of the package that are no Python, as names in a wheel."""
    files = (path for path in PACKAGE.rglob("*") if path.is_file() and path.parent.name != "__pycache__")
    return {path.relative_to(ROOT).as_posix() for path in files if path.suffix != ".py"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with wheel and sdist, made with the tools of this environment."""
    pytest.importorskip("build", reason="NOT RUN: the package build is not installed")
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


@pytest.mark.exhaustive
def test_wheel_and_sdist_hold_every_file_of_the_package(built: Path) -> None:
    (wheel,), (sdist,) = built.glob("*.whl"), built.glob("*.tar.gz")
    in_wheel = set(zipfile.ZipFile(wheel).namelist())
    sources = {path.relative_to(ROOT).as_posix() for path in PACKAGE.rglob("*.py")}
    wanted = data_files() | sources
    assert {"ptycho_dist/py.typed"} < wanted
    assert wanted - in_wheel == set()
    with tarfile.open(sdist) as archive:
        in_sdist = {name.partition("/")[2] for name in archive.getnames()}
    assert wanted - in_sdist == set()
    assert not [name for name in in_wheel if name.startswith(("tests/", "docs/", "benchmarks/"))]


@pytest.mark.exhaustive
def test_wheel_runs_the_demonstration_in_an_empty_environment(built: Path, tmp_path: Path) -> None:
    """Dependencies are those of this environment; this checkout is not among them."""
    environment, (wheel,) = tmp_path / "venv", built.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True, timeout=120)
    python = environment / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "-q", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True, timeout=120)
    (own,) = environment.glob("lib/python*/site-packages")
    (own / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    where = "import ptycho_dist; print(ptycho_dist.__file__)"
    found = subprocess.run(
        [str(python), "-c", where], cwd=tmp_path, env=clean, capture_output=True, text=True, check=True
    )
    assert found.stdout.startswith(str(own))
    command = [str(environment / "bin" / "ptycho-dist"), "demo", "demo", "--n_patterns", "40", "--max_epochs", "1"]
    done = subprocess.run(command, cwd=tmp_path, env=clean, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert {"comparison.html", "report.html", "reconstruction.h5"} <= {
        path.name for path in (tmp_path / "demo").iterdir()
    }


def test_every_file_of_the_package_is_named_as_package_data() -> None:
    patterns = setup_cfg()["options.package_data"]["ptycho_dist"].split()
    assert not [one for one in patterns if "," in one], "setuptools takes a comma for a part of a name"
    named = {path.relative_to(ROOT).as_posix() for one in patterns for path in PACKAGE.glob(one) if path.is_file()}
    assert named >= data_files()


def test_version_is_stated_in_setup_cfg_alone() -> None:
    version = setup_cfg()["metadata"]["version"]
    texts = [
        *ROOT.glob("*.toml"),
        *ROOT.glob("*.cff"),
        *ROOT.glob("*.yml"),
        ROOT / "docs" / "conf.py",
        *PACKAGE.rglob("*.py"),
    ]
    assert [path.name for path in texts if version in path.read_text(encoding="utf-8")] == []


def test_citation_follows_its_schema() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    required = {"cff-version", "message", "title", "authors"}
    known = required | {"type", "abstract", "license", "keywords"}
    assert required <= set(cited) <= known
    assert cited["cff-version"] == "1.2.0"
    assert cited["type"] in ("software", "dataset")
    assert cited["license"] == setup_cfg()["metadata"]["license"]
    assert all(set(author) == {"name"} and isinstance(author["name"], str) for author in cited["authors"])
    assert all(isinstance(word, str) for word in cited["keywords"])


def test_conda_environment_asks_for_what_setup_cfg_does() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    *plain, by_pip = environment["dependencies"]
    *listed, own = by_pip["pip"]
    assert listed == requirements()
    assert own == "-e ."
    assert f"python{setup_cfg()['options']['python_requires']}" in plain
    assert "pip" in plain


def sections_of(recipe: str) -> dict[str, list[str]]:
    """Lines of a definition file by section, without comments; the header under an empty name."""
    found: dict[str, list[str]] = {"": []}
    name = ""
    for line in recipe.splitlines():
        if line.startswith("%"):
            name = line[1:].strip()
            found[name] = []
        elif line.strip() and not line.lstrip().startswith("#"):
            found[name].append(line.strip())
    return found


RECIPE = sections_of((ROOT / "containers" / "ptycho_dist.def").read_text(encoding="ascii"))


def test_container_has_the_sections_of_a_definition_file() -> None:
    assert RECIPE[""] == ["Bootstrap: docker", "From: python:{{ python_version }}-slim"]
    assert set(RECIPE) - {""} <= {"arguments", "files", "post", "environment", "runscript", "test", "labels", "help"}


def test_container_copies_what_the_build_needs() -> None:
    pairs = [line.split() for line in RECIPE["files"]]
    assert all((ROOT / source).exists() for source, _ in pairs)
    assert all(target == f"/opt/ptycho_dist/{source}" for source, target in pairs)
    config = setup_cfg()["metadata"]
    needed = {"setup.cfg", "pyproject.toml", "ptycho_dist", config["license_files"], "README.md"}
    assert {source for source, _ in pairs} == needed


def test_container_arguments_are_those_that_are_used() -> None:
    given = dict(line.split("=", 1) for line in RECIPE["arguments"])
    used = {name for lines in RECIPE.values() for line in lines for name in re.findall(r"\{\{ (\w+) \}\}", line)}
    assert set(given) == used
    (pinned,) = re.findall(r"^TORCH \?= torch==([\d.]+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert given["torch_version"] == pinned


@pytest.mark.parametrize("section", ["post", "environment", "runscript", "test"])
def test_container_scripts_are_shell(section: str) -> None:
    script = "\n".join(RECIPE[section])
    done = subprocess.run(["sh", "-n"], input=script, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_container_installs_torch_before_the_package_and_extras_that_exist() -> None:
    installs = [line for line in RECIPE["post"] if "pip install" in line]
    assert ["torch==" in line for line in installs] == [True, False]
    (extras,) = re.findall(r"\[([\w,]+)\]", installs[1])
    assert set(extras.split(",")) <= set(setup_cfg()["options.extras_require"])
