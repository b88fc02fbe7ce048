"""What a model remembers of a long call: the newest lines, a budget of tokens, a summary of the rest."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from getpatter.core.context import tokens_of, within
from getpatter.core.exchanges import Exchanges
from getpatter.core.history import Line

if TYPE_CHECKING:
    from getpatter.agent import Agent

logger = logging.getLogger(__name__)

SUMMARISED_WITHIN: Final = 20.0
SUMMARY_LETTERS: Final = 6000
"""Of a summary; a model that was asked to be brief and is not is cut."""
_BEFORE: Final = "What was said earlier in this call, summarised: "

Message = dict[str, object]
Summarise = Callable[[Sequence[Mapping[str, object]]], Awaitable[str]]
"""Asks the model, without tools, and returns all that it wrote."""


class Memory:
    """The conversation of one call as its model is told it."""

    def __init__(self, agent: Agent, exchanges: Exchanges) -> None:
        """Remember as `agent` says: `max_history`, `compaction`, `context_token_budget`."""
        self.tokens = 0
        """Estimate of what the model was sent last."""
        self._most = agent.max_history
        self._budget = agent.context_token_budget
        self._compaction = agent.compaction
        self._exchanges = exchanges
        self._summary = ""
        self._covers = 0
        """Lines that the summary stands for."""
        self._is_summarising = False

    def told(self, lines: Sequence[Line], reply: int) -> list[Message]:
        """What is remembered, oldest first; the summary, if there is one, in front."""
        messages = self._exchanges.messages(lines, reply, most=self._most, since=self._covers)
        if not self._summary:
            return messages
        return [{"role": "system", "content": _BEFORE + self._summary}, *messages]

    def fitted(self, messages: Sequence[Message]) -> list[Message]:
        """A whole request, without what the budget has no room for."""
        fitted = list(messages) if self._budget is None else within(messages, self._budget)
        self.tokens = tokens_of(fitted)
        return fitted

    def wants_summary(self, lines: Sequence[Line]) -> bool:
        """Whether the conversation has grown so long that its older part is to be summarised now."""
        wish = self._compaction
        if wish is None or self._is_summarising or self.tokens <= wish.trigger_tokens:
            return False
        return len(lines) - wish.keep_last_messages > self._covers

    async def summarise(self, lines: Sequence[Line], summarise: Summarise) -> None:
        """Have the model summarise all but the newest messages. If it fails, nothing changes."""
        wish = self._compaction
        assert wish is not None, "only asked for where it is wanted"
        covers = len(lines) - wish.keep_last_messages
        older = self._exchanges.messages(
            lines[:covers], 0, most=max(1, covers - self._covers), since=self._covers
        )
        said = "\n".join(f"{each['role']}: {each['content']}" for each in older if each["content"])
        before = f"Summary of what came before: {self._summary}\n\n" if self._summary else ""
        self._is_summarising = True
        try:
            async with asyncio.timeout(SUMMARISED_WITHIN):
                summary = await summarise(
                    [
                        {"role": "system", "content": wish.instructions},
                        {"role": "user", "content": before + said},
                    ]
                )
            if summary.strip():
                self._summary, self._covers = summary.strip()[:SUMMARY_LETTERS], covers
        except Exception as error:  # noqa: BLE001 - a call goes on with a long memory
            logger.warning("llm.compaction_failed error=%s", type(error).__name__)
        finally:
            self._is_summarising = False
