"""A stage for one provider: its fake service over real sockets, and the rest of an agent around it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Self

from getpatter import Tool
from getpatter.agent import Agent, build_agent
from getpatter.llm.base import LLMChunk
from getpatter.net.http import HttpClient
from getpatter.testing import fake_gemini, fake_llm, fake_realtime, fake_ultravox
from getpatter.testing.callers import Handset
from getpatter.testing.fake_convai import AgentCalls, FakeConvAI
from getpatter.testing.fake_gemini import FakeGemini
from getpatter.testing.fake_llm import FakeLLM
from getpatter.testing.fake_realtime import FakeRealtime
from getpatter.testing.fake_speech import FakeService, Refusal
from getpatter.testing.fake_ultravox import FakeUltravox
from getpatter.testing.providers import ScriptedSTT, ScriptedTTS
from getpatter.types import MULAW_8K
from tests.e2e.speech_kit import Ear, Mouth
from tests.support.llm_vendors import Vendor
from tests.support.parity import Engine, Kind, Row

GREETING: Final = "Hello, how may I help you?"
WRONG_KEY: Final = "sk-wrong-0123456789abcdef"
SLOW_S: Final = 4.0
ENGINE_SLOW_S: Final = 6.0
"""Longer than any engine is given to say that it has begun: a slow answer is not an answer that never comes."""


@dataclass(frozen=True)
class Uses:
    """The model says a few words, calls tools (each with a day, unless one is named), and then says `then`."""

    days: Sequence[str]
    text: str
    then: str
    others: Sequence[tuple[str, Mapping[str, object]]] = ()
    """Other tools, with their arguments."""

    @property
    def calls(self) -> list[tuple[str, Mapping[str, object]]]:
        """Each tool with its arguments."""
        return [*self.others, *(("find_slot", {"day": day}) for day in self.days)]


@dataclass(frozen=True)
class Script:
    """What is heard of the caller, in order, and what is answered."""

    heard: Sequence[str] = ()
    says: Sequence[str | Uses] = ("Certainly.",)
    greeting: str = GREETING
    is_slow: bool = False
    breaks: bool = False
    """The connection breaks in mid-word of the first turn."""
    is_limited: bool = False
    """The first request is refused with 429."""
    has_wrong_key: bool = False
    is_out: bool = False
    """Everything is refused with 503: a model's first turn, anybody else's whole call."""


@dataclass
class Toolbox:
    """`find_slot`, and what became of it."""

    lasts_s: float = 2.0
    asked: list[str] = field(default_factory=list)
    at_once: int = 0
    _running: int = 0

    def tool(self) -> Tool:
        """For the agent."""
        schema = {
            "type": "object",
            "properties": {"day": {"type": "string"}},
            "required": ["day"],
        }
        return Tool("find_slot", "Find a free appointment on a day.", schema, self._find)

    async def _find(self, args: dict[str, Any], ctx: dict[str, Any]) -> dict[str, str]:
        del ctx
        self.asked.append(args["day"])
        self._running += 1
        self.at_once = max(self.at_once, self._running)
        await asyncio.sleep(self.lasts_s)
        self._running -= 1
        return {"free": f"{args['day']} at nine"}


@dataclass
class ScriptedModel:
    """A model that answers turn after turn, and uses tools where its script says so."""

    says: Sequence[str | Uses]
    asked: int = 0

    async def stream(
        self, messages: Sequence[Mapping[str, Any]], tools: object = None
    ) -> AsyncIterator[LLMChunk]:
        """The answer to the last turn."""
        del tools
        self.asked += 1
        roles = [message["role"] for message in messages]
        turn = self.says[min(max(roles.count("user") - 1, 0), len(self.says) - 1)]
        await asyncio.sleep(0.1)
        has_results = "tool" in roles and roles[::-1].index("tool") < roles[::-1].index("user")
        if isinstance(turn, str) or has_results:
            yield LLMChunk("text", content=turn if isinstance(turn, str) else turn.then)
        else:
            yield LLMChunk("text", content=turn.text)
            for number, day in enumerate(turn.days):
                arguments = f'{{"day":"{day}"}}'
                yield LLMChunk(
                    "tool_call",
                    index=number,
                    id=f"call_{number}",
                    name="find_slot",
                    arguments=arguments,
                )
        yield LLMChunk("done")


class Stage:
    """One provider in its place. An async context manager."""

    carrier_apologises: ClassVar[bool] = False
    """Whether the provider is the only voice."""
    service: FakeService

    def __init__(self, row: Row, script: Script) -> None:
        """Nothing is open yet."""
        self.row = row
        self.script = script
        self.toolbox = Toolbox()
        self.provider_key = ""
        """Under which it is billed."""
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._open.enter_async_context(self.service)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._open.aclose()

    @property
    def key(self) -> str:
        """What the provider is given."""
        return WRONG_KEY if self.script.has_wrong_key else self.service.key

    def agent(self) -> Agent:
        """Whom the caller rings."""
        return build_agent(
            "You are the desk of a hairdresser.",
            None,
            first_message=self.script.greeting,
            tools=[self.toolbox.tool()],
            **self.parts(),
        )

    def parts(self) -> dict[str, Any]:
        """The provider, and scripted ones for the rest."""
        raise NotImplementedError

    def _kept(self, provider: Any) -> Any:
        """Given back when the stage closes."""
        self._open.push_async_callback(provider.close)
        self.provider_key = provider.provider_key
        return provider

    def refuse(self) -> None:
        """As the script wants it: the next request, or all of them."""
        if self.script.is_limited:
            self.service.refusals = [self.refusal(429)]
        if self.script.is_out:
            self.service.refusals = [self.refusal(503)] * 99

    def refusal(self, status: int) -> Refusal:
        """In the vendor's words, where they matter."""
        return Refusal(status)

    def hold(self, seconds: float) -> None:
        """The service says nothing for so long."""
        self.service.hold.clear()
        asyncio.get_running_loop().call_later(seconds, self.service.hold.set)

    async def before_ring(self) -> None:
        """What is wrong from the beginning."""

    async def before_turn(self, handset: Handset) -> None:
        """What goes wrong when the caller is about to speak."""

    async def after_turn(self, handset: Handset) -> None:
        """What is well again when the caller has heard the first answer."""

    async def in_mid_word(self, handset: Handset) -> None:
        """What goes wrong in the middle of what the caller says."""

    async def in_mid_answer(self, handset: Handset) -> None:
        """What goes wrong in the middle of the answer."""

    @property
    def attempts(self) -> int:
        """Requests that were made to the service."""
        return len([call for call in self.service.calls if call.method != "HEAD"])


class EarStage(Stage):
    """A recogniser; the voice and the model are scripted."""

    def __init__(self, row: Row, script: Script) -> None:
        super().__init__(row, script)
        assert isinstance(row.of, Ear)
        self._ear = row.of
        self.service = row.of.service(script.heard)

    def parts(self) -> dict[str, Any]:
        return {
            "stt": self._kept(self._ear.make(self.service, self.key)),
            "tts": ScriptedTTS(0.05, ms_per_letter=40),
            "llm": ScriptedModel(self.script.says),
        }

    async def before_ring(self) -> None:
        if self.script.is_slow:
            self.hold(SLOW_S)
        self.refuse()

    async def in_mid_word(self, handset: Handset) -> None:
        if self.script.breaks:
            self.service.drop_after_bytes = 1


class VoiceStage(Stage):
    """A voice; the recogniser and the model are scripted."""

    carrier_apologises = True

    def __init__(self, row: Row, script: Script) -> None:
        super().__init__(row, script)
        assert isinstance(row.of, Mouth)
        self._mouth = row.of
        self.service = row.of.service()

    def parts(self) -> dict[str, Any]:
        return {
            "stt": ScriptedSTT(self.script.heard),
            "tts": self._kept(self._mouth.make(self.service, self.key)),
            "llm": ScriptedModel(self.script.says),
        }

    async def before_ring(self) -> None:
        if self.script.is_slow:
            self.hold(SLOW_S)
        self.refuse()
        if self.script.breaks:
            self.service.drop_after_bytes = MULAW_8K.size(900)


class ModelStage(Stage):
    """A language model; the recogniser and the voice are scripted."""

    service: FakeLLM

    def __init__(self, row: Row, script: Script) -> None:
        super().__init__(row, script)
        assert isinstance(row.of, Vendor)
        self._vendor = row.of
        self.service = row.of.service(self._answers())

    def _answers(self) -> list[fake_llm.Says]:
        answers: list[fake_llm.Says] = []
        for number, turn in enumerate(self.script.says):
            if isinstance(turn, str):
                drops = 2 if self.script.breaks and not number else None
                answers.append(fake_llm.Says(turn, drops_after=drops))
            else:
                calls = [fake_llm.Calls("find_slot", {"day": day}) for day in turn.days]
                answers += [fake_llm.Says(turn.text, calls=calls), fake_llm.Says(turn.then)]
        return answers

    def parts(self) -> dict[str, Any]:
        return {
            "stt": ScriptedSTT(self.script.heard),
            "tts": ScriptedTTS(0.05, ms_per_letter=40),
            "llm": self._kept(self._vendor.llm(self.key, self.service.base_url, 15.0)),
        }

    async def before_turn(self, handset: Handset) -> None:
        if self.script.is_slow:
            self.hold(SLOW_S)
        self.refuse()

    async def after_turn(self, handset: Handset) -> None:
        self.service.refusals.clear()

    def refusal(self, status: int) -> Refusal:
        return self.service.refused(status, "Slow down.")


class EngineStage(Stage):
    """A speech-to-speech engine."""

    carrier_apologises = True
    service: FakeRealtime | FakeConvAI | FakeGemini | FakeUltravox

    def __init__(self, row: Row, script: Script) -> None:
        super().__init__(row, script)
        assert isinstance(row.of, Engine)
        self._engine = row.of
        options: dict[str, Any] = {"first_delay": ENGINE_SLOW_S} if script.is_slow else {}
        if script.breaks:
            options["speed"] = 1.2
        says = [TURNS_OF[row.of.service](turn) for turn in script.says]
        flat = [each for turn in says for each in turn]
        self.service = row.of.service(heard=script.heard, says=flat, **options)

    def parts(self) -> dict[str, Any]:
        engine = OverHttp(self._engine.make(self.service, self.key), self._open)
        self.provider_key = engine.provider_key
        return {"engine": engine}

    async def before_ring(self) -> None:
        self.refuse()

    async def in_mid_answer(self, handset: Handset) -> None:
        if self.script.breaks:
            self.service.drop_all()


def _realtime_turns(turn: str | Uses) -> list[fake_realtime.Turn]:
    if isinstance(turn, str):
        return [fake_realtime.Says(turn)]
    return [fake_realtime.Calls(turn.calls, text=turn.text), fake_realtime.Says(turn.then)]


def _convai_turns(turn: str | Uses) -> list[str | AgentCalls]:
    if isinstance(turn, str):
        return [turn]
    return [AgentCalls(turn.calls, then=turn.then, text=turn.text)]


def _gemini_turns(turn: str | Uses) -> list[fake_gemini.Turn]:
    if isinstance(turn, str):
        return [fake_gemini.Says(turn)]
    return [fake_gemini.Calls(turn.calls, text=turn.text, then=turn.then)]


def _ultravox_turns(turn: str | Uses) -> list[fake_ultravox.Turn]:
    if isinstance(turn, str):
        return [fake_ultravox.Says(turn)]
    return [fake_ultravox.Calls(turn.calls, text=turn.text, then=turn.then)]


TURNS_OF: Final[Mapping[type, Callable[[str | Uses], Sequence[Any]]]] = {
    FakeRealtime: _realtime_turns,
    FakeConvAI: _convai_turns,
    FakeGemini: _gemini_turns,
    FakeUltravox: _ultravox_turns,
}


class OverHttp:
    """An engine that asks over real HTTP: the simulation's own requests go to its carrier only."""

    def __init__(self, engine: Any, stack: AsyncExitStack) -> None:
        """The client is closed with `stack`."""
        self._engine = engine
        self._http = HttpClient(engine.provider_key)
        stack.push_async_callback(self._http.aclose)
        self.kind = engine.kind
        self.provider_key = engine.provider_key
        self.manners = engine.manners
        self.dialect = engine.dialect
        self.run_exchange = self._http.run

    def __deepcopy__(self, memo: object) -> Self:
        return self


STAGES: Final[Mapping[Kind, type[Stage]]] = {
    Kind.RECOGNISER: EarStage,
    Kind.VOICE: VoiceStage,
    Kind.MODEL: ModelStage,
    Kind.ENGINE: EngineStage,
}
