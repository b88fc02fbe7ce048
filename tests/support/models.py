"""Models that do what a test tells them, request by request."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from getpatter.llm.base import LLMChunk

Messages = Sequence[Mapping[str, Any]]
Part = str | LLMChunk | float | Exception
"""A word to say, a chunk, seconds to wait, or an error to raise."""


def wants(name: str, index: int = 0, /, *, call_id: str = "", **arguments: object) -> LLMChunk:
    """The chunk in which a model asks for a tool."""
    text = json.dumps(arguments)
    return LLMChunk("tool_call", index=index, id=call_id, name=name, arguments=text)


def used(read: int, written: int) -> LLMChunk:
    """The chunk in which a provider says how many tokens there were."""
    return LLMChunk("usage", input_tokens=read, output_tokens=written)


@dataclass
class Request:
    """What a model was asked."""

    messages: Messages
    tools: Sequence[Mapping[str, Any]] | None
    was_cancelled: asyncio.Event | None = None

    @property
    def results(self) -> list[str]:
        """What its tools had answered by then, in order."""
        return [each["content"] for each in self.messages if each["role"] == "tool"]

    @property
    def said_last(self) -> str:
        """The caller's newest words."""
        said = [each["content"] for each in self.messages if each["role"] == "user"]
        return str(said[-1]) if said else ""


@dataclass
class ActingLLM:
    """A model whose answers are functions of the request; `first` seconds pass before each."""

    act: Callable[[Request], Sequence[Part]]
    first: float = 0.2
    requests: list[Request] = field(default_factory=list)
    model: str = "acting-1"

    async def stream(
        self,
        messages: Messages,
        tools: Sequence[Mapping[str, Any]] | None = None,
        *,
        cancel_event: asyncio.Event | None = None,
        call_id: str | None = None,
    ) -> AsyncIterator[LLMChunk]:
        """Answer."""
        del call_id
        request = Request([dict(each) for each in messages], tools, cancel_event)
        self.requests.append(request)
        await asyncio.sleep(self.first)
        for part in self.act(request):
            match part:
                case str():
                    yield LLMChunk("text", content=part)
                case float():
                    await asyncio.sleep(part)
                case Exception():
                    raise part
                case LLMChunk():
                    yield part
        yield LLMChunk("done")


def in_turn(*answers: Sequence[Part]) -> Callable[[Request], Sequence[Part]]:
    """One answer for each request, the last again and again."""
    left: Final = list(answers)

    def act(request: Request) -> Sequence[Part]:
        del request
        return left.pop(0) if len(left) > 1 else left[0]

    return act
