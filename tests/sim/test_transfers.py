"""Transfers in whole calls, on each carrier: taken, refused, unanswered; cold and warm; and the way back."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pytest

from getpatter.agent import Agent, build_agent
from getpatter.carriers import resumed_wire
from getpatter.engines.openai import Realtime
from getpatter.runtime.control import CallControl
from getpatter.runtime.recorder import FlightRecorder
from getpatter.runtime.replay import Replay, read_header, replay
from getpatter.testing.callees import Callee
from getpatter.testing.callers import Caller, babble, hang_up, interrupt_after, listen, say
from getpatter.testing.fake_realtime import Calls, FakeRealtime, Says
from getpatter.testing.memory import in_memory
from getpatter.testing.plivo import SimulatedPlivo
from getpatter.testing.providers import ScriptedSTT, ScriptedTTS
from getpatter.testing.telnyx import SimulatedTelnyx
from getpatter.testing.time import in_virtual_time
from getpatter.testing.twilio import SimulatedTwilio
from tests.support.models import ActingLLM, Request, wants
from tests.support.phones import Phone, SimulatedCarrier, phone

OFFICE = "+15550007777"
SUMMARY = "Ms <Jones> & \"co\" want to rebook 'Tuesday'"
BUSY = "[Transfer failed: the line was busy. The caller is connected to you again.]"


def twilio() -> SimulatedTwilio:
    return SimulatedTwilio(listens=False)


def telnyx() -> SimulatedTelnyx:
    return SimulatedTelnyx(listens=False)


def plivo() -> SimulatedPlivo:
    return SimulatedPlivo(listens=False)


CARRIERS = [pytest.param(each, id=each.__name__) for each in (twilio, telnyx, plivo)]
MODES = ["cold", "warm"]
FAILURES = [
    pytest.param(Callee(outcome="busy"), "the line was busy", id="busy"),
    pytest.param(Callee(outcome="failed"), "the number could not be reached", id="refused"),
    pytest.param(Callee(rings_s=60), "nobody answered", id="unanswered"),
]


def receptionist(mode: str) -> ActingLLM:
    """Transfers when asked, and says what became of it."""

    def act(request: Request) -> list[Any]:
        said = request.said_last
        if said.startswith("[Transfer failed"):
            return ["I am sorry, nobody could take your call. What else?"]
        if said == "the office please" and not request.results:
            return [
                "I connect you now.",
                wants("transfer_call", number=OFFICE, mode=mode, summary=SUMMARY),
            ]
        return ["Very well."]

    return ActingLLM(act)


def agent(llm: ActingLLM | None, *heard: str, **options: Any) -> Agent:
    given: dict[str, Any] = {
        "stt": ScriptedSTT(heard or ("the office please", "never mind")),
        "tts": ScriptedTTS(),
        "llm": llm,
        "first_message": "Hello.",
    } | options
    return build_agent("You are a desk.", None, **given)


def office(simulated: SimulatedCarrier, callee: Callee) -> None:
    simulated.callees[OFFICE] = simulated.callees[OFFICE.removeprefix("+")] = callee


def patient() -> Any:
    """Asks for the office; when the agent is there again, says never mind."""
    return Caller(
        listen(), say("the office please"), listen(), listen(patience_s=90), say("never mind"),
        listen(), hang_up(), voice=babble,
    )  # fmt: skip


def id_of(call: Any) -> str:
    return str(getattr(call, "sid", "") or call.id)


async def failed(
    simulated: SimulatedCarrier, mode: str, callee: Callee, **serving: Any
) -> tuple[Phone, Any, Mapping[str, Any], ActingLLM]:
    office(simulated, callee)
    llm = receptionist(mode)
    async with phone(simulated, agent(llm), **serving) as ours:
        call = simulated.ring(patient())
        await call.ended(within_s=300)
        end = await ours.farewell(id_of(call))
        await asyncio.sleep(120)
    return ours, call, end, llm


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("callee", "why"), FAILURES)
@in_virtual_time
async def test_a_caller_whom_nobody_takes_is_brought_back_and_the_talk_goes_on(
    carrier: Any, mode: str, callee: Callee, why: str
) -> None:
    simulated = carrier()
    ours, call, end, llm = await failed(simulated, mode, callee)
    assert not simulated.problems
    assert len(call.rides) == 2
    assert ours.lines == [
        ("assistant", "Hello."),
        ("user", "the office please"),
        ("assistant", "I connect you now."),
        ("user", f"[Transfer failed: {why}. The caller is connected to you again.]"),
        ("assistant", "I am sorry, nobody could take your call. What else?"),
        ("user", "never mind"),
        ("assistant", "Very well."),
    ]
    assert [(line["role"], line["text"]) for line in end["transcript"]] == ours.lines
    assert end["reason"] == "caller_hangup"
    # The model sees what it did, and what came of it.
    assert llm.requests[-1].results == [
        f'{{"status":"transferring","mode":"{mode}","to":"{OFFICE}"}}'
    ]
    assert list(ours.ended) == [end["call_id"]]
    others = [each for each in simulated.calls if each is not call]
    assert all(each.is_over for each in others)


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("mode", MODES)
@in_virtual_time
async def test_a_caller_who_is_taken_talks_to_them_and_the_call_is_over_for_us(
    carrier: Any, mode: str
) -> None:
    simulated = carrier()
    office(simulated, Callee(talks_s=300))
    talked: list[float] = []
    loop = asyncio.get_running_loop()
    async with phone(simulated, agent(receptionist(mode))) as ours:
        call = simulated.ring(patient())
        end = await ours.farewell(id_of(call))
        talked.append(loop.time())
        assert not call.is_over
        await call.ended(within_s=900)
        talked.append(loop.time())
    assert not simulated.problems
    assert end["reason"] == "transferred"
    # Our part was over when they began to talk, not when they had finished.
    assert talked[1] - talked[0] > 290
    assert len(call.rides) == 1
    assert [text for _, text in ours.lines][-1] == "I connect you now."
    if mode == "warm":
        said = [word for each in simulated.calls for word in each.words]
        assert said == [SUMMARY]


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize(
    ("callee", "why"),
    [
        pytest.param(
            Callee(answered_by="machine_start", verdict_after_s=1.0),
            "an answering machine picked up",
            id="machine",
        ),
        pytest.param(
            Callee(hangs_up_after_s=0.7),
            "the other side hung up before it was connected",
            id="gone",
        ),
    ],
)
@in_virtual_time
async def test_a_target_who_does_not_join_is_let_go_and_the_caller_is_brought_back(
    carrier: Any, callee: Callee, why: str
) -> None:
    simulated = carrier()
    ours, call, end, _ = await failed(simulated, "warm", callee)
    assert not simulated.problems
    assert (
        "user",
        f"[Transfer failed: {why}. The caller is connected to you again.]",
    ) in ours.lines
    assert end["reason"] == "caller_hangup"
    (target,) = [each for each in simulated.calls if each is not call]
    assert target.is_over


@pytest.mark.parametrize("carrier", CARRIERS)
@in_virtual_time
async def test_a_target_who_cannot_even_be_called_is_told_to_the_program(carrier: Any) -> None:
    simulated = carrier()
    outcomes: list[Any] = []

    async def desk(event: Any, call: CallControl) -> str:
        if event["text"].startswith("[Transfer failed"):
            assert not call.is_transferred
            return "Sorry."
        if not outcomes:
            outcomes.append(await call.transfer(OFFICE, mode="warm", summary="x"))
        return ""

    operation = {twilio: "POST /Calls.json", telnyx: "POST /calls", plivo: "POST /Call/"}[carrier]
    async with phone(simulated, agent(None), on_message=desk) as ours:
        simulated.refuse_next(403, operation=operation)
        caller = Caller(
            listen(), say("the office please"), listen(patience_s=60), hang_up(), voice=babble
        )
        call = simulated.ring(caller)
        await call.ended(within_s=300)
        await ours.farewell(id_of(call))
    assert outcomes[0]["status"] == "failed"
    assert "error" in outcomes[0]
    assert ours.lines[-1] == ("assistant", "Sorry.")
    assert len(call.rides) == 2


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("mode", MODES)
@in_virtual_time
async def test_a_carrier_that_refuses_at_once_leaves_the_caller_where_they_are(
    carrier: Any, mode: Literal["cold", "warm"]
) -> None:
    simulated = carrier()
    outcomes: list[Any] = []

    async def desk(event: Any, call: CallControl) -> str:
        if not outcomes:
            simulated.refuse_next(403)
            outcomes.append(await call.transfer(OFFICE, mode=mode, summary="x"))
        return "Still here."

    async with phone(simulated, agent(None), on_message=desk) as ours:
        call = simulated.ring(
            Caller(listen(), say("the office please"), listen(), hang_up(), voice=babble)
        )
        await call.ended(within_s=300)
        end = await ours.farewell(id_of(call))
    assert outcomes[0]["status"] == "failed"
    assert ours.lines[-1] == ("assistant", "Still here.")
    assert (len(call.rides), end["reason"]) == (1, "caller_hangup")


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("mode", MODES)
@in_virtual_time
async def test_a_caller_who_hangs_up_while_it_rings_ends_the_call_and_the_ringing(
    carrier: Any, mode: str
) -> None:
    simulated = carrier()
    office(simulated, Callee(rings_s=20))
    async with phone(simulated, agent(receptionist(mode))) as ours:
        call = simulated.ring(Caller(listen(), say("the office please"), listen(), voice=babble))
        await asyncio.sleep(12)
        call.end("caller")
        end = await ours.farewell(id_of(call))
        await asyncio.sleep(60)
    assert end["reason"] == "caller_hangup"
    others = [each for each in simulated.calls if each is not call]
    assert all(each.is_over and each.answered_at is None for each in others)
    assert not simulated.problems


@pytest.mark.parametrize("carrier", CARRIERS)
@in_virtual_time
async def test_a_second_transfer_may_succeed_where_the_first_did_not(carrier: Any) -> None:
    simulated = carrier()
    office(simulated, Callee(outcome="busy"))
    tries: list[Any] = []

    async def desk(event: Any, call: CallControl) -> str:
        if len(tries) < 2:
            if tries:
                office(simulated, Callee(talks_s=20))
            tries.append(await call.transfer(OFFICE, mode="warm" if tries else "cold"))
        return ""

    async with phone(simulated, agent(None), on_message=desk) as ours:
        call = simulated.ring(Caller(listen(), say("the office please"), voice=babble))
        end = await ours.farewell(id_of(call))
        await call.ended(within_s=300)
    assert [each["status"] for each in tries] == ["transferring", "transferring"]
    assert end["reason"] == "transferred"
    assert [line for line in ours.lines if line[0] == "user"] == [
        ("user", "the office please"),
        ("user", BUSY),
    ]
    assert not simulated.problems


@in_virtual_time
async def test_words_over_the_announcement_hurry_a_transfer_and_are_not_lost() -> None:
    """CA-12: the last words are waited for unless the caller speaks; who speaks is not asked again."""
    simulated = twilio()
    office(simulated, Callee(outcome="busy"))

    def act(request: Request) -> list[Any]:
        if request.said_last.startswith("[Transfer failed"):
            return ["Sorry."]
        if not request.results:
            return ["I connect you now. " * 8, wants("transfer_call", number=OFFICE)]
        return ["Well."]

    llm = ActingLLM(act)
    async with phone(simulated, agent(llm, "the office please", "great thanks")) as ours:
        call = simulated.ring(
            Caller(
                listen(),
                say("the office please"),
                interrupt_after(700),
                say("great thanks"),
                listen(patience_s=90),
                hang_up(),
                voice=babble,
            )
        )
        await call.ended(within_s=300)
        await ours.farewell(call.sid)
    assert call.transfers == [OFFICE]
    announced = call.tape(0).heard_spans()[-1]
    assert 0.7 < (announced.end - announced.start) / 8000 < 3  # of 9 s
    said = [text for role, text in ours.lines if role == "user"]
    assert said[:1] == ["the office please"]
    assert "great thanks" in said
    assert ours.lines[-1] == ("assistant", "Sorry.")


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("mode", MODES)
@in_virtual_time
async def test_an_engine_hears_that_its_caller_is_back(carrier: Any, mode: str) -> None:
    simulated = carrier()
    office(simulated, Callee(outcome="busy"))
    service = FakeRealtime(
        heard=["The office please.", "Never mind."],
        says=[
            Calls([("transfer_call", {"number": OFFICE, "mode": mode})], "One moment."),
            Says("They are busy. What else?"),
            Says("Goodbye."),
        ],
    )
    its = build_agent(
        "You are a desk.",
        None,
        engine=in_memory(Realtime(service.key), service),
        first_message="Hello.",
    )
    async with phone(simulated, its) as ours:
        call = simulated.ring(patient())
        await call.ended(within_s=300)
        end = await ours.farewell(id_of(call))
    assert not simulated.problems
    assert [text for _, text in ours.lines] == [
        "Hello.", "The office please.", "One moment.", BUSY, "They are busy. What else?",
        "Never mind.", "Goodbye.",
    ]  # fmt: skip
    assert end["reason"] == "caller_hangup"


@in_virtual_time
async def test_news_of_a_transfer_is_an_event() -> None:
    simulated = twilio()
    seen: list[Mapping[str, Any]] = []
    office(simulated, Callee(outcome="busy"))
    async with phone(simulated, agent(receptionist("cold"))) as ours:
        ours.server.bus.on("transfer_ended", seen.append)
        call = simulated.ring(patient())
        await call.ended(within_s=300)
        await ours.farewell(call.sid)
    assert [(each["mode"], each["status"]) for each in seen] == [("cold", "busy")]


@pytest.mark.parametrize("carrier", CARRIERS)
@in_virtual_time
async def test_a_flight_with_two_streams_can_be_run_again(carrier: Any, tmp_path: Path) -> None:
    simulated = carrier()
    await failed(simulated, "cold", Callee(outcome="busy"), flight_recorder=tmp_path)
    FlightRecorder.written()
    again = flown_again(tmp_path)
    assert again.frames_recorded
    assert again.first_difference is None
    assert BUSY in [line.text for line in again.lines]


def flown_again(folder: Path) -> Replay:
    (flight,) = folder.glob("*.flight.jsonl")
    header = read_header(flight)
    return replay(flight, resumed_wire(header.carrier, header.started))
