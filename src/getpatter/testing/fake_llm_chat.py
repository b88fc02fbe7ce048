"""Fake services that speak OpenAI's Chat Completions: OpenAI itself, Groq, Cerebras and servers of one's own.

Each has what is its own: headers of limits, where tokens are reported, how requests may be packed.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping
from typing import ClassVar

import msgspec

from getpatter.testing.fake_llm import (
    Calls,
    FakeLLM,
    Says,
    Wire,
    WrongRequestError,
    data_frame,
    inside,
    listed,
)
from getpatter.testing.fake_speech import Answer, Call, Refusal

_KINDS = {
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
    500: ("server_error", None),
}


class FakeOpenAI(FakeLLM):
    """`POST /v1/chat/completions`."""

    prefix: ClassVar[str] = "/v1"
    fragment: ClassVar[int] = 6
    """Characters of tool arguments in one frame; 0 sends them whole."""
    types_each_fragment: ClassVar[bool] = False
    """Whether every fragment of a tool call says that it is one of a function."""

    @property
    def base_url(self) -> str:
        """With the version in its path."""
        return self.url + self.prefix

    def may_enter(self, call: Call) -> Refusal | None:
        """401 for a wrong key, except for the request that only opens a connection."""
        if call.method != "HEAD" and call.headers.get("authorization") != f"Bearer {self.key}":
            given = call.headers.get("authorization", "").removeprefix("Bearer ")
            return self.refused(401, f"Incorrect API key provided: {given}. Find yours online.")
        return None

    async def http(self, call: Call, answer: Answer) -> None:
        """The list of models, beside the answering."""
        if call.method == "GET" and call.path == f"{self.prefix}/models":
            models = [
                {"id": name, "object": "model", "created": 0, "owned_by": "fake"}
                for name in self.models or ("gpt-4o-mini",)
            ]
            body = msgspec.json.encode({"object": "list", "data": models})
            await answer.whole(Refusal(200, body))
            return
        await super().http(call, answer)

    def is_answer(self, call: Call) -> bool:
        """The one path."""
        return call.path == f"{self.prefix}/chat/completions" and call.method == "POST"

    def refused(self, status: int, said: str) -> Refusal:
        """`{"error": {"message", "type", "param", "code"}}`."""
        kind, code = _KINDS.get(status, ("api_error", None))
        error = {"message": said, "type": kind, "param": None, "code": code}
        headers = {"x-request-id": "req_0123abcd"}
        if status == 429:  # noqa: PLR2004 - too many requests
            headers |= {"retry-after": "1", "x-ratelimit-remaining-requests": "0"}
        return Refusal(status, msgspec.json.encode({"error": error}), headers)

    def check(self, call: Call, body: dict[str, object]) -> None:
        """Model, messages, and each tool call followed by its result."""
        if not body.get("model") or not body.get("stream"):
            raise WrongRequestError("model and stream are required here")
        waiting: set[object] = set()
        for message in listed(body.get("messages")):
            if message.get("role") == "tool":
                if message.get("tool_call_id") not in waiting:
                    raise WrongRequestError("messages with role 'tool' must follow 'tool_calls'")
                waiting.remove(message["tool_call_id"])
                continue
            if waiting:
                raise WrongRequestError("'tool_calls' must be followed by tool messages")
            calls = listed(message.get("tool_calls"))
            if not calls and not message.get("content"):
                raise WrongRequestError("a message without content")
            waiting = {each.get("id") for each in calls}
        if waiting:
            raise WrongRequestError("'tool_calls' must be followed by tool messages")
        if "tools" not in body and ("tool_choice" in body or "parallel_tool_calls" in body):
            raise WrongRequestError("tool_choice is only allowed when tools are specified")

    def heard(self, body: Mapping[str, object]) -> str:
        """The last message of the user."""
        said = [m for m in listed(body.get("messages")) if m.get("role") == "user"]
        return str(said[-1].get("content")) if said else ""

    # ------------------------------------------------------------------------------------- the wire

    def wire(self, answer: Says, number: int, body: Mapping[str, object]) -> Wire:
        """Chunks as they are documented."""

        def choice(delta: Mapping[str, object], finish: str | None = None) -> bytes:
            return self._chunk(
                number, [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
            )

        head = [choice({"role": "assistant", "content": "", "refusal": None})]
        words = [choice({"content": word}) for word in answer.words]
        tail: list[bytes] = []
        for index, call in enumerate(answer.calls):
            tail += [choice({"tool_calls": [part]}) for part in self._parts(index, call, number)]
        finish = "content_filter" if answer.is_withheld else "stop"
        tail.append(choice({}, "tool_calls" if answer.calls else finish))
        asked = inside(body.get("stream_options")).get("include_usage")
        tail += [self._chunk(number, [], usage=self._usage(answer))] if asked else []
        return Wire(head, words, [*tail, b"data: [DONE]\n\n"], failure=self.failure())

    def failure(self) -> bytes:
        """An error in the middle of an answer."""
        error = {"message": "The server had an error", "type": "server_error", "code": None}
        return data_frame({"error": error})

    def _parts(self, index: int, call: Calls, number: int) -> list[dict[str, object]]:
        arguments = msgspec.json.encode(call.arguments).decode() if call.arguments else ""
        size = self.fragment or len(arguments) or 1
        pieces = [arguments[at : at + size] for at in range(0, len(arguments), size)]
        name = {"name": call.name, "arguments": "" if self.fragment else arguments}
        first: dict[str, object] = {
            "index": index,
            "id": call.id or f"call_{number}_{index}",
            "type": "function",
            "function": name,
        }
        kind = {"type": "function"} if self.types_each_fragment else {}
        rest: list[dict[str, object]] = [
            {"index": index, **kind, "function": {"arguments": piece}} for piece in pieces
        ]
        return [first, *(rest if self.fragment else [])]

    def _usage(self, answer: Says) -> dict[str, object]:
        prompt = answer.input_tokens + answer.cached_tokens
        return {
            "prompt_tokens": prompt,
            "completion_tokens": answer.output_tokens,
            "total_tokens": prompt + answer.output_tokens,
            "prompt_tokens_details": {"cached_tokens": answer.cached_tokens, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        }

    def _chunk(self, number: int, choices: list[dict[str, object]], **extra: object) -> bytes:
        return data_frame(
            {
                "id": f"chatcmpl-{number}",
                "object": "chat.completion.chunk",
                "created": 1_760_000_000,
                "model": "fake-model",
                "system_fingerprint": "fp_1",
                "choices": choices,
                **extra,
            }
        )


class FakeGroq(FakeOpenAI):
    """`POST /openai/v1/chat/completions`; tokens in `x_groq`, tool calls whole."""

    prefix: ClassVar[str] = "/openai/v1"
    fragment: ClassVar[int] = 0

    def wire(self, answer: Says, number: int, body: Mapping[str, object]) -> Wire:
        """The last chunk with a choice reports the tokens."""
        plain = super().wire(answer, number, {})
        last = msgspec.json.decode(plain.tail[-2].removeprefix(b"data: "))
        last["x_groq"] = {"id": f"req_{number}", "usage": self._usage(answer)}
        tail = [*plain.tail[:-2], data_frame(last), plain.tail[-1]]
        return Wire(plain.head, plain.words, tail, failure=plain.failure)

    def failure(self) -> bytes:
        """An event of its own name."""
        return data_frame({"error": {"message": "over capacity", "status_code": 503}}, "error")


class FakeCerebras(FakeOpenAI):
    """`POST /v1/chat/completions`, also with msgpack and gzip; `GET /v1/models`."""

    types_each_fragment: ClassVar[bool] = True
    models = ("gpt-oss-120b", "llama3.1-8b")
    takes_packed: bool = True
    """Whether requests may be packed; else 415."""

    def body_of(self, call: Call) -> dict[str, object]:
        """Unpack."""
        data = call.body
        try:
            if call.headers.get("content-encoding") == "gzip":
                data = gzip.decompress(data)
            if call.headers.get("content-type") == "application/vnd.msgpack":
                body: object = msgspec.msgpack.decode(data)
                return inside(body)
            return inside(msgspec.json.decode(data))
        except (msgspec.MsgspecError, zlib.error, OSError) as error:
            raise WrongRequestError("the body cannot be unpacked") from error

    async def http(self, call: Call, answer: Answer) -> None:
        """Models are listed, requests answered."""
        if call.path == "/v1/tcp_warming":
            await answer.whole(Refusal(200, b"{}"))
            return
        if call.path == "/v1/models" and call.method == "GET":
            listing = {"object": "list", "data": [{"id": name} for name in self.models]}
            await answer.whole(Refusal(200, msgspec.json.encode(listing)))
            return
        is_packed = "content-encoding" in call.headers or "msgpack" in call.headers.get(
            "content-type", ""
        )
        if is_packed and not self.takes_packed:
            await answer.whole(self.refused(415, "unsupported media type"))
            return
        if self.is_answer(call) and self.body_of(call).get("model") not in self.models:
            await answer.whole(self.refused(404, "Model does not exist or you have no access"))
            return
        await super().http(call, answer)

    def failure(self) -> bytes:
        """With the status beside it."""
        return data_frame({"error": {"message": "queue exceeded"}, "status_code": 503})


class FakeInworldRouter(FakeOpenAI):
    """A router before many vendors' models, in OpenAI's form."""


class FakeServer(FakeOpenAI):
    """A server of one's own: no ids on fragments, CRLF, no usage unless asked, no key needed."""

    needs_key = False

    def may_enter(self, call: Call) -> Refusal | None:
        """Everybody, unless `needs_key`."""
        return super().may_enter(call) if self.needs_key else None

    def wire(self, answer: Says, number: int, body: Mapping[str, object]) -> Wire:
        """With CRLF and comments."""
        plain = super().wire(answer, number, body)

        def changed(frames: object) -> list[bytes]:
            assert isinstance(frames, list)
            return [b": here\r\n\r\n" + frame.replace(b"\n", b"\r\n") for frame in frames]

        return Wire(
            changed(plain.head), changed(plain.words), changed(plain.tail), failure=plain.failure
        )
