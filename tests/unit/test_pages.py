"""The pages list what there is: errors, extras, environment variables, and the way of a sound through the code."""

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


VARIABLE: Final = re.compile(
    r"""["']((?:PATTER_\w+|[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*_(?:API_KEY|BASE_URL|ACCOUNT_SID|AUTH_TOKEN|AUTH_ID|"""
    r"""CONNECTION_ID|PUBLIC_KEY|AGENT_ID|(?<!SPAN_)ENDPOINT|USE_VERTEXAI|CLOUD_PROJECT|CLOUD_LOCATION)))["']"""
)
ASKED: Final = re.compile(r"""\b(?:setting|is_on|environ\.get)\(\s*["'](\w+)["']""")
SPELLED_IN_PARTS: Final = {"TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN"}
"""Read by a name that is put together."""
NO_VARIABLES: Final = {"SPAN_ENDPOINT"}
"""They look like one."""


def test_every_environment_variable_is_listed() -> None:
    page = (REFERENCE / "settings.md").read_text(encoding="utf-8")
    listed = {
        name
        for line in page.splitlines()
        if line.startswith("| `")
        for name in _quoted(line.split("|")[1])
    }
    package = ROOT / "src" / "getpatter"
    read = {
        name
        for path in package.rglob("*.py")
        if "testing" not in path.relative_to(package).parts
        for pattern in (VARIABLE, ASKED)
        for name in pattern.findall(path.read_text(encoding="utf-8"))
    }
    assert listed == (read - NO_VARIABLES) | SPELLED_IN_PARTS


def test_the_way_of_a_sound_is_the_way_of_the_code() -> None:
    page = (ROOT / "docs" / "explanation" / "way-of-a-sound.md").read_text(encoding="utf-8")
    places = re.findall(r"`([\w/]+\.py)` `(?:(\w+)\.)?(\w+)`", page)
    assert len(places) > 20
    for file, owner, function in places:
        code = (ROOT / "src" / "getpatter" / file).read_text(encoding="utf-8")
        assert not owner or re.search(rf"^class {owner}\b", code, re.MULTILINE), f"{file} {owner}"
        found = re.search(rf"^\s*(?:async )?def {function}\(|self\.{function}:", code, re.MULTILINE)
        assert found, f"{file} {owner}.{function}"


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
