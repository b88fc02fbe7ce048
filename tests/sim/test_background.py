"""The sound behind the agent in whole calls: heard all the time, and in nobody's way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from getpatter import BackgroundAudioPlayer, BuiltinAudioClip
from getpatter.agent import Agent, build_agent
from getpatter.audio.wav import wav_bytes
from getpatter.carriers import resumed_wire
from getpatter.engines.openai import Realtime
from getpatter.runtime.recorder import FlightRecorder
from getpatter.runtime.replay import read_header, replay
from getpatter.testing.callees import Callee
from getpatter.testing.callers import (
    Caller,
    babble,
    hang_up,
    interrupt_after,
    listen,
    say,
    wait,
)
from getpatter.testing.fake_realtime import FakeRealtime, Says
from getpatter.testing.memory import in_memory
from getpatter.testing.plivo import SimulatedPlivo
from getpatter.testing.providers import ScriptedSTT, ScriptedTTS
from getpatter.testing.simulation import Simulation
from getpatter.testing.telnyx import SimulatedTelnyx
from getpatter.testing.time import in_virtual_time
from getpatter.testing.twilio import SimulatedTwilio
from tests.support.models import ActingLLM, Request, wants
from tests.support.phones import phone

OFFICE = "+15550007777"
LONG = "That takes a while to explain, because there is so very much of it to be said, and more."
QUIET = BackgroundAudioPlayer(BuiltinAudioClip.CITY_AMBIENCE, volume=0.03, loop=True)
"""Below what a simulated caller takes for a voice."""


def agent(*heard: str, **options: Any) -> Agent:
    given: dict[str, Any] = {
        "stt": ScriptedSTT(heard),
        "tts": ScriptedTTS(),
        "first_message": "Hello, how can I help?",
        "background_audio": QUIET,
    } | options
    return build_agent("You are a desk.", None, **given)


def rms(pcm: bytes) -> Any:
    """Loudness of each 100 ms."""
    samples = np.frombuffer(pcm, "<i2").astype(float)
    blocks = samples[: samples.size // 800 * 800].reshape(-1, 800)
    return np.sqrt((blocks**2).mean(axis=1))


async def answer(_: Any) -> str:
    return LONG


def talkative() -> Any:
    return Caller(
        listen(), say("tell me"), interrupt_after(2000), say("please stop now"), listen(),
        wait(1500), hang_up(), voice=babble,
    )  # fmt: skip


@in_virtual_time
async def test_it_is_heard_from_the_first_word_to_the_last_and_changes_nothing() -> None:
    transcripts, tapes = [], []
    for player in (QUIET, None):
        its_agent = agent("tell me", "please stop now", background_audio=player)
        async with Simulation(its_agent, on_message=answer) as simulation:
            call = await simulation.talk(talkative())
        assert not simulation.problems
        transcripts.append(simulation.transcript(call.sid))
        tapes.append(call.tape())
    with_it, without = tapes
    assert transcripts[0][:2] == transcripts[1][:2]
    assert [role for role, _ in transcripts[0]] == [role for role, _ in transcripts[1]]
    assert len(with_it.heard_spans()) == len(without.heard_spans())
    assert (rms(without.heard)[10:] == 0).any()
    loud = rms(with_it.heard)
    started = int(np.flatnonzero(loud)[0])
    assert started <= 2
    assert (loud[started:-2] > 20).all()  # never a gap
    late = np.subtract(with_it.answer_times()[0], without.answer_times()[0])
    assert late <= 120


@in_virtual_time
async def test_what_is_cut_short_is_cut_as_soon_and_only_what_was_heard_is_remembered() -> None:
    its_agent = agent("tell me", "please stop now")
    async with Simulation(its_agent, on_message=answer) as simulation:
        call = await simulation.talk(talkative())
    lines = simulation.transcript(call.sid)
    cut = lines[2][1]
    assert LONG.startswith(cut)
    assert 10 < len(cut) < 60
    assert simulation.calls[call.sid].end["metrics"].turns[1].interrupted


@in_virtual_time
@pytest.mark.parametrize("mode", ["cancel", "pause_resume"])
async def test_a_flight_recording_has_it_byte_for_byte(tmp_path: Path, mode: Any) -> None:
    file = tmp_path / "hum.wav"
    hum = (600 * np.sin(np.arange(8000 * 3) * 0.4)).astype("<i2").tobytes()
    file.write_bytes(wav_bytes(hum, sample_rate=8000))
    player = BackgroundAudioPlayer([file, (BuiltinAudioClip.HOLD_MUSIC, 2)], volume=0.03, loop=True)
    its_agent = agent("tell me", "please stop now", background_audio=player, barge_in_mode=mode)
    async with Simulation(its_agent, on_message=answer, flight_recorder=tmp_path / "f") as phone_:
        await phone_.talk(talkative())
    FlightRecorder.written()
    (path,) = (tmp_path / "f").glob("*.flight.jsonl")
    header = read_header(path)
    flown = replay(path, resumed_wire(header.carrier, header.started))
    assert len(flown.frames_recorded) > 150
    assert flown.first_difference is None


@in_virtual_time
async def test_an_engine_has_it_too() -> None:
    service = FakeRealtime(heard=["At nine."], says=[Says("Of course, at nine.")])
    engine = in_memory(Realtime(service.key), service)
    its_agent = build_agent(
        "You are a desk.", None, engine=engine, first_message="Hello.", background_audio=QUIET
    )
    caller = Caller(listen(), say("at nine"), listen(), wait(1000), hang_up(), voice=babble)
    async with Simulation(its_agent) as simulation:
        call = await simulation.talk(caller)
    assert [role for role, _ in simulation.transcript(call.sid)] == [
        "assistant",
        "user",
        "assistant",
    ]
    loud = rms(call.tape().heard)
    started = int(np.flatnonzero(loud)[0])
    assert (loud[started:-2] > 20).all()
    assert not simulation.problems


@in_virtual_time
@pytest.mark.parametrize("simulated", [SimulatedTwilio, SimulatedTelnyx, SimulatedPlivo])
async def test_it_stops_for_a_transfer_and_is_there_again_for_who_comes_back(
    simulated: Any,
) -> None:
    def act(request: Request) -> list[Any]:
        if request.said_last == "the office please" and not request.results:
            return [
                "I connect you.",
                wants("transfer_call", number=OFFICE, mode="cold", summary=""),
            ]
        return ["Nobody was there."]

    its_agent = agent("the office please", llm=ActingLLM(act))
    carrier = simulated(listens=False)
    carrier.callees[OFFICE] = carrier.callees[OFFICE.removeprefix("+")] = Callee(outcome="busy")
    async with phone(carrier, its_agent) as ours:
        caller = Caller(
            listen(), say("the office please"), listen(), listen(patience_s=90), wait(2000),
            hang_up(), voice=babble,
        )  # fmt: skip
        call = carrier.ring(caller)
        await call.ended(within_s=300)
        await ours.farewell(getattr(call, "sid", "") or call.id)
    assert not carrier.problems
    assert len(call.rides) == 2
    loud = rms(call.tape(-1).heard)
    assert (loud[3:-2] > 20).all()
