"""Declaring tools and guardrails."""

from __future__ import annotations

import dataclasses
import datetime
import functools
from collections.abc import AsyncIterator
from enum import Enum, IntEnum
from typing import Annotated, Any, Literal, NotRequired, Optional, TypedDict

import pytest

from getpatter.errors import ToolSchemaError
from getpatter.tools import (
    DEFAULT_REPLACEMENT,
    Guardrail,
    Tool,
    define_tool,
    guardrail,
    guardrail_from,
    tool,
    tool_from,
)

CTX = {"call_id": "c1"}
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def handler(args: dict[str, object], ctx: dict[str, object]) -> object:
    return {"args": args, "ctx": ctx}


def properties(made: Tool) -> dict[str, Any]:
    found = made.schema["properties"]
    assert isinstance(found, dict)
    return found


def run(made: Tool, **args: object) -> Any:
    assert made.handler is not None
    return made.handler(args, CTX)


# ---------------------------------------------------------------------------------------------- Tool


def test_a_tool_takes_no_parameters_unless_told() -> None:
    made = Tool(name="now", handler=handler)
    assert made.parameters is None
    assert made.schema == {"type": "object", "properties": {}, "required": []}
    assert made.effect == "write"


def test_exactly_one_of_handler_and_webhook() -> None:
    with pytest.raises(ValueError, match="needs a handler or a webhook_url"):
        Tool(name="x")
    with pytest.raises(ValueError, match="only one of them"):
        Tool(name="x", handler=handler, webhook_url="https://example.com")


@pytest.mark.parametrize("name", ["", "two words", "a" * 65, "dot.dot", "è", "new\n"])
def test_names_that_models_refuse(name: str) -> None:
    with pytest.raises(ValueError, match="not valid"):
        Tool(name=name, handler=handler)


@pytest.mark.parametrize("name", ["a", "A-b_9", "a" * 64])
def test_names_that_models_take(name: str) -> None:
    assert Tool(name=name, handler=handler).name == name


@pytest.mark.parametrize(
    "parameters",
    [
        "city",
        ["city"],
        {},
        {"type": "string"},
        {"type": "object", "properties": []},
        {"type": "object", "properties": {"a": "string"}},
        {"type": "object", "properties": {1: {}}},
        {"type": "object", "required": "city"},
        {"type": "object", "required": [1]},
        {"type": "object", "default": object()},
        {"type": "object", "default": float("nan")},
    ],
)
def test_parameters_must_be_an_object_schema(parameters: Any) -> None:
    with pytest.raises(ToolSchemaError, match="JSON Schema"):
        Tool(name="x", handler=handler, parameters=parameters)


def test_later_changes_of_the_given_schema_change_nothing() -> None:
    given: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "string"}}}
    made = Tool(name="x", handler=handler, parameters=given)
    given["properties"]["b"] = {}
    made.schema["properties"] = {}
    assert list(properties(made)) == ["a"]


@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        ({"handler": "no function"}, TypeError, "handler must be a function"),
        ({"description": 3}, TypeError, "description must be a str"),
        ({"strict": "yes"}, TypeError, "strict must be a bool"),
        ({"timeout_s": "5"}, TypeError, "timeout_s must be seconds"),
        ({"timeout_s": True}, TypeError, "timeout_s must be seconds"),
        ({"timeout_s": 0.01}, ValueError, "0.1 to 300"),
        ({"timeout_s": 301}, ValueError, "301"),
        ({"reassurance": 5}, TypeError, "reassurance must be"),
        ({"reassurance": {"after_ms": 5}}, ValueError, "needs a 'message'"),
        ({"reassurance": {"message": "m", "after_ms": -1}}, ValueError, "0 or more"),
        ({"reassurance": {"message": "m", "after": 1}}, ValueError, "not \\['after'\\]"),
        ({"effect": "magic"}, ValueError, "magic"),
        ({"name": 5}, TypeError, "name must be a str"),
    ],
)
def test_wrong_fields(wrong: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        Tool(**{"name": "x", "handler": handler, **wrong})


@pytest.mark.parametrize("url", ["ftp://example.com", "example.com", "https://"])
def test_webhooks_are_web_addresses_and_stay_out_of_the_error(url: str) -> None:
    with pytest.raises(ValueError, match="must look like") as caught:
        Tool(name="x", webhook_url=f"{url}?token=s3cret" if url != "https://" else url)
    assert "s3cret" not in str(caught.value)


def test_reassurance_in_both_forms() -> None:
    assert Tool(name="x", handler=handler).reassurance_text == ""
    short = Tool(name="x", handler=handler, reassurance="One moment.")
    assert (short.reassurance_text, short.reassurance_after_ms) == ("One moment.", 1500)
    long = Tool(name="x", handler=handler, reassurance={"message": "Wait.", "after_ms": 300})
    assert (long.reassurance_text, long.reassurance_after_ms) == ("Wait.", 300)


def test_tools_are_frozen_and_hashable() -> None:
    made = Tool(name="x", handler=handler, parameters=CITY, reassurance={"message": "m"})
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.name = "y"  # type: ignore[misc]
    assert len({made, Tool(name="x", handler=handler, parameters=CITY)}) >= 1


def test_dicts_with_the_same_field_names() -> None:
    made = tool_from({"name": "x", "handler": handler, "parameters": CITY, "timeout_s": 5})
    assert made == Tool(name="x", handler=handler, parameters=CITY, timeout_s=5)
    assert tool_from(made) is made
    with pytest.raises(ValueError, match="unknown keys \\['func'\\]"):
        tool_from({"name": "x", "func": handler})
    with pytest.raises(ValueError, match="not valid"):
        tool_from({"handler": handler})
    with pytest.raises(TypeError, match="@tool or a dict"):
        tool_from(handler)


# ------------------------------------------------------------------------------------------- factory


def test_the_factory_takes_the_fields() -> None:
    made = tool(name="x", description="d", parameters=CITY, handler=handler, strict=True)
    assert made == Tool("x", "d", CITY, handler, strict=True)
    assert tool(name="x", webhook_url="https://example.com/x").webhook_url
    with pytest.raises(TypeError, match="unexpected keyword argument 'handlr'"):
        tool(name="x", handlr=handler)  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="not valid"):
        tool(handler=handler)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="needs a function"):
        tool(5)  # type: ignore[call-overload]


class Size(Enum):
    SMALL = "small"
    LARGE = "large"


class Floor(IntEnum):
    GROUND = 0
    FIRST = 1


@dataclasses.dataclass
class Guest:
    name: str
    age: int = 0


class Extras(TypedDict):
    wine: bool
    note: NotRequired[str]


@tool
def everything(  # type: ignore[no-untyped-def] # noqa: PLR0917 - one parameter of each kind
    name: str,
    seats: int,
    price: float,
    vip: bool,
    when: datetime.datetime,
    size: Size,
    floor: Floor,
    guest: Guest,
    extras: Extras,
    kind: Literal["lunch", "dinner"],
    tags: list[str],
    ids: set[int],
    pair: tuple[int, int],
    many: tuple[str, ...],
    table: dict[str, float],
    either: int | str,
    maybe: Optional[str],  # noqa: UP045 - the older spelling has to work
    described: Annotated[int, "How many"],
    anything: Any,
    untyped,
    choice: Literal["a", "b"] | None = None,
    default: int = 7,
    best: Size = Size.LARGE,
) -> str:
    """Everything."""
    return repr((when, size, floor, guest, ids, pair))


def test_every_type_has_its_schema() -> None:
    found = properties(everything)
    assert found == {
        "name": {"type": "string"},
        "seats": {"type": "integer"},
        "price": {"type": "number"},
        "vip": {"type": "boolean"},
        "when": {"type": "string", "format": "date-time"},
        "size": {"type": "string", "enum": ["small", "large"]},
        "floor": {"type": "integer", "enum": [0, 1]},
        "guest": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
            "required": ["name"],
            "additionalProperties": False,
        },
        "extras": {
            "type": "object",
            "properties": {"wine": {"type": "boolean"}, "note": {"type": "string"}},
            "required": ["wine"],
            "additionalProperties": False,
        },
        "kind": {"type": "string", "enum": ["lunch", "dinner"]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "ids": {"type": "array", "items": {"type": "integer"}, "uniqueItems": True},
        "pair": {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2},
        "many": {"type": "array", "items": {"type": "string"}},
        "table": {"type": "object", "additionalProperties": {"type": "number"}},
        "either": {"type": ["integer", "string"]},
        "maybe": {"type": ["string", "null"]},
        "described": {"type": "integer", "description": "How many"},
        "anything": {},
        "untyped": {},
        "choice": {"type": ["string", "null"], "enum": ["a", "b", None]},
        "default": {"type": "integer", "default": 7},
        "best": {"type": "string", "enum": ["small", "large"], "default": "large"},
    }
    required = everything.schema["required"]
    assert isinstance(required, list)
    assert required == [name for name in found if name not in {"choice", "default", "best"}]


def test_values_come_as_the_types_of_the_signature() -> None:
    result = run(
        everything,
        name="n", seats=1, price=1, vip=True, when="2026-01-02T03:04:05", size="small", floor=1,
        guest={"name": "Ann"}, extras={"wine": True}, kind="lunch", tags=[], ids=[1, 1], pair=[1, 2],
        many=[], table={}, either=1, maybe=None, described=1, anything=None, untyped=None,
    )  # fmt: skip
    expected = (
        datetime.datetime(2026, 1, 2, 3, 4, 5),  # noqa: DTZ001 - as the model gave it
        Size.SMALL, Floor.FIRST, Guest("Ann"), {1}, (1, 2),
    )  # fmt: skip
    assert result == repr(expected)


def test_a_value_that_does_not_fit_is_named_but_not_shown() -> None:
    @tool
    def pick(size: Size) -> None:
        """Pick."""

    with pytest.raises(ValueError, match=r"^size: ") as caught:
        run(pick, size="s3cret")
    assert isinstance(caught.value, ValueError)


def test_local_types_and_names_are_understood() -> None:
    class Colour(Enum):
        RED = "red"

    @tool(timeout_s=5, description="Chosen text")
    def paint(colour: Colour) -> object:
        """Not this text."""
        return colour

    assert (paint.name, paint.description, paint.timeout_s) == ("paint", "Chosen text", 5)
    assert run(paint, colour="red") is Colour.RED


def test_other_names_in_the_decorator_win() -> None:
    made = tool(name="other", parameters=CITY)(lambda city: city)
    assert (made.name, made.schema) == ("other", CITY)


async def test_async_functions_get_keywords_and_context() -> None:
    @tool
    async def book(seats: int, ctx: dict[str, object]) -> object:
        """Book."""
        return seats, ctx["call_id"]

    assert list(properties(book)) == ["seats"]
    assert await run(book, seats=2) == (2, "c1")


async def test_async_generators_stay_generators() -> None:
    @tool
    async def search(what: str) -> AsyncIterator[object]:
        """Search."""
        yield {"progress": what}
        yield {"result": 1}

    assert [step async for step in run(search, what="x")] == [{"progress": "x"}, {"result": 1}]


async def test_methods_partials_and_callable_objects() -> None:
    class Desk:
        """A desk."""

        def book(self, seats: int) -> int:
            """Book seats."""
            return seats

        async def __call__(self, seats: int) -> int:
            """Call the desk."""
            return -seats

    assert run(tool(Desk().book), seats=2) == 2
    assert list(properties(tool(Desk().book))) == ["seats"]
    assert await run(tool(name="desk")(Desk()), seats=2) == -2
    partial = functools.partial(Desk().book, seats=5)
    assert run(tool(partial)) == 5
    assert tool(partial).name == "book"


def test_other_keywords_are_allowed_if_the_function_takes_them() -> None:
    @tool
    def loose(a: int, **more: object) -> object:
        """Loose."""
        return a, more

    assert loose.schema["additionalProperties"] is True
    assert run(loose, a=1, b=2) == (1, {"b": 2})


class Loop:
    """No schema can be made of it."""


@dataclasses.dataclass
class Node:
    child: Node | None = None


def positional(a: int, /) -> None:
    """Positional."""


def variadic(*a: int) -> None:
    """Variadic."""


def unknown_type(a: Loop) -> None:
    """Unknown."""


def recursive(a: Node) -> None:
    """Recursive."""


def bytes_in(a: bytes) -> None:
    """Bytes."""


def unresolved(a: Missing) -> None:  # type: ignore[name-defined] # noqa: F821
    """Unresolved."""


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (positional, "cannot be given by name"),
        (variadic, "cannot be given by name"),
        (unknown_type, "parameter 'a': a Loop has no JSON Schema"),
        (recursive, "contains itself"),
        (bytes_in, "bytes"),
        (unresolved, "'Missing' is not known"),
    ],
)
def test_what_no_model_can_fill_in(function: Any, says: str) -> None:
    with pytest.raises(ToolSchemaError, match=says):
        tool(function)


# ---------------------------------------------------------------------------------------- docstrings


def google(city: str, day: str = "") -> None:
    """Tell the weather.

    It may be wrong.

    Args:
        city (str): Where: the
            whole name.
        day: When.

    Returns:
        Nothing.
    """


def numpy_style(city: str, day: str = "") -> None:
    """Tell the weather.

    It may be wrong.

    Parameters
    ----------
    city : str
        Where: the
        whole name.
    day
        When.

    Returns:
    -------
    None
    """


def rest(city: str, day: str = "") -> None:
    """Tell the weather.

    It may be wrong.

    :param city: Where: the
        whole name.
    :type city: str
    :param str day: When.
    :returns: Nothing.
    """


@pytest.mark.parametrize("function", [google, numpy_style, rest])
def test_docstrings_of_every_style(function: Any) -> None:
    made = tool(function)
    assert made.description == "Tell the weather.\n\nIt may be wrong."
    assert {name: schema["description"] for name, schema in properties(made).items()} == {
        "city": "Where: the whole name.",
        "day": "When.",
    }


def test_without_a_docstring_there_is_no_description() -> None:
    def bare(a: int) -> None: ...

    assert tool(bare).description == ""


# --------------------------------------------------------------------------------------- define_tool


def test_schema_first() -> None:
    made = define_tool(
        "book",
        "Book a table.",
        {
            "name": "string",
            "seats": int,
            "tags": list[str],
            "day": {"type": "string", "enum": ["today"], "required": False},
            "time": {"type": "string", "default": "noon"},
            "note": "Anything else",
        },
        handler,
    )
    assert made.schema == {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "seats": {"type": "integer"},
            "tags": {"type": "array", "items": {"type": "string"}},
            "day": {"type": "string", "enum": ["today"]},
            "time": {"type": "string", "default": "noon"},
            "note": {"type": "string", "description": "Anything else"},
        },
        "required": ["name", "seats", "tags", "note"],
    }
    with pytest.raises(ToolSchemaError):
        define_tool("x", "", ["a"], handler)  # type: ignore[arg-type]
    with pytest.raises(ToolSchemaError, match="parameter 'a'"):
        define_tool("x", "", {"a": 5}, handler)


# ---------------------------------------------------------------------------------------- guardrails


def test_guardrails_need_something_to_block() -> None:
    with pytest.raises(ValueError, match="blocked_terms or a check"):
        Guardrail(name="x")
    with pytest.raises(ValueError, match="blocked_terms or a check"):
        Guardrail(name="x", blocked_terms=[])
    with pytest.raises(TypeError, match="list of words"):
        Guardrail(name="x", blocked_terms="sue")
    with pytest.raises(TypeError, match="must be a text"):
        Guardrail(name="x", blocked_terms=[5])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="empty"):
        Guardrail(name="x", blocked_terms=["sue", " "])
    with pytest.raises(TypeError, match="check must be a function"):
        Guardrail(name="x", check="no")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="replacement must be a text"):
        Guardrail(name="x", blocked_terms=["a"], replacement=None)  # type: ignore[arg-type]


def test_terms_are_copied() -> None:
    terms = ["sue"]
    made = Guardrail(name="x", blocked_terms=terms)
    terms.append("more")
    assert made.blocked_terms == ("sue",)
    assert made.replacement == DEFAULT_REPLACEMENT


def test_the_same_from_factory_and_dict() -> None:
    made = Guardrail(name="x", blocked_terms=["sue"], replacement="No.")
    assert guardrail(name="x", blocked_terms=["sue"], replacement="No.") == made
    assert guardrail_from({"name": "x", "blocked_terms": ["sue"], "replacement": "No."}) == made
    assert guardrail_from(made) is made
    with pytest.raises(ValueError, match="unknown keys"):
        guardrail_from({"name": "x", "terms": ["sue"]})
    with pytest.raises(TypeError):
        guardrail_from("sue")
