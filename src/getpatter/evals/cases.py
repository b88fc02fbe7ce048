"""What is tried with an agent: suites of cases, each a short conversation and what is expected of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from getpatter.agent import Agent

_YAML: Final = frozenset({".yaml", ".yml"})


@dataclass(frozen=True, slots=True)
class EvalTurn:
    """One thing that the caller says."""

    user: str
    expected_contains: tuple[str, ...] = ()
    """Texts that the answer must hold, capitals or not. Without one of them the case fails."""

    def __post_init__(self) -> None:
        given: object = self.expected_contains
        texts = (given,) if isinstance(given, str) else tuple(self.expected_contains)
        object.__setattr__(self, "expected_contains", texts)


@dataclass(frozen=True, slots=True)
class EvalCase:
    """One conversation, and how it is judged."""

    name: str
    turns: tuple[EvalTurn, ...]
    expected_behavior: str
    """What the agent should do, in a sentence or two, for the judge."""
    rubric: str
    """How the judge shall mark. Where this and `expected_behavior` are empty, no judge is asked."""
    tags: tuple[str, ...] = ()
    first_message: str = ""
    """What the agent says first; empty: its own first message."""
    agent: Agent | str | None = None
    """Who is tried in this case, instead of what the runner was given: an `Agent`, or where one is (`MODULE:ATTR`)."""
    llm_provider: object | None = None
    """The model of that agent in this case, such as a `ScriptedLLMProvider`, or where one is (`MODULE:ATTR`)."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "turns", tuple(self.turns))
        object.__setattr__(self, "tags", tuple(self.tags))


@dataclass(frozen=True, slots=True)
class EvalSuite:
    """Cases that are run together, in their order."""

    name: str
    cases: tuple[EvalCase, ...]
    metadata: Mapping[str, object] = field(default_factory=dict)
    """Anything of yours; it is part of the report."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "cases", tuple(self.cases))


def load_suite(path: str | Path) -> EvalSuite:
    """Read a suite from a file: JSON, or YAML (`.yaml`, `.yml`; extra `evals`).

    The fields are those of `EvalSuite`, `EvalCase` and `EvalTurn`. A turn may be just what the caller says.

    Raises:
        ValueError: the file is not as it should be; the text names file, case and field.
        OSError: it cannot be read.
        ImportError: it is YAML, and the extra is not installed.
    """
    path = Path(path)
    return _suite(_Place(str(path)), _parsed(path))


def _parsed(path: Path) -> object:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8") from error
    if path.suffix.lower() not in _YAML:
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}: not JSON: {error}") from error
    yaml = _yaml()
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a date may be impossible
        raise ValueError(f"{path}: not YAML: {' '.join(str(error).split())}") from error


def _yaml() -> Any:
    try:
        return import_module("yaml")
    except ImportError as error:
        raise ImportError(
            "a suite in YAML needs PyYAML: pip install 'getpatter[evals]', or write it in JSON"
        ) from error


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in a file something stands, for errors."""

    file: str
    case: str = ""
    field: str = ""

    def of(self, name: str) -> _Place:
        return _Place(self.file, self.case, f"{self.field}.{name}" if self.field else name)

    def item(self, number: int) -> _Place:
        return _Place(self.file, self.case, f"{self.field}[{number}]")

    def wrong(self, what: str) -> ValueError:
        case = f" case {self.case!r}:" if self.case else ""
        name = f" {self.field}" if self.field else ""
        return ValueError(f"{self.file}:{case}{name} {what}")


def _suite(place: _Place, given: object) -> EvalSuite:
    fields = _mapping(place, given, ("name", "cases"), ("metadata",))
    listed = _list(place.of("cases"), fields["cases"])
    cases: list[EvalCase] = []
    for number, each in enumerate(listed):
        case = _case(place, number, each)
        if any(case.name == other.name for other in cases):
            raise _Place(place.file, case.name, "name").wrong("is that of two cases")
        cases.append(case)
    metadata = fields.get("metadata") or {}
    if not isinstance(metadata, Mapping):
        raise place.of("metadata").wrong(f"must be a mapping, not {_kind(metadata)}")
    name = _text(place.of("name"), fields["name"], may_be_empty=False)
    return EvalSuite(name, tuple(cases), {str(key): each for key, each in metadata.items()})


_OF_A_CASE: Final = ("name", "turns", "expected_behavior", "rubric")
_MORE_OF_A_CASE: Final = ("tags", "first_message", "agent", "llm_provider")


def _case(place: _Place, number: int, given: object) -> EvalCase:
    name = given.get("name") if isinstance(given, Mapping) else None
    place = _Place(place.file, name if isinstance(name, str) and name else f"number {number + 1}")
    fields = _mapping(place, given, _OF_A_CASE, _MORE_OF_A_CASE)
    turns = place.of("turns")
    return EvalCase(
        name=_text(place.of("name"), fields["name"], may_be_empty=False),
        turns=tuple(
            _turn(turns.item(index), each)
            for index, each in enumerate(_list(turns, fields["turns"]))
        ),
        expected_behavior=_text(place.of("expected_behavior"), fields["expected_behavior"]),
        rubric=_text(place.of("rubric"), fields["rubric"]),
        tags=_texts(place.of("tags"), fields.get("tags")),
        first_message=_text(place.of("first_message"), fields.get("first_message") or ""),
        agent=_reference(place.of("agent"), fields.get("agent")),
        llm_provider=_reference(place.of("llm_provider"), fields.get("llm_provider")),
    )


def _turn(place: _Place, given: object) -> EvalTurn:
    if isinstance(given, str):
        return EvalTurn(_text(place, given, may_be_empty=False))
    fields = _mapping(place, given, ("user",), ("expected_contains",))
    said = _text(place.of("user"), fields["user"], may_be_empty=False)
    expected = place.of("expected_contains")
    return EvalTurn(said, _texts(expected, fields.get("expected_contains")))


def _mapping(
    place: _Place, given: object, needed: Sequence[str], allowed: Sequence[str]
) -> Mapping[Any, Any]:
    if not isinstance(given, Mapping):
        raise place.wrong(f"must be a mapping, not {_kind(given)}")
    for name in needed:
        if name not in given:
            raise place.of(name).wrong("is missing")
    for name in given:
        if name not in needed and name not in allowed:
            known = ", ".join((*needed, *allowed))
            raise place.of(str(name)).wrong(f"is unknown; there are {known}")
    return given


def _list(place: _Place, given: object) -> Sequence[object]:
    if not isinstance(given, list):
        raise place.wrong(f"must be a list, not {_kind(given)}")
    if not given:
        raise place.wrong("must not be empty")
    return given


def _text(place: _Place, given: object, *, may_be_empty: bool = True) -> str:
    if not isinstance(given, str):
        raise place.wrong(f"must be a text, not {_kind(given)}")
    if not may_be_empty and not given.strip():
        raise place.wrong("must not be empty")
    return given


def _texts(place: _Place, given: object) -> tuple[str, ...]:
    if given is None:
        return ()
    if isinstance(given, str):
        return (_text(place, given, may_be_empty=False),)
    if not isinstance(given, list):
        raise place.wrong(f"must be a text or a list of texts, not {_kind(given)}")
    return tuple(
        _text(place.item(index), each, may_be_empty=False) for index, each in enumerate(given)
    )


def _reference(place: _Place, given: object) -> str | None:
    if given is None:
        return None
    text = _text(place, given)
    module, _, attribute = text.partition(":")
    if not module or not attribute:
        raise place.wrong(f"must be MODULE:ATTR, not {text!r}")
    return text


_KINDS: Final[Mapping[type, str]] = {
    type(None): "nothing",
    bool: "a yes or no (quote it)",
    int: "a number (quote it)",
    float: "a number (quote it)",
    str: "a text",
    list: "a list",
    dict: "a mapping",
}


def _kind(given: object) -> str:
    return _KINDS.get(type(given), type(given).__name__)
