"""Who writes the replies of a call: the program's `on_message`, or a language model."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from enum import Enum
from typing import Final, Protocol, runtime_checkable

from getpatter.core import messages as m
from getpatter.tracebacks import without_text

logger = logging.getLogger(__name__)


class Cue(Enum):
    """What a source says besides words."""

    SAY_NOW = "say now"
    """What was written so far is whole and must not wait for more: a tool will take its time."""


HANDLER_LIMIT: Final = 30.0
"""Seconds until the first words of a reply, or until the next of them (CB-14)."""


class ReplySource(Protocol):
    """Writes replies. One object per call."""

    def reply(self, text: str, turn_index: int) -> AsyncIterator[str | Cue]:
        """The answer to `text`, piece by piece. Closing the iterator stops the writing."""
        ...


@runtime_checkable
class Drafter(Protocol):
    """A source that can begin before the caller has certainly finished."""

    async def draft(self, text: str) -> None:
        """Begin to answer `text`. Nothing is said of it, and no tool runs, unless `reply` asks for the same."""
        ...

    def drop_draft(self) -> None:
        """It will not be asked for."""
        ...


class Writer:
    """Runs one reply of a call at a time and reports its text to the session."""

    def __init__(
        self,
        source: ReplySource,
        *,
        report: Callable[[m.AnyInput], None],
        spawn: Callable[..., asyncio.Task[None]],
        limit: float | None = HANDLER_LIMIT,
    ) -> None:
        """Write with `source`. `limit`: seconds it may be silent; `None` for one that watches itself."""
        self._source = source
        self._report = report
        self._spawn = spawn
        self._limit = limit
        self._task: asyncio.Task[None] | None = None
        self._spared: asyncio.Task[None] | None = None

    def start(self, command: m.StartReply) -> None:
        """Begin a reply; the one before, if any, is stopped."""
        self.cancel()
        self._task = self._spawn(self._write(command), name=f"reply-{command.reply}")

    def cancel(self) -> None:
        """Stop writing."""
        if self._task is not None:
            if self._task is not self._spared:
                self._task.cancel()
            self._task = None

    def spare(self, *, is_spared: bool) -> None:
        """Whether the reply that is written here runs to its end, whatever becomes of its words.

        Who sends the caller away in the middle of a reply wants to know what came of it.
        """
        self._spared = self._task if is_spared and self.is_current_task() else None

    def is_current_task(self) -> bool:
        """Whether the code that asks is part of the reply being written."""
        return self._task is not None and asyncio.current_task() is self._task

    def draft(self, text: str) -> None:
        """Begin a reply that nobody may notice, where the source can."""
        if isinstance(self._source, Drafter):
            self._spawn(self._source.draft(text), name="draft")

    def drop_draft(self) -> None:
        """The draft is of no use."""
        if isinstance(self._source, Drafter):
            self._source.drop_draft()

    async def _write(self, command: m.StartReply) -> None:
        try:
            pieces = aiter(self._source.reply(command.text, command.turn_index))
            try:
                while True:
                    async with asyncio.timeout(self._limit):
                        text = await anext(pieces)
                    if text is Cue.SAY_NOW:
                        self._report(m.ReplyPaused(command.reply))
                    elif text:
                        self._report(m.ReplyText(command.reply, text))
            except StopAsyncIteration:
                self._report(m.ReplyWritten(command.reply))
            finally:
                close = getattr(pieces, "aclose", None)
                if close is not None:
                    await close()
        except Exception as error:
            logger.exception(
                "reply.failed error=%s", type(error).__name__, exc_info=without_text(error)
            )
            self._report(m.ReplyFailed(command.reply, type(error).__name__))
