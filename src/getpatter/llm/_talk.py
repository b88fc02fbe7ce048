"""A conversation and its tools in OpenAI's chat form, made such that every vendor accepts it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

import msgspec

Message = Mapping[str, object]

CUT_OFF: Final = '{"error": "interrupted, the result is not known"}'
"""Stands for the result of a call that has none. Without it the model might do the same thing twice."""
OPENING: Final = "(The call is connected.)"
"""What the caller is taken to begin with where a vendor wants the caller to begin."""
SILENCE: Final = "(The caller is silent.)"
"""What the caller is taken to end with where a vendor wants the caller to end."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool as it stands in the history."""

    id: str
    name: str
    arguments: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class ToolForm:
    """What a model is told of a tool."""

    name: str
    description: str
    parameters: Mapping[str, object]
    strict: bool | None


def settled(messages: Sequence[Message]) -> list[Message]:
    """The same conversation, with the results of each tool call right behind it, and without empty messages.

    A call that was cut off gets a result that says so; a result without its call is left out.
    """
    results: dict[str, list[Message]] = {}
    for message in reversed(messages):
        if message.get("role") == "tool":
            results.setdefault(str(message.get("tool_call_id", "")), []).append(message)
    settled_ones: list[Message] = []
    for message in messages:
        if message.get("role") == "tool":
            continue
        calls = _raw_calls(message)
        if calls:
            settled_ones.append({**message, "tool_calls": [_whole(call) for call in calls]})
            settled_ones += (_result(results, str(call.get("id", ""))) for call in calls)
        elif _says_something(message.get("content")):
            settled_ones.append({k: v for k, v in message.items() if k != "tool_calls"})
    return settled_ones


def _says_something(content: object) -> bool:
    return bool(content.strip() if isinstance(content, str) else content)


def _result(results: Mapping[str, list[Message]], call_id: str) -> Message:
    left = results.get(call_id)
    if not left:
        return {"role": "tool", "tool_call_id": call_id, "content": CUT_OFF}
    found = left.pop()
    return {**found, "content": text_of(found.get("content"))}


def _whole(call: Message) -> Message:
    """The call with arguments that are a JSON object, as some vendors insist."""
    function = call.get("function")
    fields = dict(cast("Message", function)) if isinstance(function, Mapping) else {}
    arguments = fields.get("arguments")
    if isinstance(arguments, Mapping):
        fields["arguments"] = msgspec.json.encode(dict(arguments)).decode()
    elif not isinstance(arguments, str) or object_of(arguments) is None:
        fields["arguments"] = "{}"
    return {**call, "type": "function", "function": fields}


def calls_of(message: Message) -> list[ToolCall]:
    """The tool calls of an assistant's message that `settled` has passed."""
    calls: list[ToolCall] = []
    for raw in _raw_calls(message):
        function = cast("Message", raw["function"])
        arguments = object_of(str(function["arguments"])) or {}
        calls.append(ToolCall(str(raw.get("id", "")), str(function.get("name", "")), arguments))
    return calls


def _raw_calls(message: Message) -> list[Message]:
    calls = message.get("tool_calls") if message.get("role") == "assistant" else None
    return [call for call in calls if isinstance(call, Mapping)] if isinstance(calls, list) else []


def object_of(text: str) -> dict[str, object] | None:
    """The JSON object in `text`; `None` when it is none."""
    try:
        value: object = msgspec.json.decode(text.encode())
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    return cast("dict[str, object]", value) if isinstance(value, dict) else None


def text_of(content: object) -> str:
    """The words of a message's content: a text, or a list of parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list | tuple):
        parts = (part.get("text") for part in content if isinstance(part, Mapping))
        return "".join(part for part in parts if isinstance(part, str))
    return "" if content is None else str(content)


def without_system(messages: Sequence[Message]) -> list[Message]:
    """The conversation proper, for vendors that want the caller to begin it and to end it."""
    talk = [m for m in settled(messages) if m.get("role") not in {"system", "developer"}]
    if not talk or talk[0].get("role") == "assistant":
        talk.insert(0, {"role": "user", "content": OPENING})
    if talk[-1].get("role") == "assistant":
        talk.append({"role": "user", "content": SILENCE})
    return talk


def system_text(messages: Sequence[Message]) -> str:
    """Everything that was said to the model about its work."""
    texts = (
        text_of(m.get("content")) for m in messages if m.get("role") in {"system", "developer"}
    )
    return "\n\n".join(filter(None, texts))


def tool_forms(tools: Sequence[Message] | None) -> list[ToolForm]:
    """Tools in OpenAI's function form, nested or flat."""
    forms: list[ToolForm] = []
    for tool in tools or ():
        inner = tool.get("function")
        fields = cast("Message", inner) if isinstance(inner, Mapping) else tool
        parameters, strict = fields.get("parameters"), fields.get("strict")
        forms.append(
            ToolForm(
                name=str(fields.get("name", "")),
                description=str(fields.get("description") or ""),
                parameters=cast("Message", parameters)
                if isinstance(parameters, Mapping)
                else {"type": "object", "properties": {}},
                strict=strict if isinstance(strict, bool) else None,
            )
        )
    return forms
