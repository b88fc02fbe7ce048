"""Who is tried: an `Agent`, or anything with `reply(text)`; and where such a thing is found."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

from getpatter.agent import Agent
from getpatter.errors import PatterConfigError
from getpatter.evals.cases import EvalCase, EvalTurn
from getpatter.evals.session import TURN_WITHIN, EvalSession
from getpatter.runtime.wording import settle

AgentFactory = Callable[[], object]
"""Makes who is tried, anew for each case: an `Agent`, or an object with `async reply(text) -> str` and, if it
greets, a `first_message`. May be a coroutine function."""

_FORMS: Final = "an Agent, a function that returns one, or an object with `async reply(text)`"


def referred(reference: str) -> object:
    """What `MODULE:ATTR` names; `ATTR` may have dots. Modules are imported, so their code runs.

    Raises:
        PatterConfigError: there is no such module or attribute.
    """
    module, _, attribute = reference.partition(":")
    if not module or not attribute:
        raise PatterConfigError(f"{reference!r} is not MODULE:ATTR, such as my_agent:agent")
    try:
        found: object = import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # it is there, and lacks something itself
        raise PatterConfigError(f"{reference}: there is no module {error.name!r} here") from error
    for name in attribute.split("."):
        if not hasattr(found, name):
            raise PatterConfigError(f"{reference}: {module} has no {attribute!r}")
        found = getattr(found, name)
    return found


async def made(thing: object) -> object:
    """An `Agent`, or an object with `reply`, of whatever was given to make one.

    Raises:
        TypeError: it is neither, and does not make one.
    """
    found = thing
    if not is_target(found) and callable(found):
        make: Callable[[], object] = found
        found = await settle(make())
    if not is_target(found):
        raise TypeError(f"there must be {_FORMS}, not {type(found).__name__}")
    return found


def is_target(thing: object) -> bool:
    """Whether `thing` can be talked to as it is."""
    if isinstance(thing, type):
        return False
    return isinstance(thing, Agent) or callable(getattr(thing, "reply", None))


class Conversation:
    """The conversation of one case. What was said so far is kept, also when it fails."""

    def __init__(self, case: EvalCase) -> None:
        """`case`: what the caller says."""
        self._case = case
        self.transcript: list[dict[str, object]] = []
        """Items with `role` (`user`, `assistant`) and `text`."""
        self.lacks: list[str] = []
        """What should have been said and was not, in words."""

    async def hold(self, factory: object) -> None:
        """Talk, with what the case names or else with what `factory` makes.

        Raises:
            ValueError: there is nobody to talk to.
            Exception: whatever goes wrong in the agent.
        """
        case = self._case
        named = referred(case.agent) if isinstance(case.agent, str) else case.agent
        thing = named if named is not None else factory
        if thing is None:
            raise ValueError(
                f"nobody to talk to: give an agent_factory, or the case an agent; {_FORMS}"
            )
        target = await made(thing)
        if isinstance(target, Agent):
            await self._with_agent(target)
        elif case.llm_provider is not None:
            raise ValueError(
                "llm_provider needs an Agent: an object with reply() has its own model"
            )
        else:
            await self._with_replies(target)

    async def _with_agent(self, agent: Agent) -> None:
        if self._case.first_message:
            agent = dataclasses.replace(agent, first_message=self._case.first_message)
        session = EvalSession(agent, await self._model())
        try:
            async with session:
                self._keep(session)
                for number, turn in enumerate(self._case.turns, 1):
                    result = await session.say(turn.user)
                    self._keep(session)
                    self._check(number, turn, result.agent_text)
        finally:
            self._keep(session)

    async def _model(self) -> object | None:
        given = self._case.llm_provider
        model = referred(given) if isinstance(given, str) else given
        if model is not None and not hasattr(model, "stream") and callable(model):
            make: Callable[[], object] = model
            return await settle(make())
        return model() if isinstance(model, type) else model

    def _keep(self, session: EvalSession) -> None:
        lines = session.history
        if lines:
            self.transcript = [{"role": each["role"], "text": each["text"]} for each in lines]

    async def _with_replies(self, target: Any) -> None:
        greeting = self._case.first_message or getattr(target, "first_message", "")
        if greeting:
            self._add("assistant", str(greeting))
        for number, turn in enumerate(self._case.turns, 1):
            self._add("user", turn.user)
            async with asyncio.timeout(TURN_WITHIN):
                answer = await settle(target.reply(turn.user))
            if not isinstance(answer, str):
                raise TypeError(f"reply() returned {type(answer).__name__}, not a text")
            self._add("assistant", answer)
            self._check(number, turn, answer)

    def _add(self, role: str, text: str) -> None:
        self.transcript.append({"role": role, "text": text})

    def _check(self, number: int, turn: EvalTurn, said: str) -> None:
        for needle in turn.expected_contains:
            if needle.casefold() not in said.casefold():
                self.lacks.append(f"turn {number}: the agent did not say {needle!r}")
