"""OpenAI's Chat Completions as a dialect: spoken by OpenAI, and by many others with small differences.

Protocol: https://platform.openai.com/docs/api-reference/chat/create (POST /chat/completions with `stream`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, TypedDict

import msgspec

from getpatter.llm._model import FIRST_TOKEN_S, Model, Who, refuse_unknown
from getpatter.llm._sse import AnswerReader, Event, Item, Refused, decoded
from getpatter.llm._talk import Message, settled, tool_forms
from getpatter.llm.base import LLMChunk
from getpatter.net.messages import HttpRequest

DONE: Final = b"[DONE]"


class ChatOptions(TypedDict, total=False):
    """What a model may be asked for beside the conversation, under OpenAI's names."""

    temperature: float
    max_tokens: int
    top_p: float
    stop: str | Sequence[str]
    seed: int
    response_format: Mapping[str, object]
    tool_choice: str | Mapping[str, object]
    parallel_tool_calls: bool
    frequency_penalty: float
    presence_penalty: float
    reasoning_effort: str
    service_tier: str
    user: str


# ------------------------------------------------------------------------------------------ the answer


class _Cached(msgspec.Struct):
    cached_tokens: int | None = None


class Usage(msgspec.Struct):
    """Tokens of one answer. `prompt_tokens` counts the cached ones too."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Cached | None = None


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | dict[str, object] | None = None


class _CallPart(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[_CallPart] | None = None


class _Choice(msgspec.Struct):
    index: int | None = 0
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Error(msgspec.Struct):
    message: str | None = None
    type: str | None = None
    code: str | int | None = None
    status_code: int | None = None


class ChatChunk(msgspec.Struct):
    """One event of an answer."""

    id: str | None = None
    choices: list[_Choice] | None = None
    usage: Usage | None = None
    error: _Error | str | None = None
    status_code: int | None = None

    def reported_usage(self) -> Usage | None:
        """The tokens of the whole answer, where this event has them."""
        return self.usage


_CHUNK: Final = msgspec.json.Decoder(ChatChunk)


class ChatReader(AnswerReader):
    """Reads an answer."""

    def __init__(self, decoder: msgspec.json.Decoder[Any] = _CHUNK) -> None:
        """`decoder` makes the vendor's kind of `ChatChunk`."""
        super().__init__()
        self._decoder = decoder

    def _event(self, event: Event) -> list[Item]:
        if event.data.strip() == DONE:
            return self._closing()
        chunk: ChatChunk = decoded(self._decoder, event.data)
        if chunk.error is not None:
            return self._failed(chunk)
        self.request_id = self.request_id or chunk.id or ""
        usage = chunk.reported_usage()
        if usage is not None:
            self._usage = _usage_chunk(usage)
        items: list[Item] = []
        for choice in chunk.choices or ():
            if not choice.index:
                items += self._choice(choice)
        return items

    def _choice(self, choice: _Choice) -> list[Item]:
        items: list[Item] = []
        delta = choice.delta
        if delta is not None and not self.is_complete:
            items += self._text(delta.content or "") + self._text(delta.refusal or "")
            for part in delta.tool_calls or ():
                self._part(part)
        if choice.finish_reason:
            if choice.finish_reason == "content_filter" and not self._calls:
                return items + self._withheld("content_filter")
            self.is_complete = True
            items += self._finished_calls()
        return items

    def _part(self, part: _CallPart) -> None:
        function = part.function or _Function()
        arguments = function.arguments or ""
        if isinstance(arguments, dict):
            arguments = msgspec.json.encode(arguments).decode()
        index = part.index
        if index is None:  # some servers do not number them: an id begins a call
            index = len(self._calls) if part.id or not self._calls else len(self._calls) - 1
        self._call_part(index, id=part.id or "", name=function.name or "", arguments=arguments)

    def _failed(self, chunk: ChatChunk) -> list[Item]:
        self.is_over = True
        error = _Error(message=chunk.error) if isinstance(chunk.error, str) else chunk.error
        assert error is not None, "only called for an error"
        status = error.status_code or chunk.status_code or _status_of(error)
        said = error.message or error.type or "error"
        code = f" (code {error.code})" if error.code else ""
        return [Refused(status, said + code, self.request_id)]


def _usage_chunk(usage: Usage) -> LLMChunk:
    details = usage.prompt_tokens_details
    cached = (details.cached_tokens or 0) if details is not None else 0
    return LLMChunk(
        "usage",
        input_tokens=max(0, (usage.prompt_tokens or 0) - cached),
        output_tokens=usage.completion_tokens or 0,
        cache_read_tokens=cached,
    )


def _status_of(error: _Error) -> int:
    words = f"{error.type} {error.code}"
    if isinstance(error.code, int) and 400 <= error.code < 600:  # noqa: PLR2004 - HTTP's refusals
        return error.code
    if any(word in words for word in ("rate_limit", "quota", "too_many")):
        return 429
    if any(word in words for word in ("api_key", "authentication", "permission")):
        return 401
    return 400 if "invalid_request" in words else 500


# ----------------------------------------------------------------------------------------- the request


def chat_body(
    model: str,
    messages: Sequence[Message],
    tools: Sequence[Message] | None,
    options: Mapping[str, object],
) -> dict[str, object]:
    """The body of a request; `options` are in the vendor's own names already."""
    forms = [
        {
            "type": "function",
            "function": {
                "name": form.name,
                "description": form.description,
                "parameters": form.parameters,
                **({} if form.strict is None else {"strict": form.strict}),
            },
        }
        for form in tool_forms(tools)
    ]
    about_tools = {"tool_choice", "parallel_tool_calls"}
    return {
        "model": model,
        "messages": settled(messages),
        "stream": True,
        "stream_options": {"include_usage": True},
        **({"tools": forms} if forms else {}),
        # Vendors refuse these where there are no tools.
        **{name: value for name, value in options.items() if forms or name not in about_tools},
    }


class ChatModel(Model):
    """A model behind an address that speaks this dialect."""

    option_names: ClassVar[frozenset[str]] = frozenset(ChatOptions.__annotations__)
    """Sampling keywords that the vendor knows."""
    wire_names: ClassVar[Mapping[str, str]] = {"max_tokens": "max_completion_tokens"}
    """Keywords that the vendor knows under another name."""
    chunk_decoder: ClassVar[msgspec.json.Decoder[Any]] = _CHUNK

    def __init__(
        self,
        api_key: str | None,
        *,
        model: str,
        base_url: str,
        timeout: float = FIRST_TOKEN_S,
        sampling: Mapping[str, object],
        options: Mapping[str, object] | None = None,
    ) -> None:
        """`sampling` are the keywords for the request; `options` further ones of the constructor.

        Raises:
            TypeError: a sampling keyword that the vendor does not know.
            ValueError: see `Model`.
        """
        refuse_unknown(type(self).__name__, sampling, self.option_names)
        settings = {"model": model, "base_url": base_url, "timeout": timeout}
        super().__init__(
            api_key,
            model=model,
            base_url=base_url,
            timeout=timeout,
            options={**settings, **(options or {}), **sampling},
        )
        named = {self.wire_names.get(name, name): value for name, value in sampling.items()}
        self._sampling = {name: value for name, value in named.items() if value is not None}

    def _headers(self, who: Who) -> dict[str, str]:
        del who
        return {"authorization": f"Bearer {self._key}"} if self._key else {}

    def _extra_body(self, who: Who) -> dict[str, object]:
        """Fields of the body beside conversation, tools and sampling."""
        del who
        return {}

    def _request(
        self, messages: Sequence[Message], tools: Sequence[Message] | None, who: Who
    ) -> HttpRequest:
        body = chat_body(self._model, messages, tools, {**self._sampling, **self._extra_body(who)})
        return HttpRequest(
            "POST",
            f"{self._base_url}/chat/completions",
            {
                "content-type": "application/json",
                "accept": "text/event-stream",
                **self._headers(who),
            },
            msgspec.json.encode(body),
        )

    def _reader(self) -> AnswerReader:
        return ChatReader(self.chunk_decoder)
