"""Settings of all tests: GPUs are hidden unless ``-m gpu``, one thread unless asked for more, where real data lies."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["PTYCHO_DIST_CACHE"] = ""

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_configure(config: pytest.Config) -> None:
    """Hide the GPUs, unless ``-m gpu`` asks for the tests of a GPU alone."""
    if config.getoption("markexpr").strip() != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of the real scans: PTYCHO_DIST_DATA, else ../shared/data; skips where there is none."""
    folder = Path(os.environ.get("PTYCHO_DIST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no folder of real data at {folder}; set PTYCHO_DIST_DATA")
    return folder


@pytest.fixture(scope="session")
def formats_dir(data_dir: Path) -> Path:
    """Folder of files of other programs; skips where there is none."""
    folder = data_dir / "formats"
    if not folder.is_dir():
        pytest.skip(f"no folder of test files at {folder}")
    return folder
