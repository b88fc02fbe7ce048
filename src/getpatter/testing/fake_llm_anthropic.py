"""A fake of Anthropic's Messages API: `POST /v1/messages`, as its documentation has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

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
from getpatter.testing.fake_speech import Call, Refusal

_KINDS: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    500: "api_error",
    529: "overloaded_error",
}
_FRAGMENT: Final = 7


class FakeAnthropic(FakeLLM):
    """As strict as the vendor: roles, results of tools, versions, limits."""

    def may_enter(self, call: Call) -> Refusal | None:
        """401 for a wrong key, except for the request that only opens a connection."""
        # The vendor's own client has changed to a bearer token; the documented header is taken as well.
        given = call.headers.get("x-api-key") or call.headers.get("authorization", "")
        if call.method != "HEAD" and given.removeprefix("Bearer ") != self.key:
            return self.refused(401, "invalid x-api-key")
        return None

    def is_answer(self, call: Call) -> bool:
        """The one path."""
        return call.path == "/v1/messages" and call.method == "POST"

    def refused(self, status: int, said: str) -> Refusal:
        """`{"type": "error", "error": {"type", "message"}, "request_id"}`."""
        error = {"type": _KINDS.get(status, "api_error"), "message": said}
        body = {"type": "error", "error": error, "request_id": "req_0123abcd"}
        headers = {"request-id": "req_0123abcd"}
        if status == 429:  # noqa: PLR2004 - too many requests
            headers["retry-after"] = "1"
        return Refusal(status, msgspec.json.encode(body), headers)

    def check(self, call: Call, body: dict[str, object]) -> None:
        """What the vendor answers with 400."""
        if not call.headers.get("anthropic-version"):
            raise WrongRequestError("anthropic-version: header is required")
        for name in ("model", "max_tokens", "messages"):
            if not body.get(name):
                raise WrongRequestError(f"{name}: Field required")
        _check_cache_marks(body)
        _check_messages(listed(body["messages"]))

    def heard(self, body: Mapping[str, object]) -> str:
        """The last words of the user."""
        blocks = [
            b for m in listed(body.get("messages")) if m["role"] == "user" for b in _blocks(m)
        ]
        texts = [str(block["text"]) for block in blocks if block.get("type") == "text"]
        return texts[-1] if texts else ""

    # ------------------------------------------------------------------------------------- the wire

    def wire(self, answer: Says, number: int, body: Mapping[str, object]) -> Wire:
        """A block of text, then a block for each tool."""
        start = {
            "id": f"msg_{number}",
            "type": "message",
            "role": "assistant",
            "model": body.get("model", ""),
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {
                "input_tokens": answer.input_tokens,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": answer.cached_tokens,
                "output_tokens": 1,
            },
        }
        head = [_frame("message_start", message=start), _frame("ping")]
        tail: list[bytes] = []
        if answer.text:
            head.append(_frame("content_block_start", index=0, content_block=_TEXT))
            tail.append(_frame("content_block_stop", index=0))
        first = 1 if answer.text else 0
        for offset, call in enumerate(answer.calls):
            tail += _tool_frames(first + offset, call, f"toolu_{number}_{offset}")
        reason = "tool_use" if answer.calls else "end_turn"
        ends = {"stop_reason": "refusal" if answer.is_withheld else reason, "stop_sequence": None}
        usage = {"output_tokens": answer.output_tokens}
        tail += [_frame("message_delta", delta=ends, usage=usage), _frame("message_stop")]
        words = [
            _frame("content_block_delta", index=0, delta={"type": "text_delta", "text": word})
            for word in answer.words
        ]
        overloaded = {"type": "overloaded_error", "message": "Overloaded"}
        failure = _frame("error", error=overloaded, request_id="req_0123abcd")
        return Wire(head, words, tail, failure=failure, ping=_frame("ping"))


_TEXT: Final = {"type": "text", "text": ""}


def _frame(kind: str, **fields: object) -> bytes:
    return data_frame({"type": kind, **fields}, kind)


def _tool_frames(index: int, call: Calls, call_id: str) -> list[bytes]:
    block = {"type": "tool_use", "id": call.id or call_id, "name": call.name, "input": {}}
    arguments = msgspec.json.encode(call.arguments).decode() if call.arguments else ""
    pieces = [arguments[at : at + _FRAGMENT] for at in range(0, len(arguments), _FRAGMENT)]
    return [
        _frame("content_block_start", index=index, content_block=block),
        *(
            _frame(
                "content_block_delta",
                index=index,
                delta={"type": "input_json_delta", "partial_json": piece},
            )
            for piece in ["", *pieces]
        ),
        _frame("content_block_stop", index=index),
    ]


def _blocks(message: Mapping[str, object]) -> list[dict[str, object]]:
    content = message.get("content")
    return [{"type": "text", "text": content}] if isinstance(content, str) else listed(content)


def _check_cache_marks(body: Mapping[str, object]) -> None:
    marked = [
        b for b in (*listed(body.get("system")), *listed(body.get("tools"))) if "cache_control" in b
    ]
    if any(inside(block["cache_control"]).get("type") != "ephemeral" for block in marked):
        raise WrongRequestError("cache_control.type: Input should be 'ephemeral'")
    most = 4
    if len(marked) > most:
        raise WrongRequestError("A maximum of 4 blocks with cache_control may be provided")


def _check_messages(messages: list[dict[str, object]]) -> None:
    waiting: set[object] = set()
    for number, message in enumerate(messages):
        role = message.get("role")
        if role not in {"user", "assistant"}:
            raise WrongRequestError(f"messages.{number}.role: Input should be user or assistant")
        blocks = _blocks(message)
        if not blocks or any(b.get("type") == "text" and not b.get("text") for b in blocks):
            raise WrongRequestError("messages: text content blocks must be non-empty")
        if number == 0 and role != "user":
            raise WrongRequestError("messages: first message must use the user role")
        results = [b.get("tool_use_id") for b in blocks if b.get("type") == "tool_result"]
        if set(results) != waiting or len(results) != len(waiting):
            raise WrongRequestError("tool_use ids were found without tool_result blocks")
        if any(b.get("type") != "tool_result" for b in blocks[: len(results)]):
            raise WrongRequestError("tool_result blocks must come first")
        waiting = {b.get("id") for b in blocks if b.get("type") == "tool_use"}
    if waiting or messages[-1].get("role") != "user":
        raise WrongRequestError("the conversation must end with a user message")
