"""What a person declares about an agent's hands and limits: tools and guardrails.

```python
@tool
async def book(date: datetime.date, seats: int = 2) -> str:
    \"\"\"Book a table.\"\"\"

no_law = Guardrail(name="no legal advice", blocked_terms=["sue", "legal advice"])
```
"""

# What a program hands over is unknown until it has been checked, and here is where it is checked.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnnecessaryIsInstance=false
from __future__ import annotations

import copy
import dataclasses
import inspect
import json
import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias, overload
from urllib.parse import urlsplit

from getpatter.errors import ToolSchemaError
from getpatter.tool_schema import FunctionSchema, JsonSchema, function_schema, type_schema
from getpatter.types import shown_url

Effect: TypeAlias = Literal["read", "write", "irreversible"]
Reassurance: TypeAlias = str | Mapping[str, object]

TOOL_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
DEFAULT_REASSURANCE_AFTER_MS: Final = 1500
DEFAULT_REPLACEMENT: Final = "I'm sorry, I can't respond to that."

_TIMEOUT_RANGE: Final = (0.1, 300.0)
_EFFECTS: Final = ("read", "write", "irreversible")
_JSON_TYPES: Final = frozenset(
    {"string", "integer", "number", "boolean", "object", "array", "null"}
)


@dataclass(frozen=True, slots=True)
class Tool:
    """Something that the model may do during a call.

    Raises:
        ValueError: A field is wrong, or not exactly one of `handler` and `webhook_url` is given.
        ToolSchemaError: `parameters` is not the JSON Schema of an object.
        TypeError: A field has the wrong type.
    """

    name: str
    """Letters, digits, `_` and `-`, at most 64."""
    description: str = ""
    """Tells the model what the tool does and when to use it."""
    parameters: Mapping[str, object] | None = field(default=None, hash=False)
    """JSON Schema of an object; `None` takes no parameters. Copied."""
    handler: Callable[..., object] | None = None
    """`handler(args, ctx)`, sync or async, both dicts."""
    webhook_url: str = ""
    """`http(s)` address that is asked instead of a handler."""
    strict: bool = False
    """Let providers that can hold the model to the schema do so."""
    reassurance: Reassurance | None = field(default=None, hash=False)
    """Said when the tool takes long: a text, or `{"message", "after_ms"}` (1500 when left out)."""
    timeout_s: float | None = None
    """0.1 to 300; `None` is 30 for handlers and 10 for webhooks."""
    cancel_on_interrupt: bool = False
    """Stop the tool when the caller interrupts, instead of letting it finish."""
    effect: Effect = "write"
    """What running it does to the world: nothing (`read`), something, or something that cannot be undone."""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise TypeError(f"Tool name must be a str, not {type(self.name).__name__}")
        if not TOOL_NAME.fullmatch(self.name):
            raise ValueError(
                f"Tool name {self.name!r} is not valid: use 1 to 64 letters, digits, '_' or '-'"
            )
        _check_types(self)
        _check_target(self)
        _check_timing(self)
        if self.effect not in _EFFECTS:
            raise ValueError(f"Tool {self.name!r}: effect {self.effect!r} is none of {_EFFECTS}")
        object.__setattr__(self, "parameters", _checked_parameters(self.name, self.parameters))
        if isinstance(self.reassurance, Mapping):
            object.__setattr__(self, "reassurance", dict(self.reassurance))

    def __repr__(self) -> str:
        values = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        values["webhook_url"] = shown_url(self.webhook_url)
        return f"Tool({', '.join(f'{name}={value!r}' for name, value in values.items())})"

    @property
    def schema(self) -> JsonSchema:
        """`parameters`, or the schema of an object without any. A copy."""
        if self.parameters is None:
            return {"type": "object", "properties": {}, "required": []}
        return copy.deepcopy(dict(self.parameters))

    @property
    def reassurance_text(self) -> str:
        """What is said when the tool takes long; empty for nothing."""
        told = self.reassurance
        return str(told.get("message", "")) if isinstance(told, Mapping) else told or ""

    @property
    def reassurance_after_ms(self) -> float:
        """How long the tool may take before that is said."""
        told = self.reassurance if isinstance(self.reassurance, Mapping) else {}
        after = told.get("after_ms", DEFAULT_REASSURANCE_AFTER_MS)
        assert isinstance(after, int | float)
        return float(after)


def _check_types(tool: Tool) -> None:
    wanted: tuple[tuple[str, type], ...] = (
        ("description", str),
        ("webhook_url", str),
        ("strict", bool),
        ("cancel_on_interrupt", bool),
    )
    for name, kind in wanted:
        value = getattr(tool, name)
        if not isinstance(value, kind):
            raise TypeError(
                f"Tool {tool.name!r}: {name} must be a {kind.__name__}, not {type(value).__name__}"
            )
    if tool.handler is not None and not callable(tool.handler):
        raise TypeError(
            f"Tool {tool.name!r}: handler must be a function, not {type(tool.handler).__name__}"
        )


def _check_target(tool: Tool) -> None:
    if tool.handler is None and not tool.webhook_url:
        raise ValueError(f"Tool {tool.name!r} needs a handler or a webhook_url: give one of them")
    if tool.handler is not None and tool.webhook_url:
        raise ValueError(
            f"Tool {tool.name!r} has a handler and a webhook_url: give only one of them"
        )
    if tool.webhook_url:
        # The address may carry a token, so the error does not show it.
        parts = urlsplit(tool.webhook_url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(
                f"Tool {tool.name!r}: webhook_url must look like https://example.com/tools/{tool.name}"
            )


def _check_timing(tool: Tool) -> None:
    low, high = _TIMEOUT_RANGE
    if tool.timeout_s is not None:
        if not _is_number(tool.timeout_s):
            raise TypeError(
                f"Tool {tool.name!r}: timeout_s must be seconds, not {type(tool.timeout_s).__name__}"
            )
        if not low <= tool.timeout_s <= high:
            raise ValueError(
                f"Tool {tool.name!r}: timeout_s is {tool.timeout_s}; it must be {low} to {high:g} seconds"
            )
    told: object = tool.reassurance
    if isinstance(told, Mapping):
        _check_reassurance(tool.name, told)
    elif told is not None and not isinstance(told, str):
        raise TypeError(
            f"Tool {tool.name!r}: reassurance must be a text or "
            f"{{'message': ..., 'after_ms': ...}}, not {type(told).__name__}"
        )


def _check_reassurance(name: str, told: Mapping[str, object]) -> None:
    if unknown := set(told) - {"message", "after_ms"}:
        raise ValueError(
            f"Tool {name!r}: reassurance knows 'message' and 'after_ms', not {sorted(map(str, unknown))}"
        )
    message = told.get("message")
    if not isinstance(message, str) or not message:
        raise ValueError(f"Tool {name!r}: reassurance needs a 'message' to say")
    after = told.get("after_ms", DEFAULT_REASSURANCE_AFTER_MS)
    if not isinstance(after, int | float) or isinstance(after, bool) or after < 0:
        raise ValueError(
            f"Tool {name!r}: reassurance 'after_ms' is {after!r}; it must be milliseconds, 0 or more"
        )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _checked_parameters(name: str, parameters: object) -> JsonSchema | None:
    """A copy of `parameters` that nobody else holds, or None when there are none."""
    if parameters is None:
        return None

    def wrong(what: str) -> ToolSchemaError:
        return ToolSchemaError(
            f"Tool {name!r}: parameters {what}; they must be a JSON Schema such as "
            "{'type': 'object', 'properties': {'city': {'type': 'string'}}, 'required': ['city']}"
        )

    if not isinstance(parameters, Mapping):
        raise wrong(f"are a {type(parameters).__name__}")
    if parameters.get("type") != "object":
        raise wrong(f"have type {parameters.get('type')!r}")
    properties = parameters.get("properties", {})
    if not isinstance(properties, Mapping):
        raise wrong("have 'properties' that are no object")
    for key, schema in properties.items():
        if not isinstance(key, str) or not isinstance(schema, Mapping | bool):
            raise wrong(f"have a property {key!r} whose schema is no object")
    required = parameters.get("required", [])
    if not isinstance(required, list | tuple) or not all(
        isinstance(each, str) for each in required
    ):
        raise wrong("have a 'required' that is no list of names")
    try:
        copied: JsonSchema = json.loads(json.dumps(dict(parameters), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as exc:
        raise wrong("cannot be written as JSON") from exc
    return copied


# ------------------------------------------------------------------------------------------ functions


@overload
def tool(function: Callable[..., object], /) -> Tool: ...


@overload
def tool(
    *,
    name: str,
    description: str = ...,
    parameters: Mapping[str, object] | None = ...,
    handler: Callable[..., object],
    strict: bool = ...,
    reassurance: Reassurance | None = ...,
    timeout_s: float | None = ...,
    cancel_on_interrupt: bool = ...,
    effect: Effect = ...,
) -> Tool: ...


@overload
def tool(
    *,
    name: str,
    description: str = ...,
    parameters: Mapping[str, object] | None = ...,
    webhook_url: str,
    strict: bool = ...,
    reassurance: Reassurance | None = ...,
    timeout_s: float | None = ...,
    cancel_on_interrupt: bool = ...,
    effect: Effect = ...,
) -> Tool: ...


@overload
def tool(
    *,
    name: str = ...,
    description: str = ...,
    parameters: Mapping[str, object] | None = ...,
    strict: bool = ...,
    reassurance: Reassurance | None = ...,
    timeout_s: float | None = ...,
    cancel_on_interrupt: bool = ...,
    effect: Effect = ...,
) -> Callable[[Callable[..., object]], Tool]: ...


def tool(
    function: Callable[..., object] | None = None, /, **options: object
) -> Tool | Callable[[Callable[..., object]], Tool]:
    """Make a `Tool`, or make a function one.

    `tool(name=..., handler=...)` and `tool(name=..., webhook_url=...)` take the fields of `Tool`. As a
    decorator, `@tool` or `@tool(timeout_s=5)`, it reads name, description and parameters from the function;
    what is given wins. The function is called with keyword arguments of its own types, and with `ctx` if it
    names it.

    Raises:
        ToolSchemaError: A parameter of the function has no JSON Schema.
        TypeError: Unknown keyword, or something that is not a function was decorated.
        ValueError: As for `Tool`.
    """
    _refuse_unknown(options)
    frame = inspect.currentframe()
    around = frame.f_back.f_locals if frame and frame.f_back else {}  # what annotations may mean
    if function is not None:
        return _from_function(function, around, options)
    if options.get("handler") is not None or options.get("webhook_url"):
        options.setdefault("name", "")
        return _make(options)
    return lambda decorated: _from_function(decorated, around, options)


def define_tool(
    name: str,
    description: str,
    parameters: Mapping[str, object],
    handler: Callable[..., object],
) -> Tool:
    """Make a tool from one line per parameter.

    Each value is a JSON Schema, the name of a JSON type (`"string"`), a Python type (`int`, `list[str]`) or a
    text that describes a string. A parameter is required unless its schema has a `default` or says
    `"required": False` or `"optional": True`.

    Raises:
        ToolSchemaError: A parameter's line is none of these.
    """
    if not isinstance(parameters, Mapping):
        raise ToolSchemaError(
            f"Tool {name!r}: parameters must be a dict of name and schema, not {type(parameters).__name__}"
        )
    properties: dict[str, object] = {}
    required: list[str] = []
    for key, spec in parameters.items():
        schema = _schema_of_line(spec, f"tool {name!r}: parameter {key!r}")
        needed = schema.pop("required", True) if schema.get("type") != "object" else True
        optional = schema.pop("optional", False)
        if needed is not False and not optional and "default" not in schema:
            required.append(key)
        properties[key] = schema
    whole: JsonSchema = {"type": "object", "properties": properties, "required": required}
    return Tool(name, description, whole, handler)


def tool_from(value: object) -> Tool:
    """`value` if it is a `Tool`, or the tool that a dict with the same field names describes.

    Raises:
        TypeError: It is neither.
        ValueError: A key is unknown or a field is wrong.
    """
    if isinstance(value, Tool):
        return value
    if not isinstance(value, Mapping):
        raise TypeError(
            f"a tool must be a Tool, a function decorated with @tool or a dict, not {type(value).__name__}"
        )
    known = {each.name for each in dataclasses.fields(Tool)}
    if unknown := set(value) - known:
        raise ValueError(
            f"tool {value.get('name', '')!r}: unknown keys {sorted(map(str, unknown))}; "
            f"known are {sorted(known)}"
        )
    return _make({"name": "", **value})


def _make(options: Mapping[str, object]) -> Tool:
    return Tool(**options)  # type: ignore[arg-type] # Tool checks every field


def _refuse_unknown(options: Mapping[str, object]) -> None:
    known = {each.name for each in dataclasses.fields(Tool)}
    if unknown := sorted(set(options) - known):
        raise TypeError(f"tool() got an unexpected keyword argument {unknown[0]!r}")


def _schema_of_line(spec: object, where: str) -> JsonSchema:
    if isinstance(spec, Mapping):
        return dict(spec)
    if isinstance(spec, str):
        return {"type": spec} if spec in _JSON_TYPES else {"type": "string", "description": spec}
    return type_schema(spec, where)


def _from_function(
    function: Callable[..., object], around: Mapping[str, object], options: Mapping[str, object]
) -> Tool:
    if not callable(function):
        raise TypeError(f"@tool needs a function, not {type(function).__name__}")
    read = function_schema(function, around)
    fields: dict[str, object] = {
        "name": read.name,
        "description": read.description,
        "parameters": read.parameters,
        "handler": _handler_of(function, read),
    }
    fields.update(
        {key: value for key, value in options.items() if value is not None and value != ""}
    )
    return _make(fields)


def _handler_of(function: Callable[..., object], read: FunctionSchema) -> Callable[..., object]:
    """A `handler(args, ctx)` of the same kind (plain, async, async generator) as `function`."""

    def keywords(args: Mapping[str, object], ctx: Mapping[str, object]) -> dict[str, object]:
        given = read.arguments(args)
        return {**given, "ctx": ctx} if read.takes_context else given

    called = function if inspect.isroutine(function) else getattr(function, "__call__", function)  # noqa: B004
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called):

        async def ask(args: Mapping[str, object], ctx: Mapping[str, object]) -> object:
            result = function(**keywords(args, ctx))
            return await result if inspect.isawaitable(result) else result

        return ask
    if inspect.isasyncgenfunction(function) or inspect.isasyncgenfunction(called):

        async def stream(
            args: Mapping[str, object], ctx: Mapping[str, object]
        ) -> AsyncIterator[object]:
            steps = function(**keywords(args, ctx))
            assert isinstance(steps, AsyncIterator)
            async for step in steps:
                yield step

        return stream

    def call(args: Mapping[str, object], ctx: Mapping[str, object]) -> object:
        return function(**keywords(args, ctx))

    return call


# ---------------------------------------------------------------------------------------- guardrails


@dataclass(frozen=True, slots=True)
class Guardrail:
    """Something that the agent must not say. Use keywords.

    Raises:
        ValueError: Neither `blocked_terms` nor `check` is given, or a term is empty.
        TypeError: `blocked_terms` is one string, or a field has the wrong type.
    """

    name: str
    """For logs and events, which never show the text."""
    check: Callable[[str], object] | None = None
    """Sync or async; a true answer blocks the text. One that raises or takes longer than 1 s blocks too."""
    blocked_terms: Sequence[str] | None = None
    """Words or phrases, in any case. Copied into a tuple."""
    replacement: str = DEFAULT_REPLACEMENT
    """Said instead; the rest of the reply is dropped."""

    def __post_init__(self) -> None:
        for each in ("name", "replacement"):
            if not isinstance(getattr(self, each), str):
                raise TypeError(f"Guardrail {self.name!r}: {each} must be a text")
        if self.check is not None and not callable(self.check):
            raise TypeError(
                f"Guardrail {self.name!r}: check must be a function, not {type(self.check).__name__}"
            )
        object.__setattr__(self, "blocked_terms", _checked_terms(self.name, self.blocked_terms))
        if not self.blocked_terms and self.check is None:
            raise ValueError(
                f"Guardrail {self.name!r} blocks nothing: give it blocked_terms or a check"
            )


def _checked_terms(name: str, terms: object) -> tuple[str, ...] | None:
    if terms is None:
        return None
    if isinstance(terms, str | bytes) or not isinstance(terms, Iterable):
        raise TypeError(
            f"Guardrail {name!r}: blocked_terms must be a list of words or phrases, "
            f"not {type(terms).__name__}"
        )
    copied: list[str] = []
    for term in terms:
        if not isinstance(term, str):
            raise TypeError(
                f"Guardrail {name!r}: each blocked term must be a text, not {type(term).__name__}"
            )
        if not term.strip():
            raise ValueError(f"Guardrail {name!r}: a blocked term is empty; remove it")
        copied.append(term)
    return tuple(copied)


def guardrail(
    name: str,
    check: Callable[[str], object] | None = None,
    blocked_terms: Sequence[str] | None = None,
    replacement: str = DEFAULT_REPLACEMENT,
) -> Guardrail:
    """Make a `Guardrail` from the same keywords."""
    return Guardrail(name, check, blocked_terms, replacement)


def guardrail_from(value: object) -> Guardrail:
    """`value` if it is a `Guardrail`, or the one that a dict with the same field names describes.

    Raises:
        TypeError: It is neither.
        ValueError: A key is unknown or a field is wrong.
    """
    if isinstance(value, Guardrail):
        return value
    if not isinstance(value, Mapping):
        raise TypeError(f"a guardrail must be a Guardrail or a dict, not {type(value).__name__}")
    known = {each.name for each in dataclasses.fields(Guardrail)}
    if unknown := set(value) - known:
        raise ValueError(
            f"guardrail {value.get('name', '')!r}: unknown keys {sorted(map(str, unknown))}; "
            f"known are {sorted(known)}"
        )
    fields: Mapping[str, Any] = {"name": "", **value}  # Guardrail checks every field
    return Guardrail(**fields)
