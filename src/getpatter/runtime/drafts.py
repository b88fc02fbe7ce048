"""The first request of a reply, sent before the caller's turn is certain (`preemptive_generation`).

A draft is only that: an answer that is being read ahead. Nothing of it is said and none of its tool calls runs until
a reply asks for exactly the same; then the reply reads what is there, and the rest as it comes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

from getpatter.core.drafting import same_words
from getpatter.llm.base import LLMChunk, as_chunk

Messages = Sequence[Mapping[str, object]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a model is asked, before hooks have changed it."""

    messages: Messages
    tools: Sequence[Mapping[str, object]] | None

    def copied(self) -> list[dict[str, object]]:
        """The messages, for hooks to change."""
        return [dict(each) for each in self.messages]

    def is_same(self, other: Wanted) -> bool:
        """Whether the other asks the same; capitals and punctuation of the caller's newest words may differ."""
        if self.tools != other.tools or len(self.messages) != len(other.messages):
            return False
        *ours, last = self.messages
        *theirs, newest = other.messages
        if ours != theirs or last["role"] != newest["role"]:
            return False
        return same_words(str(last["content"]), str(newest["content"]))


class Draft:
    """One answer that is read ahead."""

    def __init__(
        self,
        wanted: Wanted,
        answer: Callable[[], AbstractAsyncContextManager[AsyncIterator[object]]],
        spawn: Callable[..., asyncio.Task[None]],
    ) -> None:
        """Ask for `wanted` at once, with `answer`."""
        self._wanted = wanted
        self._read: asyncio.Queue[object] = asyncio.Queue()
        self._task = spawn(self._run(answer), name="draft")

    async def _run(
        self, answer: Callable[[], AbstractAsyncContextManager[AsyncIterator[object]]]
    ) -> None:
        try:
            async with answer() as chunks:
                async for raw in chunks:
                    self._read.put_nowait(_Chunk(raw))
        except Exception as error:  # noqa: BLE001 - told to whoever reads; a draft that nobody wants fails alone
            self._read.put_nowait(error)
        else:
            self._read.put_nowait(None)

    def fits(self, wanted: Wanted) -> bool:
        """Whether this is the answer to `wanted`."""
        return self._wanted.is_same(wanted)

    @asynccontextmanager
    async def chunks(self) -> AsyncGenerator[AsyncIterator[object]]:
        """The answer from its beginning. Whoever leaves early stops it."""
        try:
            yield self._chunks()
        finally:
            self._task.cancel()

    async def _chunks(self) -> AsyncIterator[object]:
        while (read := await self._read.get()) is not None:
            if isinstance(read, Exception):
                raise read
            assert isinstance(read, _Chunk), "chunks are wrapped, because anything may be one"
            yield read.raw

    def drop(self) -> list[LLMChunk]:
        """Stop it. Returns what its provider has already said of its cost."""
        self._task.cancel()
        used: list[LLMChunk] = []
        while not self._read.empty():
            read = self._read.get_nowait()
            chunk = as_chunk(read.raw) if isinstance(read, _Chunk) else None
            if chunk is not None and chunk.type == "usage":
                used.append(chunk)
        return used


@dataclass(frozen=True, slots=True)
class _Chunk:
    raw: object
