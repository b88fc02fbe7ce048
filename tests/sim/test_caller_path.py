"""What agents may have done to their callers' sound, in whole calls: what recogniser and engine get of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import pytest

from getpatter.agent import Agent, build_agent
from getpatter.audio import mulaw_to_pcm16, pcm16_to_mulaw
from getpatter.testing.callers import Caller, Handset, babble, hang_up, listen, say, wait
from getpatter.testing.providers import ScriptedSTT, ScriptedTTS
from getpatter.testing.simulation import Simulation
from getpatter.testing.time import in_virtual_time

LONG = (
    "Hello, and welcome to the clinic, where we have a great deal to say before you may speak. " * 3
)


@dataclass
class Keeping(ScriptedSTT):
    """A recogniser that keeps what it hears."""

    kept: list[bytes] = field(default_factory=list)

    def clone(self) -> Self:
        return type(self)(self.lines, kept=self.kept)

    def feed(self, data: bytes) -> None:
        self.kept.append(data)
        super().feed(data)

    @property
    def sound(self) -> Any:
        return np.frombuffer(mulaw_to_pcm16(b"".join(self.kept)), "<i2").astype(float)


def tone(hz: float, lasts_s: float, peak: float = 6000) -> bytes:
    sound = peak * np.sin(2 * np.pi * hz * np.arange(round(8000 * lasts_s)) / 8000)
    return sound.astype("<i2").tobytes()


def rms(sound: Any) -> float:
    return float(np.sqrt(np.mean(sound**2)))


def agent(stt: ScriptedSTT, **options: Any) -> Agent:
    given: dict[str, Any] = {"tts": ScriptedTTS(), "first_message": "Hello."} | options
    return build_agent("You are a desk.", None, stt=stt, **given)


async def answer(_: Any) -> str:
    return "Very well."


async def heard(its_agent: Agent, *steps: Any) -> Any:
    caller = Caller(listen(), *steps, wait(300), hang_up(), voice=babble)
    async with Simulation(its_agent, on_message=answer) as phone:
        call = await phone.talk(caller)
    assert not phone.problems
    return phone.transcript(call.sid)


@in_virtual_time
async def test_without_any_of_it_the_bytes_pass_as_they_came() -> None:
    stt = Keeping(["a tone"])
    await heard(agent(stt), say(tone(60, 1.0)), wait(1200))
    sent = pcm16_to_mulaw(tone(60, 1.0))
    assert sent in b"".join(stt.kept)


@in_virtual_time
async def test_a_high_pass_takes_the_rumble_from_what_is_recognised() -> None:
    loud = []
    for options in ({}, {"high_pass_hz": 150}):
        stt = Keeping(["a tone"])
        await heard(agent(stt, **options), say(tone(50, 1.0)), wait(1200))
        loud.append(np.abs(stt.sound).max())
    assert loud[1] < loud[0] / 4


@in_virtual_time
async def test_a_quiet_caller_is_recognised_as_loud_as_others() -> None:
    stt = Keeping(["a tone"])
    await heard(agent(stt, agc=True), say(tone(400, 3.0, peak=800)), wait(1500))
    last = stt.sound[np.abs(stt.sound) > 100][-8000:]
    assert rms(last) == pytest.approx(3277, rel=0.3)  # -20 dBFS


@dataclass
class Filter:
    """Takes half of it away, and notes what it was given."""

    log: list[Any] = field(default_factory=list)
    breaks: bool = False
    is_clone: bool = False

    def clone(self) -> Filter:
        return Filter(self.log, self.breaks, is_clone=True)

    async def process(self, pcm: bytes, sample_rate: int) -> bytes:
        assert self.is_clone
        self.log.append((len(pcm), sample_rate))
        if self.breaks:
            raise RuntimeError("no")
        return (np.frombuffer(pcm, "<i2") // 2).astype("<i2").tobytes()

    async def close(self) -> None:
        self.log.append("closed")


@in_virtual_time
async def test_a_filter_of_the_programs_own_sees_wide_pcm_and_is_heard_through() -> None:
    chosen, stt = Filter(), Keeping(["a tone"])
    lines = await heard(agent(stt, audio_filter=chosen), say(tone(400, 1.0)), wait(1200))
    assert [text for _, text in lines] == ["Hello.", "a tone", "Very well."]
    assert {each[1] for each in chosen.log if each != "closed"} == {16000}
    assert chosen.log.count("closed") == 2  # the call's clone, and the original with its server
    assert np.abs(stt.sound).max() == pytest.approx(3000, rel=0.1)


@in_virtual_time
async def test_a_filter_that_fails_lets_the_sound_pass(caplog: pytest.LogCaptureFixture) -> None:
    stt = Keeping(["a tone"])
    its_agent = agent(stt, audio_filter=Filter(breaks=True))
    lines = await heard(its_agent, say(tone(400, 1.0)), wait(1200))
    assert ("user", "a tone") in lines
    assert np.abs(stt.sound).max() == pytest.approx(6000, rel=0.1)
    assert "hook.failed stage=audio_filter" in caplog.text


@in_virtual_time
async def test_gain_comes_after_the_filter() -> None:
    stt = Keeping(["a tone"])
    its_agent = agent(stt, audio_filter=Filter(), agc=True)
    await heard(its_agent, say(tone(400, 3.0, peak=2000)), wait(1500))
    last = stt.sound[np.abs(stt.sound) > 100][-8000:]
    assert rms(last) == pytest.approx(3277, rel=0.3)


def echo_for(ms: float) -> Any:
    """A caller whose telephone sends back what it plays, 40 ms later and 9 dB quieter."""

    async def step(handset: Handset) -> None:
        began = handset.now_ms
        at = handset.now_ms
        while at < began + ms:
            await handset.until(lambda h, at=at: h.now_ms >= at + 20)  # type: ignore[misc]
            end = round(at * 8)
            pcm = np.frombuffer(mulaw_to_pcm16(handset.play.between(end - 160, end)), "<i2")
            handset.microphone.say(pcm16_to_mulaw((pcm * 0.35).astype("<i2").tobytes()))
            at += 20

    return step


@in_virtual_time
async def test_an_agent_does_not_hear_itself() -> None:
    loud = []
    for is_cancelled in (False, True):
        stt = Keeping([])
        its_agent = agent(
            stt, first_message=LONG, barge_in_threshold_ms=0, echo_cancellation=is_cancelled
        )
        caller = Caller(wait(500), echo_for(12_000), hang_up(), voice=babble)
        async with Simulation(its_agent, on_message=answer) as phone:
            await phone.talk(caller)
        loud.append(rms(stt.sound[6 * 8000 : 11 * 8000]))
    assert loud[0] > 1000
    assert 20 * np.log10(loud[0] / max(1.0, loud[1])) > 15
