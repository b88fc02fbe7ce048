"""What a call promises whoever speaks in it: every speech-to-speech engine in one table of whole calls (CV-65)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Final

import msgspec
import pytest

from getpatter.agent import Agent, build_agent
from getpatter.core.manners import ONE_MOMENT
from getpatter.testing.callees import Callee
from getpatter.testing.callers import (
    Caller,
    SilentOne,
    babble,
    hang_up,
    interrupt_after,
    listen,
    press,
    say,
    wait,
)
from getpatter.testing.memory import in_memory
from getpatter.testing.simulation import Ended, Simulation
from getpatter.testing.time import in_virtual_time
from getpatter.testing.twilio import SimulatedCall, SimulatedTwilio
from getpatter.tools import Guardrail, Tool
from tests.support.parity import ENGINES, Engine
from tests.support.parity_stage import TURNS_OF, Uses
from tests.support.phones import Phone, phone

GREETING: Final = "Welcome to the clinic."
OFFICE: Final = "+15550007777"
BUSY: Final = "[Transfer failed: the line was busy. The caller is connected to you again.]"
ANSWER: Final = "We are open until noon."
LONG: Final = (
    "Our opening hours are from nine in the morning until half past five in the afternoon, on every day "
    "of the week but Sunday, and on Saturdays we close at noon, so please come early if you can."
)
GAP_MS: Final = 1500.0
STANDS_STILL: Final = ("elevenlabs", "ultravox")
"""Engines that can say nothing while they wait for a tool."""

each_engine = pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)


class Desk:
    """An agent with a scripted engine."""

    def __init__(
        self,
        engine: Engine,
        *says: str | Uses,
        heard: tuple[str, ...] = ("When?",),
        first_delay: float = 0.3,
        speed: float = 4.0,
        **options: Any,
    ) -> None:
        turns = [each for turn in says for each in TURNS_OF[engine.service](turn)]
        self.service = engine.service(heard=heard, says=turns, first_delay=first_delay, speed=speed)
        made: Any = engine.make(self.service, self.service.key)
        given: dict[str, Any] = {"first_message": GREETING} | options
        self.agent: Agent = build_agent(
            "You are the desk of a clinic.", None, engine=in_memory(made, self.service), **given
        )

    @property
    def told(self) -> str:
        """Everything that the engine was sent as data."""
        return " ".join(
            msgspec.json.encode(message).decode()
            for conversation in self.service.conversations
            for message in conversation.received
        )

    async def slow_down(self, handset: object) -> None:
        """From now on an answer takes long, and after a while no longer."""
        del handset
        usual, self.service.first_delay = self.service.first_delay, 30.0
        asyncio.get_running_loop().call_later(
            7.0, lambda: setattr(self.service, "first_delay", usual)
        )

    async def talk(self, *steps: Any, **serving: Any) -> tuple[Ended, SimulatedCall]:
        """One call with a caller who lets the agent greet them."""
        return await self.hold(Caller(listen(gap_ms=GAP_MS), *steps, voice=babble), **serving)

    async def hold(self, caller: Any, **serving: Any) -> tuple[Ended, SimulatedCall]:
        async with Simulation(self.agent, **serving) as house:
            call = await house.talk(caller)
            assert not house.problems
        assert not self.service.problems
        assert self.service.sockets_open == 0
        return house.calls[call.sid], call


def said(ended: Ended) -> str:
    return " ".join(text for role, text in ended.lines if role == "assistant")


def pauses(call: SimulatedCall) -> list[float]:
    """Seconds of silence between one thing that the agent said and the next."""
    return [
        (after.start - before.end) / 8000 for before, after in pairwise(call.tape().heard_spans())
    ]


def slow(seconds: float) -> Tool:
    async def lookup(args: dict[str, Any], ctx: dict[str, Any]) -> str:
        await asyncio.sleep(seconds)
        return "there"

    return Tool("lookup", "Looks it up.", handler=lookup)


def uses(name: str, text: str = "", then: str = "", **arguments: object) -> Uses:
    return Uses((), text, then, others=((name, arguments),))


# -------------------------------------------------------------------------------------- transfers


async def transferred(
    engine: Engine, mode: str, callee: Callee
) -> tuple[Desk, Phone, Mapping[str, Any], SimulatedTwilio]:
    desk = Desk(
        engine,
        uses(
            "transfer_call", "One moment.", "They are busy. What else?",
            number=OFFICE, mode=mode, summary="Ms Jones wants to rebook.",
        ),
        "Goodbye.",
        heard=("The office please.", "Never mind."),
    )  # fmt: skip
    if engine.service.__name__ != "FakeRealtime":
        # The note, not the tool's result, is what these go on from.
        desk.service.says.insert(1, *TURNS_OF[engine.service]("They are busy. What else?"))
    simulated = SimulatedTwilio(listens=False)
    simulated.callees[OFFICE] = callee
    async with phone(simulated, desk.agent) as ours:
        asked = [listen(gap_ms=GAP_MS), say("the office please"), listen()]
        back = [
            listen(patience_s=90),
            say("never mind"),
            listen(gap_ms=GAP_MS),
            hang_up(),
        ]
        is_taken = callee.outcome == "answered"
        steps = [*asked, wait(600_000)] if is_taken else [*asked, *back]
        call = simulated.ring(Caller(*steps, voice=babble))
        await call.ended(within_s=900)
        end = await ours.farewell(call.sid)
    assert not simulated.problems
    assert not desk.service.problems
    return desk, ours, end, simulated


@each_engine
@pytest.mark.parametrize("mode", ["cold", "warm"])
@in_virtual_time
async def test_a_caller_whom_somebody_takes_is_off_our_hands(engine: Engine, mode: str) -> None:
    desk, ours, end, simulated = await transferred(engine, mode, Callee(talks_s=300))
    assert end["reason"] == "transferred"
    assert ours.lines == [
        ("assistant", GREETING),
        ("user", "The office please."),
        ("assistant", "One moment."),
    ]
    assert desk.service.sockets_open == 0
    if mode == "warm":
        words = [word for each in simulated.calls for word in each.words]
        assert words == ["Ms Jones wants to rebook."]


@each_engine
@pytest.mark.parametrize("mode", ["cold", "warm"])
@in_virtual_time
async def test_a_caller_whom_nobody_takes_is_brought_back_and_the_engine_is_told(
    engine: Engine, mode: str
) -> None:
    desk, ours, end, _ = await transferred(engine, mode, Callee(outcome="busy"))
    assert ours.lines == [
        ("assistant", GREETING),
        ("user", "The office please."),
        ("assistant", "One moment."),
        ("user", BUSY),
        ("assistant", "They are busy. What else?"),
        ("user", "Never mind."),
        ("assistant", "Goodbye."),
    ]
    assert end["reason"] == "caller_hangup"
    assert desk.told.count(BUSY) == 1


# ------------------------------------------------------------------------------------------- keys


@each_engine
@in_virtual_time
async def test_keys_reach_the_engine_as_one_turn_and_stop_what_it_says(engine: Engine) -> None:
    desk = Desk(engine, LONG, "You chose twelve.")
    ended, call = await desk.talk(
        say("when"), interrupt_after(2000), press("12"), listen(gap_ms=2500), hang_up()
    )
    assert [role for role, _ in ended.lines] == ["assistant", "user"] * 2 + ["assistant"]
    assert LONG.startswith(ended.lines[2][1])
    assert len(ended.lines[2][1]) < len(LONG) / 2
    assert ended.lines[3:] == [("user", "[DTMF: 12]"), ("assistant", "You chose twelve.")]
    assert desk.told.count("[DTMF: 12]") == 1
    assert len(call.tape().heard_spans()) == 3


@each_engine
@in_virtual_time
async def test_a_keyed_secret_reaches_the_tool_and_not_the_engine(engine: Engine) -> None:
    got: list[str] = []

    async def check(args: Any, ctx: dict[str, Any]) -> str:
        del args
        got.append(await ctx["call"].collect_digits(6))
        return "verified"

    desk = Desk(
        engine,
        uses("check_pin", "Please key your PIN.", "Thank you."),
        heard=("My account.",),
        tools=[Tool("check_pin", "Asks for the PIN.", None, check)],
    )
    ended, _ = await desk.talk(
        say("my account"), listen(gap_ms=GAP_MS), press("493817"), listen(gap_ms=GAP_MS), hang_up()
    )
    assert got == ["493817"]
    assert ended.lines == [
        ("assistant", GREETING),
        ("user", "My account."),
        ("assistant", "Please key your PIN. Thank you."),
    ]
    assert "493817" not in desk.told


# ------------------------------------------------------------------------------------- guardrails


@each_engine
@in_virtual_time
async def test_what_a_guardrail_forbids_is_never_heard_to_the_end(engine: Engine) -> None:
    rule = Guardrail(name="law", blocked_terms=["legal action"], replacement="I cannot advise.")
    hit: list[object] = []
    desk = Desk(
        engine,
        "Well, you could take legal action against them. " + LONG,
        "You are welcome.",
        heard=("What now?", "Thanks."),
        speed=1.5,
        guardrails=[rule],
    )
    async with Simulation(desk.agent) as house:
        house.events.on("guardrail_triggered", hit.append)
        call = await house.talk(
            Caller(
                listen(gap_ms=GAP_MS), say("what now"), listen(gap_ms=GAP_MS), say("thanks"),
                listen(gap_ms=GAP_MS), hang_up(), voice=babble,
            )
        )  # fmt: skip
    lines = house.transcript(call.sid)
    assert lines[2][1].endswith("I cannot advise.")
    assert "legal action" not in lines[2][1]
    assert lines[3:] == [("user", "Thanks."), ("assistant", "You are welcome.")]
    assert call.duration_s < 20, "it was not let to talk to its end"
    assert len(hit) == 1
    assert not desk.service.problems


# ----------------------------------------------------------------------------------------- the end


@each_engine
@in_virtual_time
async def test_the_goodbye_is_heard_before_the_agent_hangs_up(engine: Engine) -> None:
    words = "Goodbye, and thank you for your call!"
    desk = Desk(engine, uses("end_call", words, reason="done"), heard=("Bye.",))
    ended, call = await desk.talk(say("bye"), wait(60_000))
    assert ended.lines[-1] == ("assistant", words)
    assert ended.end["reason"] == "agent_hangup"
    assert call.hung_up_by == "api"
    last = call.tape().heard_spans()[-1]
    assert (last.end - last.start) / 8000 > 0.9 * 0.06 * len(words)


@each_engine
@in_virtual_time
async def test_a_silent_caller_is_asked_once_and_released(engine: Engine) -> None:
    ended, _ = await Desk(engine, "Certainly.").hold(SilentOne(), idle_timeout=6.0)
    assert [text for _, text in ended.lines] == [GREETING, "Are you still there?"]
    assert ended.end["reason"] == "idle"


@each_engine
@in_virtual_time
async def test_no_call_lasts_longer_than_it_may(engine: Engine) -> None:
    ended, _ = await Desk(engine, "Certainly.").hold(SilentOne(), max_call_duration=7)
    assert ended.end["reason"] == "time_limit"
    assert 7 <= ended.end["metrics"].duration_seconds < 9


# -------------------------------------------------------------------------------------- dead air


@each_engine
@in_virtual_time
async def test_a_tool_that_takes_long_is_not_waited_for_in_silence(engine: Engine) -> None:
    calls = uses("lookup", "Let me see.", "Found it.")
    ended, call = await Desk(engine, calls, "Found it.", tools=[slow(12)]).talk(
        say("when"), wait(32_000), hang_up()
    )
    if engine.name in STANDS_STILL:
        assert said(ended) == f"{GREETING} Let me see. Found it."
    else:
        assert said(ended) == f"{GREETING} Let me see. {ONE_MOMENT} Found it."
        assert max(pauses(call)) < 9.5


@each_engine
@in_virtual_time
async def test_a_slow_answer_to_an_interruption_is_not_interrupted_by_us(engine: Engine) -> None:
    desk = Desk(engine, LONG, ANSWER, heard=("When?", "On Saturdays?"), first_delay=0.3)

    async def think(handset: object) -> None:
        del handset
        desk.service.first_delay = 6.0

    ended, _ = await desk.talk(
        say("when"), interrupt_after(2000), think, say("on saturdays"), wait(14_000), hang_up()
    )
    assert ended.lines[3:] == [("user", "On Saturdays?"), ("assistant", ANSWER)]
    assert ONE_MOMENT not in said(ended)


@each_engine
@in_virtual_time
async def test_an_answer_that_does_not_come_is_asked_for_again(engine: Engine) -> None:
    desk = Desk(engine, ANSWER)
    ended, call = await desk.talk(desk.slow_down, say("when"), wait(32_000), hang_up())
    assert ended.lines[1] == ("user", "When?")
    assert said(ended) == f"{GREETING} {ONE_MOMENT} {ANSWER}"
    # An engine that says that it has begun may think for longer; one that says nothing may not.
    acknowledges = engine.name.startswith("openai")
    assert max(pauses(call)) < (18 if acknowledges else 12.5)


# ------------------------------------------------------------------------------------------- cost


@in_virtual_time
async def test_what_cached_tokens_saved_is_told_and_is_off_the_price_already() -> None:
    (engine,) = [each for each in ENGINES if each.name == "openai"]
    desk = Desk(engine, ANSWER)
    ended, _ = await desk.talk(say("when"), listen(gap_ms=GAP_MS), hang_up())
    cost = ended.end["metrics"].cost
    # Two responses with 64 cached tokens of text each, at 0.06 instead of 0.60 dollars a million.
    assert cost.llm_cached_savings == pytest.approx(2 * 64 * (0.60 - 0.06) / 1e6)
    assert cost.llm > 0
    assert cost.total == pytest.approx(cost.stt + cost.tts + cost.llm + cost.telephony)
