"""The built-in tools in whole calls: who may be called, when a call may end, and keys that are heard."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from getpatter.agent import Agent, build_agent
from getpatter.audio.dtmf import DtmfDetector
from getpatter.runtime.control import CallControl
from getpatter.testing.callers import Caller, babble, hang_up, listen, press, say, wait
from getpatter.testing.providers import ScriptedSTT, ScriptedTTS
from getpatter.testing.simulation import Simulation
from getpatter.testing.time import in_virtual_time
from getpatter.testing.twilio import Callee, SimulatedCall
from tests.support.models import ActingLLM, Request, in_turn, wants

OFFICE = "+15550007777"
THEIRS = "+15550002222"


def agent(*heard: str, llm: ActingLLM | None, **options: Any) -> Agent:
    given: dict[str, Any] = {
        "stt": ScriptedSTT(heard),
        "tts": ScriptedTTS(),
        "llm": llm,
        "first_message": "Hello.",
    } | options
    return build_agent("You are a desk.", None, **given)


def caller(*steps: Any) -> Any:
    return Caller(listen(), *steps, wait(8000), hang_up(), voice=babble)


def offered(request: Request) -> dict[str, str]:
    assert request.tools is not None
    return {each["function"]["name"]: each["function"]["description"] for each in request.tools}


@in_virtual_time
async def test_transfer_and_hanging_up_are_always_offered_keys_only_when_we_call() -> None:
    llm = ActingLLM(in_turn(["Yes."]))
    made = agent("a", llm=llm, transfer_allow=[OFFICE, "+1666*"])
    async with Simulation(made, callees={THEIRS: Callee(caller(say("a")))}) as phone:
        await phone.talk(caller(say("a")))
        await phone.call(THEIRS)
    inbound, outbound = map(offered, llm.requests)
    assert set(inbound) == {"transfer_call", "end_call"}
    assert set(outbound) == {"transfer_call", "end_call", "send_dtmf"}
    assert OFFICE in inbound["transfer_call"]
    assert "1666" not in inbound["transfer_call"]


async def transfer(
    number: str, *said: str, keyed: str = "", **options: Any
) -> tuple[list[str], SimulatedCall]:
    """The answers that a model got which transferred to `number` after the caller had said all of `said`."""

    def act(request: Request) -> list[Any]:
        if request.said_last != said[-1] or request.results:
            return ["Mm."]
        return ["I connect you now.", wants("transfer_call", number=number)]

    llm = ActingLLM(act)
    steps: list[Any] = []
    for each in said:
        steps += [say(each), listen()]
    if keyed:
        steps[:0] = [press(key) for key in keyed] + [listen()]
    async with Simulation(agent(*said, llm=llm, **options)) as phone:
        call = await phone.talk(Caller(listen(), *steps, wait(5000), hang_up(), voice=babble))
    return llm.requests[-1].results, call


@in_virtual_time
async def test_a_transfer_waits_for_the_words_before_it_and_ends_our_part() -> None:
    _, call = await transfer(OFFICE, "the office please")
    assert call.transfers == [OFFICE]
    spoken = call.tape().heard_spans()[-1]
    assert (spoken.end - spoken.start) / 8 == pytest.approx(60 * 18, rel=0.05)


@pytest.mark.parametrize(
    ("number", "options", "answer"),
    [
        ("555", {}, "Invalid phone number format"),
        ("tel:+15550007777", {}, "Invalid phone number format"),
        (OFFICE, {"transfer_allow": ["+1666*"]}, "not one that calls may be transferred to"),
        ("+15550007778", {"transfer_allow": [OFFICE]}, "not one that calls may be transferred to"),
    ],
)
@in_virtual_time
async def test_a_number_that_may_not_be_called_is_refused_and_the_talk_goes_on(
    number: str, options: dict[str, Any], answer: str
) -> None:
    results, call = await transfer(number, "connect me", **options)
    assert answer in results[0]
    assert '"rejected"' in results[0]
    assert not call.transfers


@pytest.mark.parametrize(
    "said",
    [
        ["my number is +1 555 000 7777"],
        ["it is five five five, oh oh oh, double seven double seven"],
        ["it is five five five", "zero zero zero and then", "seventy seven seventy-seven"],
    ],
)
@in_virtual_time
async def test_a_number_of_the_callers_is_refused_unless_it_is_on_the_list(said: list[str]) -> None:
    results, call = await transfer(OFFICE, *said, transfer_allow=["+1555"])
    assert "The caller gave this number" in results[0]
    assert not call.transfers
    _, call = await transfer(OFFICE, *said, transfer_allow=["+1555", OFFICE])
    assert call.transfers == [OFFICE]


@in_virtual_time
async def test_a_number_that_was_keyed_is_refused_too() -> None:
    results, call = await transfer(
        OFFICE, "that one", keyed="15550007777", transfer_allow=["+1555"]
    )
    assert "The caller gave this number" in results[0]
    assert not call.transfers


@in_virtual_time
async def test_a_program_is_held_to_the_list_unless_it_says_otherwise() -> None:
    outcomes: list[Any] = []

    async def desk(event: Any, call: CallControl) -> str:
        outcomes.append(await call.transfer(OFFICE))
        outcomes.append(await call.transfer(OFFICE, allow_any=True))
        return ""

    made = agent("a", llm=None, transfer_allow=["+1666*"])
    async with Simulation(made, on_message=desk) as phone:
        call = await phone.talk(caller(say("a")))
    refused, done = outcomes
    assert refused["status"] == "rejected"
    assert done["status"] == "transferring"
    assert call.transfers == [OFFICE]


@in_virtual_time
async def test_keys_are_heard_as_tones_once_each_though_the_menu_goes_on_talking() -> None:
    llm = ActingLLM(in_turn(["Let me press that.", wants("send_dtmf", digits="42w#")], ["Done."]))
    menu = Caller(
        listen(), say("press four"), wait(1500), say("or press five for anything else at all"),
        wait(6000), hang_up(), voice=babble,
    )  # fmt: skip
    made = agent("press four", "or press", llm=llm)
    async with Simulation(made, callees={THEIRS: Callee(menu)}) as phone:
        result = await phone.call(THEIRS)
    (call,) = phone.twilio.calls
    assert call.sid == result.call_id
    detector = DtmfDetector(8000)
    assert detector.push(call.tape().heard) == "42#"
    assert llm.requests[1].results[0] == '{"status":"sent","digits":4}'
    assert not phone.problems


@in_virtual_time
async def test_a_program_presses_keys_and_knows_when_they_were_heard() -> None:
    took: list[float] = []

    async def desk(event: Any, call: CallControl) -> str:
        began = asyncio.get_running_loop().time()
        await call.send_dtmf("159D", delay_ms=200)
        took.append(asyncio.get_running_loop().time() - began)
        return "There."

    async with Simulation(agent("a", llm=None), on_message=desk) as phone:
        call = await phone.talk(caller(say("a")))
    assert DtmfDetector(8000).push(call.tape().heard) == "159D"
    assert took[0] == pytest.approx(4 * 0.3, abs=0.15)
    assert phone.transcript(call.sid)[-1] == ("assistant", "There.")
