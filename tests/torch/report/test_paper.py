"""Figures for papers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from skimage import io

from ptycho_dist.cli import main
from ptycho_dist.config.fields import field_docs
from ptycho_dist.config.report import FigureConfig
from ptycho_dist.report.paper.kinds import kinds
from tests.support.results import hermite_probe, smooth_object, write_product, write_results

WITHOUT_REFERENCE = ("convergence", "errors", "object", "probe")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_results(tmp_path_factory.mktemp("results") / "run", n_modes=2)


def test_the_help_names_every_kind() -> None:
    text = field_docs(FigureConfig)["kind"]
    assert set(re.findall(r"[a-z]+", text)) >= set(kinds())


@pytest.mark.parametrize("suffix", [".png", ".pdf"])
@pytest.mark.parametrize("kind", WITHOUT_REFERENCE)
def test_figure_is_drawn(results: Path, tmp_path: Path, kind: str, suffix: str) -> None:
    path = tmp_path / f"figure{suffix}"
    assert main(["figure", str(results), "--kind", kind, "--output", str(path), "--quiet"]) == 0
    if suffix == ".pdf":
        content = path.read_bytes()
        assert content.startswith(b"%PDF")
        assert b"/FontFile2" in content, "text must stay text"
    else:
        picture = io.imread(path)
        assert min(picture.shape[:2]) > 250
        assert picture[..., :3].std() > 10, "the picture is blank"


def test_two_results_are_drawn_beside_each_other(results: Path, tmp_path: Path) -> None:
    noisy = smooth_object((96, 128)) + 0.05 * smooth_object((96, 128), 5)
    other = write_product(tmp_path / "other.h5", noisy.astype("complex64"), hermite_probe(32, 1), 40)
    for kind in ("comparison", "frc"):
        path = tmp_path / f"{kind}.png"
        command = ["figure", str(results), "--kind", kind, "--other", str(other), "--output", str(path), "--quiet"]
        assert main(command) == 0
        assert path.is_file()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--kind", "comparison"], "nothing to compare with"),
        (["--kind", "frc"], "no ring correlation"),
        (["--kind", "portrait"], "no figure is called 'portrait'"),
        (["--output", "figure.svg"], "ends in .png or .pdf"),
        (["--other", "missing"], "missing is not a file"),
    ],
)
def test_figure_that_cannot_be_drawn_is_refused(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    output = [] if "--output" in more else ["--output", str(tmp_path / "figure.png")]
    assert main(["figure", str(results), *more, *output, "--quiet"]) == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_figure_does_not_replace_a_file_unasked(results: Path, tmp_path: Path) -> None:
    path = tmp_path / "figure.png"
    path.write_bytes(b"mine")
    command = ["figure", str(results), "--output", str(path), "--quiet"]
    assert main(command) == 2
    assert path.read_bytes() == b"mine"
    assert main([*command, "--overwrite"]) == 0
