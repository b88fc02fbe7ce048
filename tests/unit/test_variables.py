"""Placeholders in prompts."""

from __future__ import annotations

import pytest

from getpatter.core.variables import MAX_VALUE_LEN, merge_variables, sanitised, substitute


def test_known_names_are_replaced_wherever_they_stand() -> None:
    assert substitute("Hi {name}, {name}! {city_2}", {"name": "Ann", "city_2": "Rome"}) == (
        "Hi Ann, Ann! Rome"
    )


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "x"}',
        "{unknown}",
        "{}",
        "{ name }",
        "{name!r}",
        "{name.x}",
        "{1name}",
        "{{",
        "}{",
        "{name",
        "no braces",
    ],
)
def test_other_braces_stay(text: str) -> None:
    assert substitute(text, {"name": "Ann"}) == text


def test_json_around_a_placeholder_stays() -> None:
    assert substitute('{"who": "{name}", "n": {}}', {"name": "Ann"}) == '{"who": "Ann", "n": {}}'


def test_a_value_is_no_template() -> None:
    assert substitute("{a}{b}", {"a": "{b}", "b": "\\1 \\g<0>"}) == "{b}\\1 \\g<0>"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (3, "3"),
        (2.5, "2.5"),
        (True, "True"),
        (None, ""),
        (["a"], "['a']"),
        ("two\nlines\tand\x00zero\x1b[0m", "two lines andzero[0m"),
        ("a\u2028b\x85c\ud800d", "a b cd"),
        ("x" * 600, "x" * MAX_VALUE_LEN),
    ],
)
def test_values_are_made_harmless(value: object, shown: str) -> None:
    assert sanitised(value) == shown


def test_without_values_nothing_changes() -> None:
    assert substitute("Hi {name}", {}) == "Hi {name}"


def test_names_of_every_language() -> None:
    assert substitute("Ciao {città}", {"città": "Roma"}) == "Ciao Roma"


def test_the_first_source_wins() -> None:
    assert merge_variables({"a": 1}, {"a": 2, "b": 2}, None, {"b": 3, "c": 3}) == {
        "a": 1,
        "b": 2,
        "c": 3,
    }


def test_sources_are_left_alone() -> None:
    first, last = {"a": 1}, {"b": 2}
    merge_variables(first, last)["c"] = 3
    assert (first, last) == ({"a": 1}, {"b": 2})
