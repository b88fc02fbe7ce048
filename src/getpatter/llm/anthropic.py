"""Anthropic's models.

Protocol: https://docs.anthropic.com/en/api/messages and https://docs.anthropic.com/en/docs/build-with-claude/streaming
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, TypedDict, Unpack, cast

import msgspec

from getpatter.llm._model import FIRST_TOKEN_S, Model, Who, refuse_unknown
from getpatter.llm._sse import AnswerReader, Event, Item, Refused, decoded
from getpatter.llm._talk import (
    Message,
    ToolForm,
    calls_of,
    system_text,
    text_of,
    tool_forms,
    without_system,
)
from getpatter.llm.base import LLMChunk
from getpatter.net.messages import HttpRequest
from getpatter.types import DefaultStr

_BASE_URL: Final = "https://api.anthropic.com"
_VERSION: Final = "2023-06-01"
_CACHED: Final = {"type": "ephemeral"}
_NOT_IN_IDS: Final = re.compile(r"[^a-zA-Z0-9_-]")
_STATUSES: Final = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}


class AnthropicOptions(TypedDict, total=False):
    """What a request may ask for beside the conversation."""

    top_p: float
    top_k: int
    stop: str | Sequence[str]
    tool_choice: str | Mapping[str, object]
    parallel_tool_calls: bool


# ------------------------------------------------------------------------------------------ the answer


class _Usage(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None


class _Answer(msgspec.Struct):
    id: str = ""
    usage: _Usage | None = None


class _Block(msgspec.Struct):
    type: str
    text: str = ""
    id: str = ""
    name: str = ""


class _Delta(msgspec.Struct):
    type: str = ""
    text: str = ""
    partial_json: str = ""
    stop_reason: str | None = None


class _Error(msgspec.Struct):
    type: str = ""
    message: str = ""


class _Event(msgspec.Struct):
    type: str
    index: int = 0
    message: _Answer | None = None
    content_block: _Block | None = None
    delta: _Delta | None = None
    usage: _Usage | None = None
    error: _Error | None = None
    request_id: str | None = None


_EVENT: Final = msgspec.json.Decoder(_Event)
_HEAD: Final = msgspec.json.Decoder(msgspec.defstruct("_Head", [("type", str)]))
_KNOWN: Final = frozenset(
    {
        "message_start",
        "content_block_start",
        "content_block_delta",
        "message_delta",
        "message_stop",
        "error",
    }
)


class Reader(AnswerReader):
    """Reads an answer."""

    def __init__(self) -> None:
        super().__init__()
        self._counts = _Usage()

    def _event(self, event: Event) -> list[Item]:
        # New kinds of events may come at any time, with fields of any type.
        if getattr(decoded(_HEAD, event.data), "type", "") not in _KNOWN:
            return []
        said = decoded(_EVENT, event.data)
        match said:
            case _Event(type="message_start", message=_Answer(id=answer_id, usage=usage)):
                self.request_id = answer_id
                self._count(usage)
            case _Event(type="content_block_start", content_block=_Block() as block):
                return self._block(said.index, block)
            case _Event(type="content_block_delta", delta=_Delta(type="text_delta") as delta):
                return self._text(delta.text)
            case _Event(type="content_block_delta", delta=_Delta(type="input_json_delta") as delta):
                self._call_part(said.index, arguments=delta.partial_json)
            case _Event(type="message_delta"):
                self._count(said.usage)
                return self._stopped(said.delta.stop_reason if said.delta is not None else None)
            case _Event(type="message_stop"):
                return self._closing()
            case _Event(type="error"):
                return self._failed(said)
            case _:
                pass
        return []

    def _block(self, index: int, block: _Block) -> list[Item]:
        if block.type == "tool_use":
            self._call_part(index, id=block.id, name=block.name)
        return self._text(block.text) if block.type == "text" else []

    def _stopped(self, reason: str | None) -> list[Item]:
        if reason is None:
            return []
        if reason == "refusal":
            return self._withheld(reason)
        self.is_complete = True
        return self._finished_calls()

    def _count(self, usage: _Usage | None) -> None:
        """Counts are totals: the newer one holds."""
        if usage is None:
            return
        for name in _Usage.__struct_fields__:
            value = getattr(usage, name)
            if value is not None:
                setattr(self._counts, name, value)
        self._usage = LLMChunk(
            "usage",
            input_tokens=self._counts.input_tokens or 0,
            output_tokens=self._counts.output_tokens or 0,
            cache_read_tokens=self._counts.cache_read_input_tokens or 0,
            cache_write_tokens=self._counts.cache_creation_input_tokens or 0,
        )

    def _failed(self, said: _Event) -> list[Item]:
        self.is_over = True
        error = said.error or _Error()
        status = _STATUSES.get(error.type, 500)
        text = f"{error.message or 'error'} (code {error.type})" if error.type else error.message
        return [Refused(status, text, said.request_id or self.request_id)]


# ----------------------------------------------------------------------------------------- the request


def messages_of(messages: Sequence[Message]) -> list[dict[str, object]]:
    """The conversation in this vendor's form: roles in turn, results of tools first in the user's message."""
    turns: list[dict[str, object]] = []
    for message in without_system(messages):
        role = "assistant" if message.get("role") == "assistant" else "user"
        blocks = _blocks(message)
        if turns and turns[-1]["role"] == role:
            cast("list[object]", turns[-1]["content"]).extend(blocks)
        else:
            turns.append({"role": role, "content": blocks})
    return turns


def _blocks(message: Message) -> list[dict[str, object]]:
    text = text_of(message.get("content"))
    if message.get("role") == "tool":
        call_id = _tool_id(str(message.get("tool_call_id", "")))
        return [{"type": "tool_result", "tool_use_id": call_id, "content": text}]
    blocks: list[dict[str, object]] = [{"type": "text", "text": text}] if text.strip() else []
    calls: list[dict[str, object]] = [
        {
            "type": "tool_use",
            "id": _tool_id(call.id),
            "name": call.name,
            "input": dict(call.arguments),
        }
        for call in calls_of(message)
    ]
    return blocks + calls


def _tool_id(call_id: str) -> str:
    """Ids of other vendors' models, which may stand in the history, can have letters that are not allowed here."""
    return _NOT_IN_IDS.sub("_", call_id) or "_"


def _tool(form: ToolForm) -> dict[str, object]:
    described = {"description": form.description} if form.description else {}
    return {"name": form.name, **described, "input_schema": form.parameters}


def _tool_choice(choice: object, parallel: object) -> dict[str, object]:
    """OpenAI's `tool_choice` and `parallel_tool_calls` in this vendor's words."""
    chosen: dict[str, object] = {"type": "auto"}
    match choice:
        case "required" | "any":
            chosen = {"type": "any"}
        case "none":
            chosen = {"type": "none"}
        case {"type": "function", "function": {"name": str(name)}}:
            chosen = {"type": "tool", "name": name}
        case {"type": str(kind), **rest}:
            chosen = {"type": kind, **cast("dict[str, object]", rest)}
        case _:
            pass
    if parallel is False and chosen["type"] != "none":
        chosen["disable_parallel_tool_use"] = True
    return chosen


class LLM(Model):
    """Anthropic's Messages API. Known as `AnthropicLLM` too."""

    provider_key = "anthropic"
    agent_settings = MappingProxyType({"model": "model"})
    key_variable = "ANTHROPIC_API_KEY"

    def __init__(  # noqa: PLR0913 - the keywords are the documented ones
        self,
        api_key: str | None = None,
        *,
        model: str = DefaultStr("claude-haiku-4-5-20251001"),
        max_tokens: int = 1024,
        temperature: float | None = None,
        base_url: str | None = None,
        prompt_caching: bool = True,
        timeout: float = FIRST_TOKEN_S,
        **sampling: Unpack[AnthropicOptions],
    ) -> None:
        """Make a model; nothing is connected yet.

        Args:
            api_key: Else the environment variable `ANTHROPIC_API_KEY`.
            model: Any model of the vendor.
            max_tokens: The longest answer.
            temperature: 0 to 1; `None` leaves it to the vendor.
            base_url: Another address that speaks the same protocol, without `/v1`.
            prompt_caching: Have the vendor keep the system prompt and the tools, which are the same in every
                request of a call.
            timeout: Seconds to the first word or tool call, and between one and the next.
            **sampling: `top_p`, `top_k`, `stop`, `tool_choice` and `parallel_tool_calls` (as OpenAI has them).

        Raises:
            ValueError: no key, or an argument that cannot be.
            TypeError: an unknown keyword.
        """
        known = frozenset(AnthropicOptions.__annotations__)
        refuse_unknown(type(self).__name__, {**sampling}, known)
        if max_tokens < 1:
            raise ValueError(
                f"{type(self).__name__}: max_tokens must be positive, not {max_tokens}"
            )
        super().__init__(
            api_key,
            model=model,
            base_url=(base_url or _BASE_URL).rstrip("/").removesuffix("/v1"),
            timeout=timeout,
            options={
                "model": model,
                "max_tokens": max_tokens,
                "temperature": temperature,
                "base_url": base_url,
                "prompt_caching": prompt_caching,
                "timeout": timeout,
                **sampling,
            },
        )
        self._max_tokens = max_tokens
        self._temperature = temperature
        self._caches = prompt_caching
        self._sampling = sampling

    def _body(
        self, messages: Sequence[Message], tools: Sequence[Message] | None
    ) -> dict[str, object]:
        mark: dict[str, object] = {"cache_control": _CACHED} if self._caches else {}
        body: dict[str, object] = {
            "model": self._model,
            "max_tokens": self._max_tokens,
            "stream": True,
            "messages": messages_of(messages),
        }
        if system := system_text(messages):
            body["system"] = [{"type": "text", "text": system, **mark}]
        if forms := [_tool(form) for form in tool_forms(tools)]:
            forms[-1] |= mark
            body["tools"] = forms
        body |= self._asked(has_tools=bool(forms))
        return body

    def _asked(self, *, has_tools: bool) -> dict[str, object]:
        sampling = self._sampling
        stop = sampling.get("stop")
        asked: dict[str, object] = {
            "temperature": self._temperature,
            "top_p": sampling.get("top_p"),
            "top_k": sampling.get("top_k"),
            "stop_sequences": [stop] if isinstance(stop, str) else stop,
        }
        choice, parallel = sampling.get("tool_choice"), sampling.get("parallel_tool_calls")
        if has_tools and (choice is not None or parallel is not None):
            asked["tool_choice"] = _tool_choice(choice, parallel)
        return {name: value for name, value in asked.items() if value is not None}

    def _request(
        self, messages: Sequence[Message], tools: Sequence[Message] | None, who: Who
    ) -> HttpRequest:
        del who
        return HttpRequest(
            "POST",
            f"{self._base_url}/v1/messages",
            {
                "content-type": "application/json",
                "accept": "text/event-stream",
                "anthropic-version": _VERSION,
                "x-api-key": self._key,
            },
            msgspec.json.encode(self._body(messages, tools)),
        )

    def _reader(self) -> AnswerReader:
        return Reader()
