"""`getpatter call --simulated`: the conversation of a phone call, typed and read."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

from getpatter import Patter, TestSession, config
from getpatter.agent import Agent
from getpatter.cli import agents, environment
from getpatter.evals import FakeSTT, FakeTTS
from getpatter.evals.targets import made

_PROMPT: Final = "You are on the phone. Answer in one or two short sentences."
_GREETING: Final = "Hello, how can I help?"
_REPEATS: Final = "Hello. I have no model (set OPENAI_API_KEY for one), so I repeat what you say."

Reply = Callable[[Mapping[str, Any]], object]


def run(options: argparse.Namespace) -> int:
    """Talk, until somebody hangs up."""
    environment.read()
    asyncio.run(_talk(options.agent))
    return 0


async def _talk(reference: str) -> None:
    agent, on_message = await _named(reference) if reference else _demo()
    await TestSession(agent, on_message).run()


async def _named(reference: str) -> tuple[Agent, Reply | None]:
    target = await made(agents.found(reference))
    if isinstance(target, Agent):
        return target, None
    reply: Callable[[str], object] = getattr(target, "reply")  # noqa: B009 - any object that has it
    greeting = str(getattr(target, "first_message", "") or "")
    return _agent(greeting), lambda event: reply(str(event["text"]))


def _demo() -> tuple[Agent, Reply | None]:
    if config.setting("OPENAI_API_KEY"):
        return _agent(_GREETING), None
    return _agent(_REPEATS), lambda event: f"You said: {event['text']}"


def _agent(first_message: str) -> Agent:
    return Patter().agent(
        system_prompt=_PROMPT, first_message=first_message, stt=FakeSTT(), tts=FakeTTS()
    )
