"""The reference pages list what there is: errors and extras."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Final

import getpatter
from getpatter import errors

ROOT: Final = Path(__file__).parents[2]
REFERENCE: Final = ROOT / "docs" / "reference"


def _rows(page: Path) -> list[list[str]]:
    """The cells of the page's table rows."""
    lines = page.read_text(encoding="utf-8").splitlines()
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in lines
        if line.startswith("| `")
    ]


def _quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_every_error_is_listed_with_its_bases() -> None:
    listed = {_quoted(name)[0]: _quoted(bases) for name, _, bases in _rows(REFERENCE / "errors.md")}
    there = {
        name: [base.__name__ for base in each.__bases__]
        for name, each in vars(errors).items()
        if isinstance(each, type) and issubclass(each, Exception) and not issubclass(each, Warning)
    }
    assert listed == there
    assert set(listed) <= set(getpatter.__all__)


def test_every_extra_is_listed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    listed = [name for row in _rows(REFERENCE / "extras.md") for name in _quoted(row[0])]
    assert sorted(listed) == sorted(project["optional-dependencies"])


def test_every_base_dependency_has_a_decision() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    titles = "\n".join(
        page.read_text(encoding="utf-8").partition("\n")[0].lower()
        for page in (ROOT / "docs" / "decisions").glob("0*.md")
    )
    names = [re.match(r"[a-z0-9-]+", need, re.IGNORECASE) for need in project["dependencies"]]
    undecided = [name[0] for name in names if name and name[0].lower() not in titles]
    assert not undecided


def test_the_index_of_decisions_is_complete() -> None:
    pages = sorted(page.name for page in (ROOT / "docs" / "decisions").glob("0*.md"))
    index = (ROOT / "docs" / "decisions" / "index.md").read_text(encoding="utf-8")
    assert re.findall(r"\]\((0[^)]+\.md)\)", index) == pages
    assert [page[:4] for page in pages] == [f"{number:04}" for number in range(1, len(pages) + 1)]
