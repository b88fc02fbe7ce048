"""Reads what a tool takes from its Python signature.

`@tool` needs three things of a function: a JSON Schema of its parameters for the model, a description of it
and of each parameter (from the docstring, in Google, NumPy or reST style), and a way to turn the JSON that
the model sends back into the types that the function was written for.
"""

# What a program hands over is unknown until it has been checked, and here is where it is checked.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnnecessaryIsInstance=false
from __future__ import annotations

import dataclasses
import datetime
import decimal
import functools
import inspect
import pathlib
import re
import types
import typing
import uuid
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from enum import Enum
from typing import Annotated, Final, Literal, NewType, NotRequired, Required, TypeAlias, Union

import msgspec

from getpatter.errors import ToolSchemaError

JsonSchema: TypeAlias = dict[str, object]

CONTEXT: Final = "ctx"
"""A parameter of this name gets the context of the call and is not shown to the model."""

_PLAIN: Final[dict[object, JsonSchema]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    None: {"type": "null"},
    type(None): {"type": "null"},
    typing.Any: {},
    object: {},
    inspect.Parameter.empty: {},
    dict: {"type": "object"},
    list: {"type": "array"},
    tuple: {"type": "array"},
    set: {"type": "array", "uniqueItems": True},
    frozenset: {"type": "array", "uniqueItems": True},
    decimal.Decimal: {"type": "number"},
    datetime.datetime: {"type": "string", "format": "date-time"},
    datetime.date: {"type": "string", "format": "date"},
    datetime.time: {"type": "string", "format": "time"},
    uuid.UUID: {"type": "string", "format": "uuid"},
    pathlib.Path: {"type": "string"},
}
_JSON_TYPES: Final[dict[type, str]] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
}


@dataclasses.dataclass(frozen=True, slots=True)
class FunctionSchema:
    """What a function's signature and docstring say about it as a tool."""

    name: str
    description: str
    parameters: JsonSchema
    annotations: Mapping[str, object]
    """Of each parameter that the model fills in."""
    takes_context: bool

    def arguments(self, given: Mapping[str, object]) -> dict[str, object]:
        """The model's JSON values as the types that the function asks for.

        Raises:
            ValueError: A value does not fit its parameter. The text names the parameter, not the value.
        """
        return {name: _converted(name, value, self.annotations) for name, value in given.items()}


def function_schema(
    function: Callable[..., object], around: Mapping[str, object] | None = None
) -> FunctionSchema:
    """Read `function` as a tool. `around` has the local names where it was defined.

    Raises:
        ToolSchemaError: A parameter cannot be filled from a JSON object, or its type has no schema.
    """
    named = _unwrapped(function)
    name = getattr(named, "__name__", type(named).__name__)
    hints = _hints(named, name, around)
    doc = inspect.getdoc(named) or ""
    description, described = _read_docstring(doc)
    properties: dict[str, object] = {}
    required: list[str] = []
    annotations: dict[str, object] = {}
    takes_context = takes_others = False
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name == CONTEXT:
            takes_context = True
            continue
        if parameter.kind is parameter.VAR_KEYWORD:
            takes_others = True
            continue
        if parameter.kind in {parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY}:
            message = f"tool {name!r}: parameter {parameter.name!r} cannot be given by name; make it a keyword"
            raise ToolSchemaError(message)
        annotation = hints.get(parameter.name, parameter.empty)
        schema = _schema(annotation, f"tool {name!r}: parameter {parameter.name!r}", ())
        if parameter.name in described:
            schema.setdefault("description", described[parameter.name])
        if parameter.default is parameter.empty:
            required.append(parameter.name)
        elif parameter.default is not None:
            _set_default(schema, parameter.default)
        properties[parameter.name] = schema
        annotations[parameter.name] = annotation
    parameters: JsonSchema = {"type": "object", "properties": properties, "required": required}
    parameters["additionalProperties"] = takes_others
    return FunctionSchema(name, description, parameters, annotations, takes_context)


def type_schema(annotation: object, where: str = "parameter") -> JsonSchema:
    """The JSON Schema of a type, such as `list[str]` or an `Enum`.

    Raises:
        ToolSchemaError: The type has none; `where` says whose type it is.
    """
    return _schema(annotation, where, ())


# -------------------------------------------------------------------------------------- annotations


def _unwrapped(function: Callable[..., object]) -> Callable[..., object]:
    """The object that carries name, docstring and annotations: inside a partial, behind `__call__`."""
    while isinstance(function, functools.partial):
        function = function.func
    function = inspect.unwrap(function)
    if inspect.isroutine(function) or inspect.isclass(function):
        return function
    return typing.cast("Callable[..., object]", type(function).__call__)


def _hints(
    function: Callable[..., object], name: str, around: Mapping[str, object] | None
) -> dict[str, object]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except NameError:
        pass  # a local name, perhaps; those of its own module come first
    try:
        return typing.get_type_hints(
            function, localns=dict(around) if around else None, include_extras=True
        )
    except NameError as exc:
        message = (
            f"tool {name!r}: the annotation {exc.name!r} is not known where the function is defined; "
            "import it there outside of `if TYPE_CHECKING`"
        )
        raise ToolSchemaError(message) from exc


def _schema(annotation: object, where: str, inside: tuple[object, ...]) -> JsonSchema:
    if _is_hashable(annotation) and annotation in _PLAIN:
        return dict(_PLAIN[annotation])
    if isinstance(annotation, NewType):
        return _schema(annotation.__supertype__, where, inside)
    if (aliased := getattr(annotation, "__value__", None)) is not None:  # `type X = ...` of 3.12
        return _schema(aliased, where, inside)
    origin = typing.get_origin(annotation)
    if origin is not None:
        return _generic_schema(origin, typing.get_args(annotation), where, inside)
    if isinstance(annotation, type):
        return _class_schema(annotation, where, inside)
    message = (
        f"{where}: a {annotation!r} has no JSON Schema; use str, int, float, bool, list, dict ..."
    )
    raise ToolSchemaError(message)


def _generic_schema(
    origin: object, args: tuple[object, ...], where: str, inside: tuple[object, ...]
) -> JsonSchema:
    if origin in {Annotated, Required, NotRequired}:
        return _annotated_schema(args, where, inside)
    if origin is Literal:
        return _enum_schema(args)
    if origin is Union or origin is types.UnionType:
        return _union_schema(args, where, inside)
    if isinstance(origin, type):
        return _container_schema(origin, args, where, inside)
    message = f"{where}: a {origin!r} has no JSON Schema; use list, dict, Literal, Optional ..."
    raise ToolSchemaError(message)


def _container_schema(
    origin: type, args: tuple[object, ...], where: str, inside: tuple[object, ...]
) -> JsonSchema:
    if origin is tuple and Ellipsis not in args:
        items = [_schema(arg, where, inside) for arg in args]
        some = items[0] if all(item == items[0] for item in items) else {"anyOf": items}
        return {"type": "array", "items": some, "minItems": len(items), "maxItems": len(items)}
    if issubclass(origin, AbstractSet):
        return {"type": "array", "items": _schema(args[0], where, inside), "uniqueItems": True}
    if issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _schema(args[1], where, inside)}
    if origin is tuple or issubclass(list, origin):
        return {"type": "array", "items": _schema(args[0], where, inside)}
    message = f"{where}: a {origin.__name__} has no JSON Schema; use list, set, tuple or dict"
    raise ToolSchemaError(message)


def _annotated_schema(
    args: tuple[object, ...], where: str, inside: tuple[object, ...]
) -> JsonSchema:
    schema = _schema(args[0], where, inside)
    for extra in args[1:]:
        text = extra if isinstance(extra, str) else getattr(extra, "description", None)
        if isinstance(text, str):
            schema["description"] = text
    return schema


def _enum_schema(values: Sequence[object]) -> JsonSchema:
    plain = [value.value if isinstance(value, Enum) else value for value in values]
    kinds = {_JSON_TYPES.get(type(value)) for value in plain}
    kind = kinds.pop() if len(kinds) == 1 else None
    return {"type": kind, "enum": plain} if kind else {"enum": plain}


def _union_schema(args: tuple[object, ...], where: str, inside: tuple[object, ...]) -> JsonSchema:
    options = [_schema(arg, where, inside) for arg in args]
    if all(set(option) == {"type"} for option in options):
        return {"type": [option["type"] for option in options]}
    null = {"type": "null"}
    others = [option for option in options if option != null]
    if len(others) < len(options) and len(others) == 1 and isinstance(others[0].get("type"), str):
        schema = dict(others[0])
        schema["type"] = [schema["type"], "null"]
        if isinstance(values := schema.get("enum"), list):
            schema["enum"] = [*values, None]
        return schema
    return {"anyOf": options}


def _class_schema(kind: type, where: str, inside: tuple[object, ...]) -> JsonSchema:
    if issubclass(kind, Enum):
        return _enum_schema(list(kind))
    own = getattr(kind, "model_json_schema", None)  # pydantic models describe themselves
    if callable(own):
        return typing.cast("JsonSchema", own())
    if kind in inside:
        message = f"{where}: {kind.__name__} contains itself, which a tool's schema cannot say"
        raise ToolSchemaError(message)
    if dataclasses.is_dataclass(kind):
        no_default = dataclasses.MISSING
        needed = [
            field.name
            for field in dataclasses.fields(kind)
            if field.init and field.default is no_default and field.default_factory is no_default
        ]
        names = {field.name for field in dataclasses.fields(kind) if field.init}
        return _object_schema(kind, names, needed, where, inside)
    if typing.is_typeddict(kind):
        return _object_schema(kind, None, _required_keys(kind), where, inside)
    message = f"{where}: a {kind.__name__} has no JSON Schema; use a dataclass, a TypedDict or plain types"
    raise ToolSchemaError(message)


def _required_keys(kind: type) -> list[str]:
    """Of a TypedDict. Annotations that are texts hide their `NotRequired` from `__required_keys__`."""
    marks = {
        name: typing.get_origin(hint)
        for name, hint in typing.get_type_hints(kind, include_extras=True).items()
    }
    needed: AbstractSet[str] = getattr(kind, "__required_keys__", frozenset())
    return [
        name
        for name, mark in marks.items()
        if mark is Required or (name in needed and mark is not NotRequired)
    ]


def _object_schema(
    kind: type, names: set[str] | None, needed: list[str], where: str, inside: tuple[object, ...]
) -> JsonSchema:
    hints = typing.get_type_hints(kind, include_extras=True)
    properties = {
        name: _schema(hint, f"{where}, field {name!r}", (*inside, kind))
        for name, hint in hints.items()
        if names is None or name in names
    }
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name in needed],
        "additionalProperties": False,
    }


def _set_default(schema: JsonSchema, default: object) -> None:
    value = default.value if isinstance(default, Enum) else default
    if isinstance(value, str | int | float | bool | list | dict):
        schema["default"] = value


def _is_hashable(value: object) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _converted(name: str, value: object, annotations: Mapping[str, object]) -> object:
    annotation = annotations.get(name, inspect.Parameter.empty)
    if any(annotation is free for free in (inspect.Parameter.empty, typing.Any, object)):
        return value
    try:
        return msgspec.convert(value, typing.cast("type[object]", annotation))
    except msgspec.ValidationError as exc:
        message = f"{name}: {exc}"
        raise ValueError(message) from exc
    except TypeError:  # a type that only the function itself knows how to read
        validate = getattr(annotation, "model_validate", None)
        return validate(value) if callable(validate) else value


# ---------------------------------------------------------------------------------------- docstring

_GOOGLE: Final = re.compile(r"^(?:Args|Arguments|Parameters|Params):\s*$")
_NUMPY: Final = re.compile(r"^(?:Parameters|Other Parameters)\s*\n-{3,}\s*$", re.MULTILINE)
_SECTION: Final = re.compile(
    r"^(?:Args|Arguments|Params|Parameters|Other Parameters|Returns?|Yields?|Raises|Examples?|Notes?|"
    r"See Also|References|Warnings?|Attributes|Todo):?\s*$"
)
_GOOGLE_ITEM: Final = re.compile(r"^\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)$")
_NUMPY_ITEM: Final = re.compile(r"^\*{0,2}(\w+(?:\s*,\s*\w+)*)\s*(?::.*)?$")
_REST_ITEM: Final = re.compile(r"^:param\s+(?:[^:]*\s)?\*{0,2}(\w+)\s*:\s*(.*)$")
_REST_OTHER: Final = re.compile(r"^:\w+[^:]*:")


def _read_docstring(doc: str) -> tuple[str, dict[str, str]]:
    """The text before the first section, and the description of each parameter."""
    lines = doc.splitlines()
    intro: list[str] = []
    for line in lines:
        if _SECTION.match(line) or _REST_OTHER.match(line):
            break
        intro.append(line)
    return _as_text(intro), _rest_items(lines) or _section_items(lines)


def _as_text(lines: Sequence[str]) -> str:
    paragraphs = "\n".join(lines).strip().split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs if paragraph.strip())


def _section_items(lines: Sequence[str]) -> dict[str, str]:
    for number, line in enumerate(lines):
        if _GOOGLE.match(line):
            return _items(lines[number + 1 :], _GOOGLE_ITEM)
        if _NUMPY.match("\n".join(lines[number : number + 2])):
            return _items(lines[number + 2 :], _NUMPY_ITEM)
    return {}


def _items(lines: Sequence[str], item: re.Pattern[str]) -> dict[str, str]:
    """Descriptions by name; an item begins at the indentation of the first one."""
    found: dict[str, list[str]] = {}
    current: list[str] = []
    margin: int | None = None
    for line in lines:
        if not line.strip():
            continue
        indent = len(line) - len(line.lstrip())
        margin = indent if margin is None else margin
        if indent < margin or _SECTION.match(line) or set(line.strip()) == {"-"}:
            break
        started = item.match(line.strip()) if indent == margin else None
        if started is None:
            current.append(line.strip())
            continue
        current = [started.group(2)] if item.groups > 1 else []
        found.update((name.strip(), current) for name in started.group(1).split(","))
    return {name: " ".join(filter(None, text)) for name, text in found.items() if any(text)}


def _rest_items(lines: Sequence[str]) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in lines:
        text = line.strip()
        if started := _REST_ITEM.match(text):
            current = found[started.group(1)] = [started.group(2)]
        elif not text or _REST_OTHER.match(text):
            current = None
        elif current is not None:
            current.append(text)
    return {name: " ".join(filter(None, text)) for name, text in found.items() if any(text)}
