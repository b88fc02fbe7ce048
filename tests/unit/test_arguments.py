"""Arguments of models against schemas of tools: what fits, what is said about what does not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from getpatter.core.arguments import MAX_ARGUMENTS, ArgumentsRefusedError, canonical, parsed


def of(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "additionalProperties": False}


STRING: Any = {"type": "string"}


def complaint(schema: dict[str, Any], given: object) -> str:
    with pytest.raises(ArgumentsRefusedError) as refused:
        parsed(json.dumps(given), schema)
    return str(refused.value)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "integer"}, 3),
        ({"type": "integer"}, 3.0),
        ({"type": "integer"}, 10**400),
        ({"type": "number"}, 2.5),
        ({"type": ["string", "null"]}, None),
        ({"enum": ["a", 1]}, 1.0),
        ({"const": {"a": [1]}}, {"a": [1]}),
        ({"type": "string", "pattern": "^a+$", "minLength": 2, "maxLength": 3}, "aa"),
        ({"type": "string", "pattern": "(?<bad"}, "a pattern that nobody can read holds nothing up"),
        ({"type": "string", "format": "date"}, "2026-02-28"),
        ({"type": "string", "format": "date-time"}, "2026-02-28T10:00:00Z"),
        ({"type": "string", "format": "email"}, "not checked"),
        ({"type": "array", "items": STRING, "minItems": 1, "uniqueItems": True}, ["a", "b"]),
        ({"type": "array", "prefixItems": [STRING], "items": {"type": "integer"}}, ["a", 1, 2]),
        ({"anyOf": [STRING, {"type": "integer"}]}, 1),
        ({"oneOf": [{"minimum": 5}, {"maximum": 3}]}, 7),
        ({"allOf": [{"minimum": 1}, {"maximum": 9}]}, 5),
        ({"not": {"const": 1}}, 2),
        ({"multipleOf": 0.1}, 0.3),
        ({"type": "object", "patternProperties": {"^x": STRING}, "additionalProperties": False}, {"x1": "a"}),
        ({"$ref": "#/$defs/city"}, "Rome"),
        ({"$ref": "https://example.com/elsewhere"}, "anything"),
        ({"unheardOf": 1}, "anything"),
        (True, "anything"),
    ],
)  # fmt: skip
def test_what_fits_passes(schema: Any, value: object) -> None:
    whole = {**of(v=schema), "$defs": {"city": STRING}}
    assert parsed(json.dumps({"v": value}), whole) == {"v": value}


@pytest.mark.parametrize(
    ("schema", "value", "said"),
    [
        (STRING, 5, "v must be string"),
        ({"type": "integer"}, True, "v must be integer"),
        ({"type": "integer"}, 2.5, "v must be integer"),
        ({"type": ["string", "null"]}, 5, "v must be string or null"),
        ({"enum": ["a", True]}, 1, 'v must be one of ["a", true]'),
        ({"const": 1}, 2, "v must be 1"),
        ({"minLength": 2}, "a", "v must have at least 2 characters"),
        ({"maxItems": 1}, [1, 2], "v must have at most 1 items"),
        ({"minProperties": 1}, {}, "v must have at least 1 properties"),
        ({"pattern": "^a$"}, "b", "v must match ^a$"),
        ({"format": "date"}, "tomorrow", "v must be a date like 2026-01-31"),
        ({"format": "uuid"}, "x", "v must be a UUID"),
        ({"minimum": 3}, 2, "v must be at least 3"),
        ({"exclusiveMaximum": 3}, 3, "v must be less than 3"),
        ({"multipleOf": 5}, 7, "v must be a multiple of 5"),
        ({"items": STRING}, ["a", 5], "v[1] must be string"),
        ({"prefixItems": [STRING]}, [5], "v[0] must be string"),
        ({"uniqueItems": True}, [1, 1.0], "v must not hold the same item twice"),
        ({"anyOf": [STRING, {"type": "null"}]}, 5, "v fits none of the allowed forms"),
        ({"oneOf": [{"minimum": 5}, {"minimum": 3}]}, 7, "v must fit exactly one of the allowed forms"),
        ({"allOf": [{"minimum": 1}]}, 0, "v must be at least 1"),
        ({"not": {"const": 1}}, 1, "v has a form that is not allowed"),
        ({"patternProperties": {"^x": STRING}}, {"x1": 5}, "v.x1 must be string"),
        ({"properties": {"in": STRING}, "required": ["in"]}, {}, "v.in is missing"),
        ({"additionalProperties": STRING}, {"a": 5}, "v.a must be string"),
        ({"$ref": "#/$defs/city"}, 5, "v must be string"),
        (False, 1, "v is not allowed"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_by_its_place(schema: Any, value: object, said: str) -> None:
    assert complaint({**of(v=schema), "$defs": {"city": STRING}}, {"v": value}) == said


def test_missing_and_unknown_parameters_are_named() -> None:
    schema = {**of(day=STRING, seats={"type": "integer"}), "required": ["day", "seats"]}
    said = complaint(schema, {"dya": "monday"})
    assert set(said.split("; ")) == {
        "day is missing", "seats is missing", "dya is not a parameter",
    }  # fmt: skip


def test_values_are_never_quoted() -> None:
    assert "4111" not in complaint(of(card={"type": "integer"}), {"card": "4111 1111 1111 1111"})


@pytest.mark.parametrize("text", ["", "  ", "{}"])
def test_no_arguments_are_an_empty_object(text: str) -> None:
    assert parsed(text, of()) == {}


@pytest.mark.parametrize(
    "text",
    ["{", "[1]", '"a"', "null", '{"a": NaN}', "[" * 100_000, "{" + " " * MAX_ARGUMENTS + "}"],
)
def test_what_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(ArgumentsRefusedError):
        parsed(text, {"type": "object"})


def test_a_schema_that_contains_itself_ends() -> None:
    schema = {**of(v={"$ref": "#/$defs/loop"}), "$defs": {"loop": {"$ref": "#/$defs/loop"}}}
    assert "nested too deeply" in complaint(schema, {"v": 1})


def test_equal_arguments_have_the_same_text() -> None:
    assert canonical({"a": 1, "b": ["ü"]}) == canonical({"b": ["ü"], "a": 1}) == '{"a":1,"b":["ü"]}'
