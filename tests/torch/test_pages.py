"""What the pages say: links lead somewhere, commands are understood, sources are listed, gallery scripts run."""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path

import pytest

from ptycho_dist.cli import main
from ptycho_dist.commands.parsing import asked_help, parse
from ptycho_dist.commands.registry import commands
from ptycho_dist.errors import ConfigError
from tests.support.runs import forget_launchers

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(
    [*DOCS.glob("*.md"), *(DOCS / "howto").glob("*.md"), *(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING"))]
)
GALLERY = sorted((DOCS / "gallery").glob("plot_*.py"))
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_BLOCK = re.compile(r"^```(\S*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_DOI = re.compile(r"\b10\.\d{4,9}/[^\s\"`>,;]+")
_WORDS = ("COMMAND", "TOPIC", "[flags]", "...")
"""Parts of lines that show the form of a command, not a command."""


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def slugs(text: str) -> set[str]:
    """Anchors of the headings of a page, as GitHub and MyST make them."""
    titles = re.findall(r"^#{1,6} (.+)$", re.sub(_BLOCK, "", text), re.MULTILINE)
    plain = (re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", title).strip().lower() for title in titles)
    return {re.sub(r"[^\w\- ]", "", title).replace(" ", "-") for title in plain}


def command_lines(text: str) -> list[str]:
    """Lines of code blocks that call the program, continued lines joined, comments left out."""
    blocks = (body for kind, body in _BLOCK.findall(text) if kind in ("", "bash", "sh", "console"))
    lines = (line for body in blocks for line in body.replace("\\\n", " ").splitlines())
    found = (re.search(r"(?:^|\s)ptycho-dist (\w.*)$", line) for line in lines)
    lines = (re.split(r"\s[#>|]\s|\s2>", match[1])[0] for match in found if match)
    return [line.rstrip("'") if line.count("'") % 2 else line for line in lines]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in _LINK.findall(re.sub(_BLOCK, "", text)):
        place, _, anchor = target.partition("#")
        if target.startswith(("https://", "http://")) or "auto_gallery" in place:
            continue
        there = page if not place else page.parent / place
        assert there.exists(), f"{name_of(page)} links to {target}"
        if anchor:
            assert anchor in slugs(there.read_text(encoding="utf-8")), f"{name_of(page)} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_on_a_page_are_understood(page: Path) -> None:
    for line in command_lines(page.read_text(encoding="utf-8")):
        if any(word in line for word in _WORDS):
            continue
        name, *flags = [word for word in shlex.split(line) if word != "&"]
        if asked_help(flags) is None:
            try:
                parse(commands()[name], flags)
            except ConfigError as error:
                pytest.fail(f"{name_of(page)}: ptycho-dist {line}: {error}")


def test_commands_are_found_on_pages() -> None:
    assert len(command_lines((DOCS / "tutorial.md").read_text(encoding="utf-8"))) > 8
    assert command_lines("```\nX=1 ptycho-dist train a \\\n  --seed 2   # why\n```\n") == ["train a    --seed 2  "]


@pytest.mark.parametrize("source", [*PAGES, *sorted((ROOT / "ptycho_dist").rglob("*.py"))], ids=name_of)
def test_cited_sources_are_in_the_bibliography(source: Path) -> None:
    listed = re.findall(r"doi = \{([^}]+)\}", (DOCS / "references.bib").read_text(encoding="ascii"))
    for found in _DOI.findall(source.read_text(encoding="utf-8")):
        assert any(found.startswith(one) for one in listed), f"{name_of(source)} cites {found}"


def test_citations_name_sources_that_are_listed() -> None:
    keys = set(re.findall(r"^@\w+\{(\w+),", (DOCS / "references.bib").read_text(encoding="ascii"), re.MULTILINE))
    used = {key for page in PAGES for key in re.findall(r"\{cite\}`(\w+)`", page.read_text(encoding="utf-8"))}
    assert used
    assert used <= keys


@pytest.mark.exhaustive
@pytest.mark.parametrize("script", GALLERY, ids=lambda path: path.stem)
def test_gallery_script_runs(script: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """``make docs`` runs them as well; here warnings of libraries are errors too."""
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    forget_launchers(monkeypatch)
    assert runpy.run_path(str(script))["figure"].axes


@pytest.mark.exhaustive
def test_commands_of_the_tutorial_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them, in their order; trainings are cut short, and files of the reader's own left out."""
    forget_launchers(monkeypatch)
    monkeypatch.chdir(tmp_path)
    short = {
        "simulate": ["--n_patterns", "40"],
        "reconstruct": ["--max_epochs", "1", "--devices", "1"],
        "train": ["--max_epochs", "1", "--devices", "1"],
    }
    lines = [shlex.split(line) for line in command_lines((DOCS / "tutorial.md").read_text(encoding="utf-8"))]
    for name, *flags in lines:
        if "--config" in flags or "--print_config" in flags or "shards" in " ".join(flags):
            continue
        own = short.get(name, [])
        kept = [word for number, word in enumerate(flags)
                if word not in own[::2] and not (number and flags[number - 1] in own[::2])]  # fmt: skip
        assert main([name, *kept, *own]) == 0, [name, *kept, *own]
