"""Providers that a program writes itself, with nothing but the documented methods, on PCM16 at 16 kHz."""

from __future__ import annotations

import asyncio
import math
import struct
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest

from getpatter.agent import PipelineHooks, build_agent
from getpatter.models import Transcript
from getpatter.testing.callers import Caller, Polite, babble, hang_up, listen, say, wait
from getpatter.testing.simulation import Simulation
from getpatter.testing.time import in_virtual_time
from getpatter.vad.base import VADEvent


class Silence:
    """Loudness with a memory: silence begins 300 ms after the last sound."""

    def __init__(self) -> None:
        self.is_sounding = False
        self.silent_ms = 0.0

    def began(self, pcm: bytes) -> bool:
        samples = struct.unpack(f"<{len(pcm) // 2}h", pcm)
        if max(map(abs, samples), default=0) > 500:
            self.is_sounding, self.silent_ms = True, 0.0
            return False
        self.silent_ms += len(pcm) / 32
        if self.is_sounding and self.silent_ms >= 300:
            self.is_sounding = False
            return True
        return False


class Hearing:
    """A recogniser: hears "hello" when something was audible and has been silent for 300 ms."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.silence = Silence()
        self.results: asyncio.Queue[Transcript] = asyncio.Queue()

    async def connect(self) -> None:
        pass

    async def send_audio(self, pcm: bytes) -> None:
        self.received += pcm
        if self.silence.began(pcm):
            await self.results.put(Transcript("hello", is_final=True, speech_final=True))

    async def receive_transcripts(self) -> AsyncIterator[Transcript]:
        while True:
            yield await self.results.get()

    async def close(self) -> None:
        pass


class Speaking:
    """A voice: a second of a 400 Hz tone for every text, in odd-sized chunks."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    async def synthesize(self, text: str) -> AsyncIterator[bytes]:
        self.texts.append(text)
        wave = [int(8000 * math.sin(math.tau * 400 * t / 16000)) for t in range(16000)]
        audio = struct.pack("<16000h", *wave)
        for start in range(0, len(audio), 999):
            yield audio[start : start + 999]

    async def close(self) -> None:
        pass


class Thinking:
    """A model that streams dicts, as the protocol says."""

    def __init__(self) -> None:
        self.messages: list[Mapping[str, Any]] = []

    async def stream(
        self, messages: Sequence[Mapping[str, Any]], tools: object = None
    ) -> AsyncIterator[dict[str, Any]]:
        self.messages = list(messages)
        yield {"type": "text", "content": "I hear "}
        yield {"type": "text", "content": "you."}
        yield {"type": "done"}


@in_virtual_time
async def test_a_call_with_plain_providers() -> None:
    ears, voice, model = Hearing(), Speaking(), Thinking()
    agent = build_agent(
        "Be kind to {name}.",
        None,
        stt=ears,
        tts=voice,
        llm=model,
        first_message="Hi.",
        variables={"name": "Ada"},
    )
    async with Simulation(agent) as phone:
        call = await phone.talk(Polite("hello", voice=babble))
    assert phone.transcript(call.sid) == [
        ("assistant", "Hi."),
        ("user", "hello"),
        ("assistant", "I hear you."),
    ]
    assert voice.texts == ["Hi.", "I hear you."]
    assert model.messages[0]["role"] == "system"
    assert model.messages[0]["content"].endswith("Be kind to Ada.")
    assert model.messages[1:] == [
        {"role": "assistant", "content": "Hi."},
        {"role": "user", "content": "hello"},
    ]
    heard_s = len(ears.received) / 32000
    assert heard_s == pytest.approx(call.duration_s, abs=0.5)
    spoken = [(span.end - span.start) / 8 for span in call.tape().heard_spans()]
    assert spoken == [pytest.approx(1000, abs=30), pytest.approx(1000, abs=30)]
    assert not phone.problems


@in_virtual_time
async def test_hooks_see_what_they_are_promised_and_may_change_it() -> None:
    seen: dict[str, Any] = {}

    async def before_stt(pcm: bytes, ctx: Any) -> bytes:
        seen.setdefault("pcm", len(pcm) % 640)
        seen["call_id"] = ctx.call_id
        return pcm

    def after_synthesize(pcm: bytes, text: str, ctx: Any) -> bytes:
        seen.setdefault("spoken", text)
        return bytes(len(pcm))  # silence of the same length

    hooks = PipelineHooks(
        before_send_to_stt=before_stt,
        after_transcribe=lambda text, ctx: text.upper(),
        before_synthesize=lambda text, ctx: text.replace("you", "thee"),
        after_synthesize=after_synthesize,
    )
    agent = build_agent(
        "x", None, stt=Hearing(), tts=Speaking(), llm=Thinking(), first_message="Hi.", hooks=hooks
    )
    async with Simulation(agent) as phone:
        call = await phone.talk(
            Caller(wait(2500), say("hello"), wait(4000), hang_up(), voice=babble)
        )
    assert phone.transcript(call.sid) == [
        ("assistant", "Hi."),
        ("user", "HELLO"),
        ("assistant", "I hear thee."),
    ]
    assert seen == {"pcm": 0, "call_id": call.sid, "spoken": "Hi."}
    assert call.tape().heard_spans() == []


class Detecting:
    """A voice detector of the program's own, by loudness."""

    def __init__(self) -> None:
        self.silence = Silence()

    async def process_frame(self, pcm: bytes, sample_rate: int) -> VADEvent | None:
        assert sample_rate == 16000
        was_sounding = self.silence.is_sounding
        if self.silence.began(pcm):
            return VADEvent("speech_end")
        if self.silence.is_sounding and not was_sounding:
            return VADEvent("speech_start")
        return None

    async def close(self) -> None:
        pass


@in_virtual_time
async def test_a_detector_of_the_programs_own_interrupts() -> None:
    agent = build_agent(
        "x",
        None,
        stt=Hearing(),
        tts=Speaking(),
        llm=Thinking(),
        vad=Detecting(),
        first_message="Well. " * 20,
    )
    caller = Caller(wait(1500), say("hello"), listen(), hang_up(), voice=babble)
    async with Simulation(agent) as phone:
        call = await phone.talk(caller)
    roles = [role for role, _ in phone.transcript(call.sid)]
    assert roles == ["assistant", "user", "assistant"]
    assert phone.calls[call.sid].end["metrics"].turns[0].interrupted
