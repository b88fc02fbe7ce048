"""Whether what a model wrote fits a tool's JSON Schema, before any code of the tool runs.

The vocabulary that tool schemas are made of is checked: types, required and unknown properties, items, enums,
ranges, lengths, patterns, combinations and local references. A keyword that is not known here never refuses
anything. Complaints name places and rules, never values: they go to the model and into logs.
"""

from __future__ import annotations

import datetime
import json
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sized
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

MAX_ARGUMENTS: Final = 64 * 1024
"""Characters of JSON that one call may bring."""
MAX_COMPLAINTS: Final = 3
"""A model that reads three corrects the rest as well."""
_MAX_DEPTH: Final = 40

Json = Any  # whatever json.loads returns: this file is the place where it is looked at
Schema = Mapping[str, Json]


class ArgumentsRefusedError(ValueError):
    """The arguments are not JSON, no object, or do not fit. The text is meant for the model."""


def parsed(text: str, schema: Schema) -> dict[str, object]:
    """The arguments in `text`, checked against the schema of an object. Empty text is no arguments.

    Raises:
        ArgumentsRefusedError: they do not fit.
    """
    if len(text) > MAX_ARGUMENTS:
        raise ArgumentsRefusedError(f"arguments are longer than {MAX_ARGUMENTS} characters")
    try:
        given: Json = json.loads(text, parse_constant=_no_number) if text.strip() else {}
    except (ValueError, RecursionError) as error:
        raise ArgumentsRefusedError("arguments are not valid JSON") from error
    if not isinstance(given, dict):
        raise ArgumentsRefusedError("arguments must be a JSON object")
    complaints = [
        complaint
        for complaint, _ in zip(
            _check(given, schema, _Place(schema)), range(MAX_COMPLAINTS), strict=False
        )
    ]
    if complaints:
        raise ArgumentsRefusedError("; ".join(complaints))
    return given


def canonical(arguments: Mapping[str, object]) -> str:
    """The same text for equal arguments, whatever order or spaces they were written with."""
    return json.dumps(arguments, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _no_number(name: str) -> Json:
    raise ValueError(f"{name} is no JSON number")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in the arguments, and what `$ref` means there."""

    root: Schema
    path: str = ""
    depth: int = 0

    def inside(self, step: str | int) -> _Place:
        part = f"[{step}]" if isinstance(step, int) else f".{step}" if self.path else step
        return _Place(self.root, self.path + part, self.depth + 1)

    @property
    def deeper(self) -> _Place:
        return _Place(self.root, self.path, self.depth + 1)

    def says(self, what: str) -> str:
        return f"{self.path or 'arguments'} {what}"


def _check(value: Json, schema: Json, place: _Place) -> Iterator[str]:
    if schema is True or not isinstance(schema, Mapping):
        if schema is False:
            yield place.says("is not allowed")
        return
    if place.depth > _MAX_DEPTH:
        yield place.says("is nested too deeply")
        return
    kinds = _texts(schema.get("type"))
    if kinds and not any(_is_of(value, kind) for kind in kinds):
        yield place.says(f"must be {' or '.join(kinds)}")
        return
    for keyword, rule in schema.items():
        check = _RULES.get(keyword)
        if check is not None:
            yield from check(value, rule, schema, place)


def _fits(value: Json, schema: Json, place: _Place) -> bool:
    return next(_check(value, schema, place.deeper), None) is None


def _texts(value: Json) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_KINDS: Final[Mapping[str, Callable[[Json], bool]]] = {
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": _is_number,
    "integer": lambda value: _is_number(value) and float(value).is_integer(),
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
}


def _is_of(value: Json, kind: str) -> bool:
    known = _KINDS.get(kind)
    try:
        return known is None or known(value)
    except OverflowError:  # an integer beyond all floats is an integer
        return kind in {"integer", "number"}


def _equal(one: Json, other: Json) -> bool:
    """Equality of JSON, in which `1` is `1.0` and `true` is not `1`."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    return bool(one == other)


# --------------------------------------------------------------------------------------------- rules

_Rule = Callable[[Json, Json, Schema, _Place], Iterator[str]]


def _enum(value: Json, rule: Json, schema: Schema, place: _Place) -> Iterator[str]:
    del schema
    if isinstance(rule, list) and not any(_equal(value, each) for each in rule):
        yield place.says(f"must be one of {json.dumps(rule, ensure_ascii=False)[:300]}")


def _const(value: Json, rule: Json, schema: Schema, place: _Place) -> Iterator[str]:
    del schema
    if not _equal(value, rule):
        yield place.says(f"must be {json.dumps(rule, ensure_ascii=False)[:300]}")


def _required(value: Json, rule: Json, schema: Schema, place: _Place) -> Iterator[str]:
    del schema
    if isinstance(value, dict):
        for name in _texts(rule):
            if name not in value:
                yield place.inside(name).says("is missing")


def _properties(value: Json, rule: Json, schema: Schema, place: _Place) -> Iterator[str]:
    del schema
    if isinstance(value, dict) and isinstance(rule, Mapping):
        for name, inner in rule.items():
            if name in value:
                yield from _check(value[name], inner, place.inside(name))


def _pattern_properties(value: Json, rule: Json, schema: Schema, place: _Place) -> Iterator[str]:
    del schema
    if isinstance(value, dict) and isinstance(rule, Mapping):
        for pattern, inner in rule.items():
            for name, each in value.items():
                if _finds(pattern, name):
                    yield from _check(each, inner, place.inside(name))


def _additional(value: Json, rule: Json, schema: Schema, place: _Place) -> Iterator[str]:
    if not isinstance(value, dict):
        return
    named = schema.get("properties", {})
    patterns = schema.get("patternProperties", {})
    for name, each in value.items():
        if name in named or any(_finds(pattern, name) for pattern in patterns):
            continue
        if rule is False:
            yield place.inside(name[:64]).says("is not a parameter")
        else:
            yield from _check(each, rule, place.inside(name[:64]))


def _items(value: Json, rule: Json, schema: Schema, place: _Place) -> Iterator[str]:
    if isinstance(value, list):
        first = schema.get("prefixItems", ())
        for index, each in enumerate(value[len(first) :], len(first)):
            yield from _check(each, rule, place.inside(index))


def _prefix_items(value: Json, rule: Json, schema: Schema, place: _Place) -> Iterator[str]:
    del schema
    if isinstance(value, list) and isinstance(rule, list):
        for index, (each, inner) in enumerate(zip(value, rule, strict=False)):
            yield from _check(each, inner, place.inside(index))


def _unique(value: Json, rule: Json, schema: Schema, place: _Place) -> Iterator[str]:
    del schema
    if rule is True and isinstance(value, list):
        seen: list[Json] = []
        for each in value:
            if any(_equal(each, other) for other in seen):
                yield place.says("must not hold the same item twice")
                return
            seen.append(each)


def _any_of(value: Json, rule: Json, schema: Schema, place: _Place) -> Iterator[str]:
    del schema
    if isinstance(rule, list) and not any(_fits(value, each, place) for each in rule):
        yield place.says("fits none of the allowed forms")


def _one_of(value: Json, rule: Json, schema: Schema, place: _Place) -> Iterator[str]:
    del schema
    if isinstance(rule, list) and sum(_fits(value, each, place) for each in rule) != 1:
        yield place.says("must fit exactly one of the allowed forms")


def _all_of(value: Json, rule: Json, schema: Schema, place: _Place) -> Iterator[str]:
    del schema
    if isinstance(rule, list):
        for each in rule:
            yield from _check(value, each, place.deeper)


def _not(value: Json, rule: Json, schema: Schema, place: _Place) -> Iterator[str]:
    del schema
    if _fits(value, rule, place):
        yield place.says("has a form that is not allowed")


def _ref(value: Json, rule: Json, schema: Schema, place: _Place) -> Iterator[str]:
    del schema
    if not isinstance(rule, str) or not rule.startswith("#"):
        return  # only this schema's own definitions are at hand
    target: Json = place.root
    for step in rule[1:].split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        target = target.get(name) if isinstance(target, Mapping) else None
    if target is not None:
        yield from _check(value, target, place.deeper)


def _pattern(value: Json, rule: Json, schema: Schema, place: _Place) -> Iterator[str]:
    del schema
    if isinstance(value, str) and isinstance(rule, str) and not _finds(rule, value):
        yield place.says(f"must match {rule[:200]}")


@lru_cache(maxsize=512)
def _compiled(pattern: str) -> re.Pattern[str] | None:
    try:
        return re.compile(pattern)
    except re.error:
        return None  # written for another dialect of regular expressions


def _finds(pattern: str, text: str) -> bool:
    compiled = _compiled(pattern)
    return compiled is None or compiled.search(text) is not None


_FORMATS: Final[Mapping[str, tuple[Callable[[str], object], str]]] = {
    "date": (datetime.date.fromisoformat, "a date like 2026-01-31"),
    "date-time": (datetime.datetime.fromisoformat, "a time like 2026-01-31T09:30:00Z"),
    "time": (datetime.time.fromisoformat, "a time of day like 09:30:00"),
    "uuid": (uuid.UUID, "a UUID"),
}
"""The formats that our own schemas are written with; others are for the model to know."""


def _format(value: Json, rule: Json, schema: Schema, place: _Place) -> Iterator[str]:
    del schema
    if isinstance(value, str) and isinstance(rule, str) and rule in _FORMATS:
        read, words = _FORMATS[rule]
        try:
            read(value)
        except ValueError:
            yield place.says(f"must be {words}")


def _bound(holds: Callable[[Json, Json], bool], words: str) -> _Rule:
    def check(value: Json, rule: Json, schema: Schema, place: _Place) -> Iterator[str]:
        del schema
        if _is_number(value) and _is_number(rule) and not holds(value, rule):
            yield place.says(f"must be {words} {rule}")

    return check


def _size(kind: type[Sized], holds: Callable[[int, Json], bool], words: str, unit: str) -> _Rule:
    def check(value: Json, rule: Json, schema: Schema, place: _Place) -> Iterator[str]:
        del schema
        if isinstance(value, kind) and _is_number(rule) and not holds(len(value), rule):
            yield place.says(f"must have {words} {rule} {unit}")

    return check


def _is_multiple(value: Json, rule: Json) -> bool:
    try:
        share = value / rule
        return bool(abs(share - round(share)) < 1e-9)  # noqa: PLR2004 - 0.3 is a multiple of 0.1
    except (OverflowError, ZeroDivisionError):
        return True  # beyond what floats can tell


def _least(size: Json, bound: Json) -> bool:
    return bool(size >= bound)


def _most(size: Json, bound: Json) -> bool:
    return bool(size <= bound)


_RULES: Final[Mapping[str, _Rule]] = {
    "enum": _enum,
    "const": _const,
    "required": _required,
    "properties": _properties,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional,
    "items": _items,
    "prefixItems": _prefix_items,
    "uniqueItems": _unique,
    "anyOf": _any_of,
    "oneOf": _one_of,
    "allOf": _all_of,
    "not": _not,
    "$ref": _ref,
    "pattern": _pattern,
    "format": _format,
    "minimum": _bound(_least, "at least"),
    "maximum": _bound(_most, "at most"),
    "exclusiveMinimum": _bound(lambda value, rule: bool(value > rule), "more than"),
    "exclusiveMaximum": _bound(lambda value, rule: bool(value < rule), "less than"),
    "multipleOf": _bound(_is_multiple, "a multiple of"),
    "minLength": _size(str, _least, "at least", "characters"),
    "maxLength": _size(str, _most, "at most", "characters"),
    "minItems": _size(list, _least, "at least", "items"),
    "maxItems": _size(list, _most, "at most", "items"),
    "minProperties": _size(dict, _least, "at least", "properties"),
    "maxProperties": _size(dict, _most, "at most", "properties"),
}
