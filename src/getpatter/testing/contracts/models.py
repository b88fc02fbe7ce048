"""The contract of a language model (`getpatter.llm.base.LLMProvider`)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

from getpatter.llm.base import LLMChunk, LLMProvider, as_chunk
from getpatter.testing.contracts.check import Check, NewLoop, end, on_a_loop, require

NewModel = Callable[[], LLMProvider]
Messages = Sequence[Mapping[str, object]]

_CLOSE_WITHIN_S: Final = 2.0
_MESSAGES: Final[Messages] = (
    {"role": "system", "content": "You are on the telephone. Answer in one sentence."},
    {"role": "user", "content": "Good morning. Are you open on Saturdays?"},
)
_TOOL: Final = {
    "type": "function",
    "function": {
        "name": "opening_hours",
        "description": "Tells when the shop is open on a day",
        "parameters": {
            "type": "object",
            "properties": {"day": {"type": "string"}},
            "required": ["day"],
        },
    },
}


def model_checks(
    new: NewModel, *, calls_tools: bool = False, new_loop: NewLoop | None = None
) -> list[Check]:
    """The promises of a model.

    Args:
        new: Makes one.
        calls_tools: Whether it calls the tool `opening_hours` when it is offered and Saturday is asked for.
        new_loop: The loop each check runs on; `VirtualTimeLoop` for a model that talks to nobody outside.
    """
    contract = _Contract(new)

    def check(name: str, promise: str, work: Callable[[], Coroutine[Any, Any, None]]) -> Check:
        return Check(name, promise, lambda: on_a_loop(work, new_loop=new_loop))

    checks = [
        check(
            "answers",
            "chunks are text, tool_call, usage or done, and hold an answer",
            contract.answers,
        ),
        check(
            "done",
            "nothing follows a `done` chunk: the reply is spoken to its end by then",
            contract.done,
        ),
        check(
            "tools offered", "`tools` may be None or a list of functions", contract.tools_offered
        ),
        check(
            "cancelled",
            "closing the iterator stops the request and nothing else: callers interrupt all the time",
            contract.cancelled,
        ),
        check("at once", "two calls are answered at the same time, each in full", contract.at_once),
        check(
            "messages",
            "the messages that were handed over stay as they are: they are the call's history",
            contract.keeps,
        ),
    ]
    if calls_tools:
        promise = (
            "the arguments of a tool call, joined by index, are a JSON object, and it has a name"
        )
        checks.append(check("tool calls", promise, contract.tool_calls))
    return checks


class _Contract:
    def __init__(self, new: NewModel) -> None:
        self._new = new

    async def answers(self) -> None:
        chunks = await _asked(self._new())
        require(_text(chunks), "the answer has no text")

    async def done(self) -> None:
        kinds = [chunk.type for chunk in await _asked(self._new())]
        require(
            "done" not in kinds[:-1],
            f"after `done` came {kinds[kinds.index('done') + 1 :]}" if "done" in kinds else "",
        )

    async def tools_offered(self) -> None:
        for tools in (None, [], [_TOOL]):
            chunks = await _asked(self._new(), tools=tools)
            require(
                _text(chunks) or any(chunk.type == "tool_call" for chunk in chunks),
                f"with tools={tools!r} there is no answer",
            )

    async def cancelled(self) -> None:
        model = self._new()
        chunks = aiter(model.stream(_MESSAGES, None))
        await anext(chunks)
        await end(chunks, "stream", _CLOSE_WITHIN_S)
        require(_text(await _asked(model)), "after a cancelled request the next one has no text")

    async def at_once(self) -> None:
        model = self._new()
        for chunks in await asyncio.gather(_asked(model), _asked(model)):
            require(_text(chunks), "one of two requests at once has no text")

    async def keeps(self) -> None:
        given = [dict(message) for message in _MESSAGES]
        await _asked(self._new(), messages=given)
        require(given == [dict(m) for m in _MESSAGES], "stream() changed the messages it was given")

    async def tool_calls(self) -> None:
        chunks = await _asked(self._new(), tools=[_TOOL])
        calls: dict[int, list[LLMChunk]] = {}
        for chunk in chunks:
            if chunk.type == "tool_call":
                calls.setdefault(chunk.index, []).append(chunk)
        require(calls, "the tool was not called")
        for pieces in calls.values():
            names = {piece.name for piece in pieces if piece.name}
            require(names == {"opening_hours"}, f"the call is named {sorted(names)}")
            arguments = "".join(piece.arguments for piece in pieces)
            try:
                parsed: object = json.loads(arguments)
            except ValueError:
                parsed = None
            require(isinstance(parsed, dict), f"the arguments are {arguments!r}, no JSON object")


async def _asked(
    model: LLMProvider,
    *,
    messages: Messages = _MESSAGES,
    tools: Sequence[Mapping[str, object]] | None = None,
) -> list[LLMChunk]:
    chunks: list[LLMChunk] = []
    async for raw in model.stream(messages, tools):
        chunk = as_chunk(raw)
        require(chunk is not None, f"a chunk is {raw!r}"[:200])
        assert chunk is not None, "just required"
        chunks.append(chunk)
    return chunks


def _text(chunks: Sequence[LLMChunk]) -> str:
    return "".join(chunk.content for chunk in chunks if chunk.type == "text").strip()
