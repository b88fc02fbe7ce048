"""Every Python block of the README and of the documentation runs, and every link within leads somewhere.

How a block is tested stands in the line above it; see `tests.seeds_support.extract.Block`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from tests.seeds_support import scenarios
from tests.seeds_support.extract import Block, markdown_blocks, parses
from tests.seeds_support.stage import Stage

ROOT: Final = Path(__file__).parents[1]
PAGES: Final = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
BLOCKS: Final = {page: markdown_blocks(page, ROOT) for page in PAGES if page.is_file()}

_DIRECTIVES: Final = frozenset({"", "continues", "scenario", "skip"})


def _groups() -> list[list[Block]]:
    """The blocks that are run together: each with those that continue it."""
    groups: list[list[Block]] = []
    for blocks in BLOCKS.values():
        for block in blocks:
            if block.directive == "skip":
                continue
            if block.directive == "continues":
                groups[-1].append(block)
            else:
                groups.append([block])
    return groups


def _parameter(group: list[Block]) -> object:
    missing = next((scenarios.NOT_YET_IN_DOCS.get(block.argument) for block in group), None)
    marks = []
    if missing is not None:
        marks.append(pytest.mark.xfail(strict=True, reason=missing.reason, raises=missing.raises))
    return pytest.param(group, id=group[0].name, marks=marks)


@pytest.mark.parametrize("group", [_parameter(group) for group in _groups()])
def test_block_runs(group: list[Block], tmp_path: Path) -> None:
    with Stage(tmp_path, scenarios.SETTINGS) as stage:
        for block in group:
            if block.directive == "scenario":
                scenarios.SCENARIOS_OF_DOCS[block.argument](block, stage)
            else:
                stage.run(block)


def test_blocks_say_rightly_how_they_are_tested() -> None:
    for blocks in BLOCKS.values():
        for number, block in enumerate(blocks):
            assert block.directive in _DIRECTIVES, f"{block.name}: {block.directive!r}"
            assert parses(block.source), f"{block.name} is not Python"
            if block.directive == "continues":
                assert number > 0, f"{block.name} continues nothing"
            if block.directive == "skip":
                assert len(block.argument) > 10, f"{block.name}: say why it cannot run"
            if block.directive == "scenario":
                known = {*scenarios.SCENARIOS_OF_DOCS, *scenarios.NOT_YET_IN_DOCS}
                assert block.argument in known, block.name


_LINK: Final = re.compile(r"\]\((?!\w+:|#)(?P<path>[^)#\s]+)")


@pytest.mark.parametrize("page", list(BLOCKS), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_to_files_lead_somewhere(page: Path) -> None:
    broken = [
        found["path"]
        for found in _LINK.finditer(page.read_text(encoding="utf-8"))
        if not (page.parent / found["path"]).exists()
    ]
    assert not broken


def test_every_page_is_reached_from_the_first() -> None:
    first = ROOT / "docs" / "index.md"
    seen, to_read = {first}, [first]
    while to_read:
        page = to_read.pop()
        for found in _LINK.finditer(page.read_text(encoding="utf-8")):
            target = (page.parent / found["path"]).resolve()
            if target.suffix == ".md" and target.exists() and target not in seen:
                seen.add(target)
                to_read.append(target)
    lost = sorted(
        page.relative_to(ROOT).as_posix()
        for page in (ROOT / "docs").rglob("*.md")
        if page not in seen
    )
    assert not lost, f"link these from the index.md of their folder: {lost}"
