"""Conversations that are interrupted at random around tools which change the world.

A caller wants one thing done. The model asks for it, and asks again whenever the talk was cut before the caller
could have heard that it is done: a worse model than most, and exactly the one that does things twice. The real
reply source, tools, writer and history run; time is virtual, and chance decides when the caller breaks in.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from getpatter.agent import build_agent
from getpatter.core import messages as m
from getpatter.core.exchanges import Exchanges
from getpatter.core.history import Line
from getpatter.llm.base import LLMChunk
from getpatter.runtime.hooks import ModelHooks
from getpatter.runtime.model_replies import ModelContext, ModelReplies
from getpatter.runtime.tasks import TaskNest
from getpatter.runtime.tools import Surroundings, ToolExecutor
from getpatter.runtime.writer import Writer
from getpatter.testing import time as virtual_time
from getpatter.testing.providers import ScriptedSTT, ScriptedTTS
from getpatter.tools import Effect, Tool

Mishap = Literal["none", "raises", "too slow"]
TALK_S = 1.0
"""How long the agent takes to say its answer; it may be cut short all that time."""


@dataclass
class Tally:
    """What happened over all conversations."""

    interruptions: int = 0
    while_running: int = 0
    """Of these, while the tool was running."""
    runs: int = 0
    wishes: int = 0
    done: int = 0
    """Things that were done to the world, by the tool's own count."""
    twice: int = 0
    lost: int = 0
    """Things that were done, and no reply that was heard to its end was told of."""


@dataclass
class World:
    """What a tool changes. One that is given the same key twice does it once, as a good one does."""

    effect: Effect
    mishap: Mishap
    takes_s: float
    done: list[str] = field(default_factory=list)
    """The idempotency key of each run that changed something."""
    runs: int = 0

    async def order(self, args: Mapping[str, Any], ctx: Mapping[str, Any]) -> dict[str, object]:
        self.runs += 1
        is_first = self.runs == 1
        await asyncio.sleep(self.takes_s / 2)
        self.done.append(str(ctx["idempotency_key"]))
        await asyncio.sleep(self.takes_s / 2)
        if is_first and self.mishap == "raises":
            raise ConnectionError("the answer was lost; the order was not")
        if is_first and self.mishap == "too slow":
            await asyncio.sleep(60)
        return {"order": len(self.done), "item": args["item"]}

    @property
    def effects(self) -> int:
        """How often it was done: the keys count for tools that may be repeated, the runs for the others."""
        return len(self.done) if self.effect == "irreversible" else len(set(self.done))


@dataclass
class Persistent:
    """A model that wants its order, until it was heard to say that it has it."""

    chance: random.Random
    knows: bool = False
    """Whether the answer that is being said tells of the order."""
    requests: list[Sequence[Mapping[str, Any]]] = field(default_factory=list)

    async def stream(
        self, messages: Sequence[Mapping[str, Any]], tools: object = None
    ) -> AsyncIterator[LLMChunk]:
        self.requests.append(messages)
        await asyncio.sleep(self.chance.uniform(0.05, 0.5))
        results = [json.loads(each["content"]) for each in messages if each["role"] == "tool"]
        last = results[-1] if results else None
        was_asked_now = messages[-1]["role"] == "tool"
        self.knows = last is not None and last.get("status") != "running"
        asks_again = not was_asked_now and tools is not None
        if last is None or (asks_again and self.chance.random() < 0.7):
            if self.chance.random() < 0.5:
                yield LLMChunk("text", content="One moment. ")
            yield LLMChunk("tool_call", name="order", arguments='{"item": "pizza"}')
        else:
            yield LLMChunk("text", content="So much for your order.")
        await asyncio.sleep(self.chance.uniform(0.0, 0.2))


ITEM: Any = {"type": "object", "properties": {"item": {"type": "string"}}, "required": ["item"]}


class Conversation:
    """One caller, one wish, any number of interruptions."""

    def __init__(self, chance: random.Random, effect: Effect, mishap: Mishap) -> None:
        """Prepare it; everything that happens follows from `chance`."""
        self.chance = chance
        self.world = World(effect, mishap, takes_s=chance.choice([0.05, 0.5, 2.0, 6.0]))
        self.model = Persistent(chance)
        self.lines: list[Line] = []
        self.exchanges = Exchanges()
        self.is_owed = False
        self.written = asyncio.Event()
        tool = Tool("order", "", ITEM, self.world.order, effect=effect, timeout_s=20.0)
        agent = build_agent(
            "You take orders.", None, stt=ScriptedSTT(()), tts=ScriptedTTS(), tools=[tool]
        )
        surroundings = Surroundings(returned=self.exchanges.returned, untold=self._owe)
        self.tools = ToolExecutor(agent.tools, surroundings)
        context = ModelContext(
            lines=lambda: self.lines,
            hooks=ModelHooks(None, lambda: None),  # type: ignore[arg-type,return-value]  # no hook asks
            exchanges=self.exchanges,
        )
        source = ModelReplies(self.model, agent, self.tools, context)
        self.nest = TaskNest("conversation")
        self.writer = Writer(source, report=self._told, spawn=self.nest.spawn, limit=None)

    def _owe(self) -> None:
        self.is_owed = True

    def _told(self, event: m.AnyInput) -> None:
        if isinstance(event, m.ReplyWritten | m.ReplyFailed):
            self.written.set()

    async def hold(self, interruptions: int, tally: Tally) -> None:
        """Talk, with so many interruptions, until everything was said."""
        for number in range(interruptions):
            self._say("user", f"go on {number}")
            await self._reply(f"go on {number}", cut_after=self.chance.uniform(0.0, 4.0))
            tally.interruptions += 1
            tally.while_running += self.tools.is_busy
        self._say("user", "yes?")
        await self._reply("yes?", cut_after=None)
        while self.is_owed or self.tools.is_busy:
            self.is_owed = False
            await self._reply("", cut_after=None)
            await asyncio.sleep(1.0)
        self._count(tally)
        await self.tools.close()
        await self.nest.close()

    def _say(self, role: Literal["user", "assistant"], text: str) -> None:
        self.lines.append(Line(role, text, 0.0, len(self.lines)))

    async def _reply(self, text: str, *, cut_after: float | None) -> None:
        self.written.clear()
        self.writer.start(m.StartReply(1, text, 0))
        if cut_after is None:
            await self.written.wait()
            await asyncio.sleep(TALK_S)
            self._say("assistant", "said")
        else:
            await asyncio.sleep(cut_after)
            self.writer.cancel()
        self.tools.turn_over(was_interrupted=cut_after is not None)

    def _count(self, tally: Tally) -> None:
        tally.wishes += 1
        tally.runs += self.world.runs
        tally.done += self.world.effects
        tally.twice += max(0, self.world.effects - 1)
        told = [each["content"] for each in self.model.requests[-1] if each["role"] == "tool"]
        is_told = bool(told) and all('"running"' not in each for each in told)
        tally.lost += bool(self.world.done) and (not is_told or self.tools.has_untold)


async def interrupted(seed: int, interruptions: int, effect: Effect, mishap: Mishap) -> Tally:
    """Conversations with at least so many interruptions together."""
    chance = random.Random(seed)
    tally = Tally()
    while tally.interruptions < interruptions:
        most = min(5, interruptions - tally.interruptions)
        await Conversation(chance, effect, mishap).hold(chance.randint(1, most), tally)
    return tally


def measured(seed: int, interruptions: int, effect: Effect, mishap: Mishap) -> Tally:
    """The same, in virtual time, without the log lines of so many failures."""
    logging.disable(logging.CRITICAL)
    try:
        return virtual_time.run(interrupted(seed, interruptions, effect, mishap))
    finally:
        logging.disable(logging.NOTSET)
