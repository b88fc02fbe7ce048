"""`load_suite`: suites from files, and what is said of files that are none."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from getpatter.evals import EvalCase, EvalSuite, EvalTurn, load_suite

SUITE = """
name: desk
metadata: {version: 3}
cases:
  - name: books a day
    turns:
      - user: Monday please
        expected_contains: monday
      - user: at nine
        expected_contains: [nine, booked]
      - thanks
    expected_behavior: Books Monday at nine.
    rubric: |
      1.0 when booked
    tags: [booking]
    first_message: Welcome.
  - name: own agent
    turns: [hello]
    expected_behavior: ""
    rubric: ""
    agent: my_desk:agent
    llm_provider: my_desk:model
"""
BOOKS = EvalCase(
    "books a day",
    (
        EvalTurn("Monday please", ("monday",)),
        EvalTurn("at nine", ("nine", "booked")),
        EvalTurn("thanks"),
    ),
    "Books Monday at nine.",
    "1.0 when booked\n",
    ("booking",),
    "Welcome.",
)
OWN = EvalCase(
    "own agent", (EvalTurn("hello"),), "", "", agent="my_desk:agent", llm_provider="my_desk:model"
)


def written(folder: Path, text: str, name: str = "desk.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_yaml_and_json_are_the_same_suite(tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml")
    expected = EvalSuite("desk", (BOOKS, OWN), {"version": 3})
    assert load_suite(written(tmp_path, SUITE)) == expected
    as_json = written(tmp_path, json.dumps(yaml.safe_load(SUITE)), "desk.json")
    assert load_suite(str(as_json)) == expected


def test_one_text_stands_for_a_list_of_one() -> None:
    assert EvalTurn("a", "b").expected_contains == ("b",)  # type: ignore[arg-type]  # what is tested
    assert EvalSuite("s", [OWN]).cases == (OWN,)  # type: ignore[arg-type]  # what is tested


def _case(**changes: Any) -> dict[str, Any]:
    whole = {"name": "one", "turns": [{"user": "hi"}], "expected_behavior": "b", "rubric": "r"}
    return {key: each for key, each in (whole | changes).items() if each is not ...}


def _suite(*cases: Any, **changes: Any) -> dict[str, Any]:
    whole = {"name": "desk", "cases": list(cases)} | changes
    return {key: each for key, each in whole.items() if each is not ...}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([], "must be a mapping, not a list"),
        (_suite(_case(), name=...), "name is missing"),
        (_suite(_case(), name=" "), "name must not be empty"),
        (_suite(_case(), tests=1), "tests is unknown; there are name, cases, metadata"),
        (_suite(), "cases must not be empty"),
        (_suite(cases={}), "cases must be a list, not a mapping"),
        (_suite(_case(), metadata=[1]), "metadata must be a mapping"),
        (_suite("hi"), "case 'number 1': must be a mapping, not a text"),
        (_suite(_case(), _case()), "case 'one': name is that of two cases"),
        (_suite(_case(name=...)), "case 'number 1': name is missing"),
        (_suite(_case(rubric=...)), "case 'one': rubric is missing"),
        (_suite(_case(expected_behavior=...)), "case 'one': expected_behavior is missing"),
        (_suite(_case(rubric=3)), "case 'one': rubric must be a text, not a number (quote it)"),
        (_suite(_case(turns=[])), "case 'one': turns must not be empty"),
        (_suite(_case(turns=[{"user": True}])), "turns[0].user must be a text, not a yes or no"),
        (_suite(_case(turns=["a", {"users": "b"}])), "case 'one': turns[1].user is missing"),
        (_suite(_case(turns=[{"user": "b", "x": 1}])), "turns[0].x is unknown"),
        (
            _suite(_case(turns=[{"user": "b", "expected_contains": ["c", 4]}])),
            "case 'one': turns[0].expected_contains[1] must be a text",
        ),
        (
            _suite(_case(turns=[{"user": "b", "expected_contains": ""}])),
            "expected_contains must not be empty",
        ),
        (_suite(_case(tags=7)), "case 'one': tags must be a text or a list of texts"),
        (_suite(_case(agent="desk")), "case 'one': agent must be MODULE:ATTR, not 'desk'"),
        (_suite(_case(agents="a:b")), "case 'one': agents is unknown"),
    ],
)
def test_a_mistake_names_file_case_and_field(given: Any, says: str, tmp_path: Path) -> None:
    path = written(tmp_path, json.dumps(given), "desk.json")
    with pytest.raises(ValueError, match="desk") as error:
        load_suite(path)
    assert str(error.value).startswith(f"{path}:")
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("desk.json", '{"name": ', "not JSON"),
        ("desk.json", "[" * 100_000, "not JSON"),
        ("desk.yaml", "name: [", "not YAML"),
        ("desk.yml", "a: !!python/object/apply:os.system [true]", "not YAML"),
        ("desk.yaml", "when: 2026-13-45", "not YAML"),
    ],
)
def test_a_file_that_cannot_be_parsed_is_named(
    name: str, text: str, says: str, tmp_path: Path
) -> None:
    pytest.importorskip("yaml")
    with pytest.raises(ValueError, match=says) as error:
        load_suite(written(tmp_path, text, name))
    assert name in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "desk.json"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="not UTF-8"):
        load_suite(path)
    with pytest.raises(FileNotFoundError):
        load_suite(tmp_path / "none.json")


def test_yaml_without_its_package_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(ImportError, match=r"getpatter\[evals\]"):
        load_suite(written(tmp_path, SUITE))
