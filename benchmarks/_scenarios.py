"""What can become of a phone call, once for all carriers: the rows of `benchmarks.carriers`.

A scenario plays on a stage of its own and raises `MissedError` when something is not as it must be. What must hold
after every one of them is in `Stage.check_always`: each call that began has one `on_call_start` and one
`on_call_end`, both saying the same; nothing lives on at the carrier; the carrier found nothing to complain about.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from benchmarks._stage import (
    CALLER,
    GREETING,
    OURS,
    REPLY,
    THEIRS,
    THIRD,
    WORDS,
    MissedError,
    Stage,
    Told,
    Ways,
    must,
    must_be,
)
from getpatter.audio.dtmf import DtmfDetector
from getpatter.errors import PatterConnectionError
from getpatter.net.sockets import WebSocket
from getpatter.testing.callees import Callee
from getpatter.testing.callers import (
    Caller,
    Polite,
    Program,
    SilentOne,
    babble,
    hang_up,
    interrupt_after,
    listen,
    press,
    say,
    wait,
)
from getpatter.testing.network import UpgradeRefusedError
from getpatter.testing.providers import ScriptedLLM, ScriptedSTT

Play = Callable[[Stage], Awaitable[None]]

LONG: Final = "We are open from nine to five on every weekday, and on Saturdays until noon. " * 3
SAID: Final = [("assistant", GREETING), ("user", WORDS), ("assistant", REPLY)]
REPLY_SAID: Final = ("assistant", REPLY)
MESSAGE: Final = "Please call the clinic."
STAYS: Final = Caller(wait(600_000), voice=babble)
"""Somebody who never hangs up."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A row of the table."""

    name: str
    play: Play
    agent: Mapping[str, Any] = field(default_factory=dict)
    serving: Mapping[str, Any] = field(default_factory=dict)
    only: Callable[[Ways], bool] = lambda _: True
    """Which carriers have such a thing at all."""


SCENARIOS: Final[list[Scenario]] = []


def scenario(
    name: str, *, into: list[Scenario] = SCENARIOS, **options: Any
) -> Callable[[Play], Play]:
    """Add a row."""

    def add(play: Play) -> Play:
        into.append(Scenario(name, play, **options))
        return play

    return add


def polite(*, gap_ms: float = 700) -> Program:
    """Lets the agent finish, says one thing, hears the answer, hangs up."""
    return Polite(WORDS, voice=babble, gap_ms=gap_ms)


# ------------------------------------------------------------------------------------------ inbound


@scenario("inbound: answered, caller hangs up")
async def inbound(stage: Stage) -> None:
    call = stage.ring(polite())
    await call.ended()
    end = await stage.farewell(call)
    must_be(
        "ended at the carrier",
        (stage.ways.ended_as(call), call.hung_up_by),
        ("completed", "caller"),
    )
    must_be("reason", end["reason"], "caller_hangup")
    facts = (end["direction"], end["caller"], end["callee"])
    must_be("direction, caller, callee", facts, ("inbound", CALLER, OURS))
    must_be("transcript", stage.of(call).said, SAID)
    must_be("times that the agent was heard", len(call.tape().heard_spans(gap_ms=700)), 2)
    must_be("hang-ups by REST", len(stage.hang_ups()), 0)


async def _goodbye(event: Mapping[str, Any], control: Any) -> AsyncIterator[str]:
    yield "Goodbye, and until Monday then."
    await control.hangup()


@scenario("inbound: agent hangs up after its words", serving={"on_message": _goodbye})
async def agent_hangs_up(stage: Stage) -> None:
    call = stage.ring(Caller(listen(), say(WORDS), wait(600_000), voice=babble))
    await call.ended()
    end = await stage.farewell(call)
    must_be("reason", end["reason"], "agent_hangup")
    must_be("last line", stage.of(call).said[-1], ("assistant", "Goodbye, and until Monday then."))
    last = call.tape().heard_spans(gap_ms=700)[-1]
    words_ms = stage.tts.ms_per_letter * len("Goodbye, and until Monday then.")
    heard_ms = (last.end - last.start) / call.tape().sample_rate * 1000
    must(
        heard_ms >= words_ms - 60,
        f"{heard_ms:.0f} ms of the last words were heard, not {words_ms:.0f}",
    )
    must(call.hung_up_by in {"api", "document"}, f"hung up by {call.hung_up_by}")


@scenario("inbound: over max_concurrent_calls is busy", serving={"max_concurrent_calls": 1})
async def over_the_limit(stage: Stage) -> None:
    first = stage.ring(Caller(listen(), wait(3000), hang_up(), voice=babble))
    await stage.streaming(first)
    second = stage.ring(SilentOne(), from_number=THIRD)
    await second.ended()
    must_be("second caller", stage.ways.ended_as(second), "busy")
    must_be("streams of the second caller", len(second.rides), 0)
    await first.ended()
    await stage.farewell(first)
    must_be("calls that were told of", [bool(each.starts) for each in stage.heard.values()], [True])


@scenario("inbound: time limit", serving={"max_call_duration": 15})
async def time_limit(stage: Stage) -> None:
    call = stage.ring(STAYS)
    await call.ended(within_s=120)
    end = await stage.farewell(call)
    must_be("reason", end["reason"], "time_limit")
    must(14 <= call.duration_s <= 17, f"it lasted {call.duration_s:.1f} s, not 15")
    if stage.ways.limits_inbound:
        limits = [each["TimeLimit"] for each in stage.asked(stage.ways.hang_up)]
        must("15" in limits, "the carrier was not told the limit")


# ----------------------------------------------------------------------------------------- outbound


@scenario("outbound: answered")
async def answered(stage: Stage) -> None:
    stage.somebody(Callee(polite(), rings_s=3))
    result = await stage.call(max_call_duration=900)
    [call] = stage.carrier.calls
    must_be("outcome", (result.outcome, result.status), ("answered", "completed"))
    must_be("id", result.call_id, stage.ways.call_id(call))
    end = await stage.farewell(call)
    facts = (end["direction"], end["caller"], end["callee"], end["reason"])
    must_be("end", facts, ("outbound", OURS, THEIRS, "caller_hangup"))
    must_be("transcript", stage.of(call).said, SAID)
    must_be("history", [(line["role"], line["text"]) for line in result.transcript], SAID)
    [dial] = stage.asked(stage.ways.dial)
    must_be("time limit at the carrier", str(dial[stage.ways.dial_limit]), "900")
    must_be("ring limit at the carrier", str(dial[stage.ways.ring_limit]), "25")


async def _not_answered(stage: Stage, callee: Callee, outcome: str) -> None:
    stage.somebody(callee)
    result = await stage.call(ring_timeout=10)
    must_be("outcome", result.outcome, outcome)
    [call] = stage.carrier.calls
    must_be("streams", len(call.rides), 0)
    must_be("callbacks", stage.heard, {})
    must_be("dials", len(stage.asked(stage.ways.dial)), 1)


@scenario("outbound: busy")
async def busy(stage: Stage) -> None:
    await _not_answered(stage, Callee(outcome="busy"), "busy")


@scenario("outbound: no answer")
async def no_answer(stage: Stage) -> None:
    await _not_answered(stage, Callee(rings_s=60), "no_answer")


@scenario("outbound: rejected")
async def rejected(stage: Stage) -> None:
    await _not_answered(stage, Callee(outcome="failed"), "failed")


@scenario("outbound: refused by the carrier")
async def refused(stage: Stage) -> None:
    stage.carrier.refuse_next(400, operation=stage.ways.dial)
    try:
        await stage.call()
    except PatterConnectionError:
        pass
    else:
        raise MissedError("call() did not raise")
    must_be("calls", len(stage.carrier.calls), 0)
    must_be("callbacks", stage.heard, {})


@scenario("outbound: answered, but no stream comes")
async def no_media(stage: Stage) -> None:
    async def nobody(*_: object) -> None:
        raise UpgradeRefusedError(0)

    stage.carrier.network.open = nobody
    stage.somebody(Callee(STAYS))
    stage.excused += ["31920", "upgrade was answered 0"]
    result = await stage.call()
    must_be("outcome", result.outcome, "failed")
    must_be("callbacks", stage.heard, {})
    await stage.carrier.calls[0].ended()


# ----------------------------------------------------------------------------------------- machines


@scenario("machine: message left")
async def machine(stage: Stage) -> None:
    stage.somebody(Callee(STAYS, answered_by="machine_end_beep"))
    result = await stage.call(voicemail_message=MESSAGE)
    [call] = stage.carrier.calls
    await call.ended()
    must_be("outcome", result.outcome, "voicemail")
    must_be("the carrier's voice said", call.words, [MESSAGE])
    must_be("verdicts", [each.classification for each in stage.verdicts], ["machine"])
    must_be("reason", (await stage.farewell(call))["reason"], "voicemail")


@scenario("machine: no message, hung up within 2 s")
async def machine_without_message(stage: Stage) -> None:
    callee = Callee(STAYS, answered_by="machine_end_silence")
    stage.somebody(callee)
    result = await stage.call()
    [call] = stage.carrier.calls
    await call.ended()
    must_be("outcome", result.outcome, "voicemail")
    must_be("the carrier's voice said", call.words, [])
    must_be("hung up by", call.hung_up_by, "api")
    late = call.duration_s - callee.verdict_after_s
    must(late <= 2, f"hung up {late:.1f} s after the verdict")
    must_be("reason", (await stage.farewell(call))["reason"], "voicemail")


@scenario("machine: fax is hung up on", only=lambda ways: ways.knows_fax)
async def fax(stage: Stage) -> None:
    stage.somebody(Callee(STAYS, answered_by="fax"))
    result = await stage.call(voicemail_message=MESSAGE)
    [call] = stage.carrier.calls
    await call.ended()
    must_be("outcome", result.outcome, "voicemail")
    must_be("verdicts", [each.classification for each in stage.verdicts], ["fax"])
    must_be("the carrier's voice said", call.words, [])
    must_be("hung up by", call.hung_up_by, "api")


async def _human(stage: Stage, callee: Callee, verdicts: list[str]) -> Any:
    stage.somebody(callee)
    result = await stage.call(voicemail_message=MESSAGE)
    [call] = stage.carrier.calls
    await call.ended()
    must_be("outcome", result.outcome, "answered")
    must_be("verdicts", [each.classification for each in stage.verdicts], verdicts)
    must_be("transcript", stage.of(call).said, SAID)
    must_be("the carrier's voice said", call.words, [])
    must_be("reason", (await stage.farewell(call))["reason"], "caller_hangup")
    return call


@scenario("human: verdict at once")
async def human(stage: Stage) -> None:
    await _human(stage, Callee(polite(), verdict_after_s=0.1), ["human"])


@scenario("human: verdict late, in the middle of the talk")
async def human_late(stage: Stage) -> None:
    await _human(stage, Callee(polite(), verdict_after_s=3.5), ["human"])


@scenario("human: verdict twice, then another one")
async def human_twice(stage: Stage) -> None:
    callee = Callee(polite(gap_ms=2500), verdict_after_s=0.3)
    stage.somebody(callee)
    asking = asyncio.create_task(_human(stage, callee, ["human"]))
    call = await stage.carrier.dialled()
    await stage.until(lambda: stage.verdicts, "no verdict")
    await stage.tell_again(call, lambda told: told.kind == stage.ways.verdict)
    await stage.tell_again(call, lambda told: told.kind == stage.ways.verdict)
    await asking


@scenario("human: no verdict ever")
async def human_never(stage: Stage) -> None:
    await _human(stage, Callee(polite(), verdict_after_s=10_000), [])


# --------------------------------------------------------------------------------------- recordings


@scenario("recording: from the start, told when it is ready", serving={"recording": True})
async def recording(stage: Stage) -> None:
    call = stage.ring(polite())
    await call.ended()
    await stage.farewell(call)
    must_be("recordings asked for", len(stage.asked(stage.ways.record)), 1)
    await stage.until(
        lambda: any(name == "recording_ready" for name, _ in stage.news), "no recording_ready"
    )
    [ready] = [payload for name, payload in stage.news if name == "recording_ready"]
    must_be("call", ready["call_id"], stage.ways.call_id(call))
    must_be("channels", ready["channels"], 2)
    must(ready["recording_id"] and ready["url"], f"no id or no address: {ready}")
    must("@" not in ready["url"], "credentials in the address")


@scenario("recording: refused, the call goes on", serving={"recording": True})
async def recording_refused(stage: Stage) -> None:
    stage.carrier.refuse_next(400, operation=stage.ways.record)
    call = stage.ring(polite())
    await call.ended()
    must_be("reason", (await stage.farewell(call))["reason"], "caller_hangup")
    must_be("transcript", stage.of(call).said, SAID)
    stages = [payload["stage"] for name, payload in stage.news if name == "error"]
    must("recording" in stages, "nobody was told that there is no recording")


# --------------------------------------------------------------------------------------------- keys


@scenario("keys in: each once, together", agent={"stt": ScriptedSTT([])})
async def keys_in(stage: Stage) -> None:
    call = stage.ring(Caller(listen(), press("12#"), listen(), hang_up(), voice=babble))
    await call.ended()
    await stage.farewell(call)
    must_be("transcript", stage.of(call).said, [SAID[0], ("user", "[DTMF: 12#]"), SAID[2]])


async def _press(event: Mapping[str, Any], control: Any) -> str:
    await control.send_dtmf("42#")
    return "Done."


@scenario("keys out", serving={"on_message": _press})
async def keys_out(stage: Stage) -> None:
    call = stage.ring(Polite(WORDS, voice=babble, gap_ms=1200))
    await call.ended()
    await stage.farewell(call)
    must_be("transcript", stage.of(call).said[-1], ("assistant", "Done."))
    if stage.ways.presses_keys:
        must_be("keys at the carrier", stage.pressed(call), "42#")
    else:
        tape = call.tape()
        must_be("tones in our audio", DtmfDetector(tape.sample_rate).push(tape.heard), "42#")


# ------------------------------------------------------------------------------ how calls break off


@scenario("caller hangs up in mid-word", agent={"first_message": LONG})
async def caller_leaves(stage: Stage) -> None:
    call = stage.ring(Caller(interrupt_after(2500), hang_up(), voice=babble))
    await call.ended()
    end = await stage.farewell(call)
    must_be("reason", end["reason"], "caller_hangup")
    _check_cut_off(stage, call)
    must_be("hang-ups by REST", len(stage.hang_ups()), 0)


def _check_cut_off(stage: Stage, call: Any) -> None:
    [line] = stage.of(call).lines
    must(line["interrupted"], "the line is not marked as interrupted")
    must(0 < len(line["text"]) < len(LONG) / 2, f"{len(line['text'])} letters of {len(LONG)} heard")


@scenario("carrier hangs up in mid-word", agent={"first_message": LONG})
async def carrier_ends(stage: Stage) -> None:
    call = stage.ring(STAYS)
    await stage.streaming(call)
    await asyncio.sleep(3)
    call.end("carrier")
    await call.ended()
    end = await stage.farewell(call)
    must_be("reason", end["reason"], "caller_hangup")
    _check_cut_off(stage, call)


@scenario("media socket lost: the leg is released", agent={"first_message": LONG})
async def socket_lost(stage: Stage) -> None:
    call = stage.ring(STAYS)
    await stage.streaming(call)
    await asyncio.sleep(3)
    call.rides[0].cut()
    await stage.until(lambda: call.is_over, "the call lives on at the carrier", 5)
    await call.ended()
    end = await stage.farewell(call)
    # Where the document ends with its stream, the carrier itself ended the call, and nobody can tell why.
    wanted = "carrier_error" if call.hung_up_by == "api" else "caller_hangup"
    must_be("reason", end["reason"], wanted)
    _check_cut_off(stage, call)


# --------------------------------------------------------------------------------- REST that is lost


@scenario("REST: the answer to the dial is lost")
async def dial_lost(stage: Stage) -> None:
    stage.somebody(Callee(polite(), rings_s=15))
    stage.carrier.lose_next(stage.ways.dial)
    if stage.ways.tells_reference:
        result = await stage.call()
        must_be("outcome", result.outcome, "answered")
        must_be("transcript", stage.of(result.call_id).said, SAID)
    else:
        await _unanswered_dial(stage)
    must_be("dials", len(stage.asked(stage.ways.dial)), 1)
    must_be("calls", len(stage.carrier.calls), 1)


async def _unanswered_dial(stage: Stage) -> None:
    try:
        await stage.call()
    except PatterConnectionError:
        pass
    else:
        raise MissedError("call() did not say that the answer is missing")
    [call] = stage.carrier.calls
    await stage.until(lambda: call.is_over, "the call that nobody waits for lives on")
    must_be("callbacks", [each for each in stage.heard.values() if each.starts], [])


@scenario("REST: the answer to the dial is lost, webhooks are late")
async def dial_lost_and_late(stage: Stage) -> None:
    post = stage.carrier.network.post

    async def late(*arguments: Any) -> Any:
        await asyncio.sleep(12)
        return await post(*arguments)

    stage.carrier.network.post = late
    stage.somebody(Callee(STAYS, rings_s=3))
    stage.carrier.lose_next(stage.ways.dial)
    await _unanswered_dial(stage)
    must_be("dials", len(stage.asked(stage.ways.dial)), 1)


@scenario("REST: the answer to the hang-up is lost")
async def hang_up_lost(stage: Stage) -> None:
    call = stage.ring(STAYS)
    await stage.streaming(call)
    await asyncio.sleep(3)
    stage.carrier.lose_next(stage.ways.hang_up)
    await stage.phone.end_call(stage.ways.call_id(call))
    await call.ended()
    end = await stage.farewell(call)
    must_be("reason", end["reason"], "agent_hangup")
    must_be(
        "ended at the carrier", (stage.ways.ended_as(call), call.hung_up_by), ("completed", "api")
    )


@scenario("REST: a hang-up is refused twice (503) and repeated")
async def hang_up_repeated(stage: Stage) -> None:
    call = stage.ring(STAYS)
    await stage.streaming(call)
    await asyncio.sleep(3)
    for _ in range(2):
        stage.carrier.refuse_next(503, operation=stage.ways.hang_up)
    await stage.phone.end_call(stage.ways.call_id(call))
    await call.ended()
    must_be("hung up by", call.hung_up_by, "api")
    must_be("reason", (await stage.farewell(call))["reason"], "agent_hangup")


# ----------------------------------------------------------------------------------------- webhooks


@scenario("webhooks: every one twice", serving={"recording": True})
async def twice(stage: Stage) -> None:
    stage.carrier.delivers_twice = True
    call = stage.ring(polite())
    await call.ended()
    await stage.farewell(call)
    must_be("transcript", stage.of(call).said, SAID)
    must_be("streams", len(call.rides), 1)
    must_be("recordings asked for", len(stage.asked(stage.ways.record)), 1)
    await stage.until(
        lambda: any(name == "recording_ready" for name, _ in stage.news), "no recording_ready"
    )
    told = [name for name, _ in stage.news]
    must_be("recording_ready", told.count("recording_ready"), 1)
    must_be("on_call_start", len(stage.of(call).starts), 1)


@scenario("webhooks: retried and out of order")
async def out_of_order(stage: Stage) -> None:
    stage.somebody(Callee(polite(), rings_s=1, verdict_after_s=0.2))
    asking = asyncio.create_task(stage.call())
    call = await stage.carrier.dialled()
    await stage.streaming(call)
    await stage.tell_again(call, stage.ways.ringing)
    result = await asking
    await call.ended()
    must_be("outcome", (result.outcome, result.status), ("answered", "completed"))
    for late in (stage.ways.over, stage.ways.ringing, _is_verdict(stage)):
        await stage.tell_again(call, late)
    record = stage.phone.metrics_store
    assert record is not None
    must_be("verdicts", len(stage.verdicts), 1)
    shown = await _shown(stage, call)
    must_be("status in the store", shown["status"], "completed")


def _is_verdict(stage: Stage) -> Callable[[Told], bool]:
    return lambda told: told.kind == stage.ways.verdict


async def _shown(stage: Stage, call: Any) -> Mapping[str, Any]:
    store: Any = stage.phone.metrics_store
    shown: Mapping[str, Any] | None = store.get_call(stage.ways.call_id(call))
    must(shown is not None, "the store does not know the call")
    assert shown is not None
    return shown


# ------------------------------------------------------------------------------------- more than one


@scenario("two agents at once, each with its own words")
async def two_agents(stage: Stage) -> None:
    other = stage.agent(
        stt=ScriptedSTT(["yes please"]),
        llm=ScriptedLLM(["Until Friday."]),
        first_message="Ada here.",
    )
    stage.somebody(Callee(Polite("yes please", voice=babble, gap_ms=900)))
    inbound_call = stage.ring(Polite(WORDS, voice=babble, gap_ms=900))
    result = await stage.call(agent=other)
    await inbound_call.ended()
    await stage.farewell(inbound_call)
    must_be("inbound", stage.of(inbound_call).said, SAID)
    must_be(
        "outbound",
        stage.of(result.call_id).said,
        [("assistant", "Ada here."), ("user", "yes please"), ("assistant", "Until Friday.")],
    )
    again = stage.ring(polite())
    await again.ended()
    await stage.farewell(again)
    must_be("inbound, afterwards", stage.of(again).said, SAID)


@scenario("shutdown: one call active, one ringing")
async def shutdown(stage: Stage) -> None:
    stage.somebody(Callee(STAYS, rings_s=20))
    active = stage.ring(STAYS)
    await stage.streaming(active)
    ringing = asyncio.create_task(stage.call())
    placed = await stage.carrier.dialled()
    await stage.until(lambda: any(map(stage.ways.ringing, stage.ways.told(placed))), "no ringing")
    await asyncio.sleep(2)
    witness = await WebSocket.open(
        f"ws://{stage.carrier.server}/ws/stream/nobody", vendor="witness", ping_every=None
    )
    seen: list[tuple[int | None, int]] = []
    witness.listen(
        lambda _: None, lambda _: seen.append((witness.close_code, len(stage.hang_ups())))
    )
    stage.excused += ["11200", "was answered 0", "was answered 503"]
    await stage.phone.disconnect()
    must_be("close code, hang-ups before it", seen, [(1001, 2)])
    result = await ringing
    must_be("ringing call", (result.outcome, result.status), ("no_answer", "canceled"))
    must_be("reason of the active call", stage.of(active).ends[0]["reason"], "shutdown")
    must_be("hung up by", {active.hung_up_by, placed.hung_up_by}, {"api"})
    for call in (active, placed):
        await call.ended()
