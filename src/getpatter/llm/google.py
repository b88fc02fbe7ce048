"""Google's models.

Protocol: https://ai.google.dev/api/generate-content (`streamGenerateContent`) and
https://ai.google.dev/gemini-api/docs/thought-signatures
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from types import MappingProxyType
from typing import Final, TypedDict, Unpack, cast
from urllib.parse import quote

import msgspec

from getpatter.config import credential, is_on, setting
from getpatter.errors import AuthenticationError, PatterError
from getpatter.llm._google_tokens import AccessToken, Tokens
from getpatter.llm._model import FIRST_TOKEN_S, Model, Who, refuse_unknown
from getpatter.llm._sse import AnswerReader, Event, Item, Refused, decoded
from getpatter.llm._talk import (
    Message,
    ToolForm,
    calls_of,
    object_of,
    system_text,
    text_of,
    tool_forms,
    without_system,
)
from getpatter.llm.base import LLMChunk
from getpatter.net.messages import HttpRequest
from getpatter.types import DefaultStr

_BASE_URL: Final = "https://generativelanguage.googleapis.com"
_VERTEX_URL: Final = "https://aiplatform.googleapis.com"
_MOST_SIGNATURES: Final = 4096
_NO_THINKING: Final = "gemini-2.5-flash"
_BROKEN: Final = frozenset(
    {"MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "OTHER"}
)
_COMPLETE: Final = frozenset({"STOP", "MAX_TOKENS"})
_BAD_REQUEST: Final = 400
_KEYS: Final = ("GEMINI_API_KEY", "GOOGLE_API_KEY")


class GoogleOptions(TypedDict, total=False):
    """What a request may ask for beside the conversation."""

    max_tokens: int
    top_p: float
    top_k: int
    stop: str | Sequence[str]
    seed: int
    response_format: Mapping[str, object]
    tool_choice: str | Mapping[str, object]
    frequency_penalty: float
    presence_penalty: float
    thinking_budget: int


# ------------------------------------------------------------------------------------------ the answer


class Signatures:
    """What a model wants to have returned with its tool calls: its train of thought, sealed.

    The history has no place for it, so it is kept here, by the id of the call.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[str, str] = OrderedDict()
        self._answers = 0

    def number(self) -> str:
        """A number for an answer that has no id of its own."""
        self._answers += 1
        return str(self._answers)

    def keep(self, call_id: str, signature: str) -> None:
        """Remember; the oldest one is forgotten where there are too many."""
        self._kept[call_id] = signature
        if len(self._kept) > _MOST_SIGNATURES:
            self._kept.popitem(last=False)

    def of(self, call_id: str) -> str:
        """The signature of that call, or nothing."""
        return self._kept.get(call_id, "")


class _FunctionCall(msgspec.Struct):
    name: str = ""
    id: str = ""
    args: dict[str, object] | None = None


class _Part(msgspec.Struct, rename="camel"):
    text: str | None = None
    thought: bool = False
    thought_signature: str = ""
    function_call: _FunctionCall | None = None


class _Content(msgspec.Struct):
    parts: list[_Part] | None = None


class _Candidate(msgspec.Struct, rename="camel"):
    content: _Content | None = None
    finish_reason: str | None = None
    finish_message: str | None = None
    index: int = 0


class _Tokens(msgspec.Struct, rename="camel"):
    prompt_token_count: int = 0
    cached_content_token_count: int = 0
    candidates_token_count: int = 0
    thoughts_token_count: int = 0
    tool_use_prompt_token_count: int = 0


class _Feedback(msgspec.Struct, rename="camel"):
    block_reason: str | None = None


class _Error(msgspec.Struct):
    code: int = 500
    message: str = ""
    status: str = ""


class _Response(msgspec.Struct, rename="camel"):
    candidates: list[_Candidate] | None = None
    usage_metadata: _Tokens | None = None
    prompt_feedback: _Feedback | None = None
    response_id: str = ""
    error: _Error | None = None


_RESPONSE: Final = msgspec.json.Decoder(_Response)


class Reader(AnswerReader):
    """Reads an answer. Its end mark is a reason to finish; then the body ends."""

    def __init__(self, signatures: Signatures) -> None:
        """`signatures` learns those of the tool calls."""
        super().__init__()
        self._signatures = signatures
        self._sealed: list[str] = []

    def _event(self, event: Event) -> list[Item]:
        said = decoded(_RESPONSE, event.data)
        if said.error is not None:
            self.is_over = True
            text = f"{said.error.message or 'error'} (code {said.error.status})"
            return [Refused(said.error.code, text, self.request_id)]
        self.request_id = self.request_id or said.response_id or self._signatures.number()
        if said.usage_metadata is not None:
            self._usage = _usage_chunk(said.usage_metadata)
        feedback = said.prompt_feedback
        if feedback is not None and feedback.block_reason and not said.candidates:
            return self._withheld(feedback.block_reason)
        items: list[Item] = []
        for candidate in said.candidates or ():
            if candidate.index == 0:
                items += self._candidate(candidate)
        return items

    def _candidate(self, candidate: _Candidate) -> list[Item]:
        items: list[Item] = []
        for part in (candidate.content.parts or ()) if candidate.content is not None else ():
            items += self._part(part)
        reason = candidate.finish_reason
        if reason is None or reason == "FINISH_REASON_UNSPECIFIED":
            return items
        if reason in _COMPLETE:
            self.is_complete = True
            return items + self._finished_calls()
        if reason in _BROKEN and not self._has_said_anything:
            self.is_over = True
            text = f"{candidate.finish_message or 'the model lost its way'} (code {reason})"
            return [*items, Refused(500, text, self.request_id)]
        return items + self._withheld(reason)

    def _part(self, part: _Part) -> list[Item]:
        call = part.function_call
        if call is not None:
            arguments = msgspec.json.encode(call.args or {}).decode()
            self._call_part(len(self._calls), id=call.id, name=call.name, arguments=arguments)
            self._sealed.append(part.thought_signature)
            return []
        return [] if part.thought else self._text(part.text or "")

    def _finished_calls(self) -> list[Item]:
        chunks = super()._finished_calls()
        for chunk, signature in zip(chunks, self._sealed, strict=False):
            if isinstance(chunk, LLMChunk) and signature:
                self._signatures.keep(chunk.id, signature)
        self._sealed = []
        return chunks


def _usage_chunk(tokens: _Tokens) -> LLMChunk:
    cached = tokens.cached_content_token_count
    prompt = tokens.prompt_token_count + tokens.tool_use_prompt_token_count
    return LLMChunk(
        "usage",
        input_tokens=max(0, prompt - cached),
        output_tokens=tokens.candidates_token_count + tokens.thoughts_token_count,
        cache_read_tokens=cached,
    )


# ----------------------------------------------------------------------------------------- the request


def contents_of(messages: Sequence[Message], signatures: Signatures) -> list[dict[str, object]]:
    """The conversation in this vendor's form: `user` and `model` in turn."""
    turns: list[dict[str, object]] = []
    names: dict[str, str] = {}
    for message in without_system(messages):
        names |= {call.id: call.name for call in calls_of(message)}
        role = "model" if message.get("role") == "assistant" else "user"
        parts = _parts(message, names, signatures)
        if turns and turns[-1]["role"] == role:
            cast("list[object]", turns[-1]["parts"]).extend(parts)
        else:
            turns.append({"role": role, "parts": parts})
    return turns


def _parts(
    message: Message, names: Mapping[str, str], signatures: Signatures
) -> list[dict[str, object]]:
    text = text_of(message.get("content"))
    if message.get("role") == "tool":
        call_id = str(message.get("tool_call_id", ""))
        response = object_of(text) or {"result": text}
        answer = {"id": call_id, "name": names.get(call_id, ""), "response": response}
        return [{"functionResponse": answer}]
    parts: list[dict[str, object]] = [{"text": text}] if text.strip() else []
    for call in calls_of(message):
        asked = {"id": call.id, "name": call.name, "args": dict(call.arguments)}
        signature = signatures.of(call.id)
        sealed = {"thoughtSignature": signature} if signature else {}
        parts.append({"functionCall": asked, **sealed})
    return parts


def _declaration(form: ToolForm) -> dict[str, object]:
    return {
        "name": form.name,
        "description": form.description,
        "parametersJsonSchema": form.parameters,
    }


def _tool_config(choice: object) -> dict[str, object]:
    """OpenAI's `tool_choice` in this vendor's words."""
    match choice:
        case "required" | "any":
            config: dict[str, object] = {"mode": "ANY"}
        case "none":
            config = {"mode": "NONE"}
        case {"function": {"name": str(name)}}:
            config = {"mode": "ANY", "allowedFunctionNames": [name]}
        case _:
            config = {"mode": "AUTO"}
    return {"functionCallingConfig": config}


def _response_form(wanted: object) -> dict[str, object]:
    """OpenAI's `response_format` in this vendor's words."""
    match wanted:
        case {"type": "json_schema", "json_schema": {"schema": schema}}:
            return {"responseMimeType": "application/json", "responseJsonSchema": schema}
        case {"type": "json_object"}:
            return {"responseMimeType": "application/json"}
        case _:
            return {}


class LLM(Model):
    """Google's Gemini models. Known as `GoogleLLM` too."""

    provider_key = "google"
    agent_settings = MappingProxyType({"model": "model"})
    key_variable = "GEMINI_API_KEY"

    def __init__(  # noqa: PLR0913 - the keywords are the documented ones
        self,
        api_key: str | None = None,
        *,
        model: str = DefaultStr("gemini-2.5-flash"),
        vertexai: bool = False,
        project: str | None = None,
        location: str | None = None,
        temperature: float | None = None,
        max_output_tokens: int | None = None,
        access_token: AccessToken | None = None,
        base_url: str | None = None,
        timeout: float = FIRST_TOKEN_S,
        **sampling: Unpack[GoogleOptions],
    ) -> None:
        """Make a model; nothing is connected yet.

        Args:
            api_key: Else the environment variables `GEMINI_API_KEY` and `GOOGLE_API_KEY`, in this order.
            model: Any text model of the vendor.
            vertexai: Ask Vertex AI instead: with an API key that it accepts, or in a project of yours.
                `GOOGLE_GENAI_USE_VERTEXAI` sets it too.
            project: Project in Vertex AI, else `GOOGLE_CLOUD_PROJECT`. Without `api_key` the machine's credentials for
                Google Cloud are used (extra `google`), or `access_token`.
            location: Region in Vertex AI, else `GOOGLE_CLOUD_LOCATION`, else `"global"`.
            temperature: 0 to 2; `None` leaves it to the vendor.
            max_output_tokens: The longest answer; `max_tokens` means the same.
            access_token: For a project: a token, or a function (async or not) that gives one that is valid now. Neither
                shown nor pickled.
            base_url: Another address that speaks the same protocol, without the version.
            timeout: Seconds to the first word or tool call, and between one and the next.
            **sampling: `top_p`, `top_k`, `stop`, `seed`, `response_format`, `tool_choice`, `frequency_penalty`,
                `presence_penalty` (as OpenAI has them), and `thinking_budget`: tokens that the model may think
                before it speaks. The 2.5 Flash models think not at all unless you say so: people on the telephone
                hear thinking as silence.

        Raises:
            ValueError: no key, or an argument that cannot be.
            TypeError: an unknown keyword.
            ImportError: a project without `api_key` and `access_token`, and the extra is not installed.
        """
        owner = type(self).__name__
        known = frozenset(GoogleOptions.__annotations__)
        refuse_unknown(owner, {**sampling}, known)
        self._vertex = vertexai or is_on("GOOGLE_GENAI_USE_VERTEXAI")
        self._project = project or setting("GOOGLE_CLOUD_PROJECT")
        self._location = location or setting("GOOGLE_CLOUD_LOCATION")
        in_project = self._vertex and bool(self._project) and not (api_key or "").strip()
        if in_project:
            self._location = self._location or "global"
        if self._vertex and bool(self._project) != bool(self._location):
            raise ValueError(f"{owner}: Vertex AI needs project and location, or neither of them")
        self._tokens = Tokens(owner, access_token) if in_project else None
        self._bearer = ""
        key = "in-project" if in_project else credential(_KEYS, api_key, owner=owner)
        super().__init__(
            key,
            model=model.removeprefix("models/"),
            base_url=base_url or (self._vertex_url() if self._vertex else _BASE_URL),
            timeout=timeout,
            options={
                "model": model,
                "vertexai": vertexai,
                "project": project,
                "location": location,
                "temperature": temperature,
                "max_output_tokens": max_output_tokens,
                "base_url": base_url,
                "timeout": timeout,
                **sampling,
            },
        )
        self._key = "" if in_project else key
        self._temperature = temperature
        self._max_output_tokens = max_output_tokens
        self._sampling = sampling
        self._signatures = Signatures()

    def _vertex_url(self) -> str:
        is_regional = bool(self._location) and self._location != "global"
        return f"https://{self._location}-aiplatform.googleapis.com" if is_regional else _VERTEX_URL

    @property
    def _path(self) -> str:
        model = quote(self._model, safe="")
        if not self._vertex:
            return f"v1beta/models/{model}"
        place = f"projects/{self._project}/locations/{self._location}/" if self._project else ""
        return f"v1/{place}publishers/google/models/{model}"

    def _generation(self) -> dict[str, object]:
        sampling = self._sampling
        stop = sampling.get("stop")
        budget = sampling.get("thinking_budget")
        if budget is None and self._model.startswith(_NO_THINKING):
            budget = 0
        wanted: dict[str, object] = {
            "temperature": self._temperature,
            "maxOutputTokens": self._max_output_tokens or sampling.get("max_tokens"),
            "topP": sampling.get("top_p"),
            "topK": sampling.get("top_k"),
            "stopSequences": [stop] if isinstance(stop, str) else stop,
            "seed": sampling.get("seed"),
            "frequencyPenalty": sampling.get("frequency_penalty"),
            "presencePenalty": sampling.get("presence_penalty"),
            "thinkingConfig": None if budget is None else {"thinkingBudget": budget},
            **_response_form(sampling.get("response_format")),
        }
        return {name: value for name, value in wanted.items() if value is not None}

    def _request(
        self, messages: Sequence[Message], tools: Sequence[Message] | None, who: Who
    ) -> HttpRequest:
        del who
        body: dict[str, object] = {"contents": contents_of(messages, self._signatures)}
        if system := system_text(messages):
            body["systemInstruction"] = {"parts": [{"text": system}]}
        if forms := tool_forms(tools):
            body["tools"] = [{"functionDeclarations": [_declaration(form) for form in forms]}]
            choice = self._sampling.get("tool_choice")
            if choice is not None:
                body["toolConfig"] = _tool_config(choice)
        if generation := self._generation():
            body["generationConfig"] = generation
        return HttpRequest(
            "POST",
            f"{self._base_url}/{self._path}:streamGenerateContent?alt=sse",
            {
                "content-type": "application/json",
                "accept": "text/event-stream",
                **self._credentials(),
            },
            msgspec.json.encode(body),
        )

    def _credentials(self) -> dict[str, str]:
        if self._tokens is not None:
            return {"authorization": f"Bearer {self._bearer}"}
        return {"x-goog-api-key": self._key}

    async def _incoming(
        self, messages: Sequence[Message], tools: Sequence[Message] | None, who: Who
    ) -> AsyncGenerator[bytes, None]:
        if self._tokens is not None:
            self._bearer = await self._tokens.now()
        async with aclosing(super()._incoming(messages, tools, who)) as body:
            async for data in body:
                yield data

    def _reader(self) -> AnswerReader:
        return Reader(self._signatures)

    def _translated(self, error: PatterError) -> PatterError:
        # A wrong key is a bad request here (reason API_KEY_INVALID), not 401.
        if error.status != _BAD_REQUEST or "api key" not in str(error).lower():
            return error
        return AuthenticationError(
            str(error),
            vendor=self.provider_key,
            retryable=False,
            request_id=error.request_id,
            status=error.status,
        )
