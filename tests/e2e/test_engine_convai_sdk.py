"""The fake ConvAI service over real sockets: spoken to by the vendor's own client, and by our engine."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import httpx
import pytest

from getpatter import ElevenLabsConvAI
from getpatter.core import messages as m
from getpatter.engines.base import Briefing
from getpatter.net.http import HttpClient
from getpatter.net.tasks import TaskNest
from getpatter.runtime.duplex import Duplex
from getpatter.testing.callers import syllables
from getpatter.testing.fake_convai import FakeConvAI
from getpatter.testing.line import as_heard_by
from getpatter.types import MULAW_8K, PCM16_16K

VOICE = syllables(4)


async def test_the_vendors_client_talks_to_the_fake() -> None:
    elevenlabs = pytest.importorskip("elevenlabs")
    conversations = pytest.importorskip("elevenlabs.conversational_ai.conversation")
    heard: list[str] = []
    said: list[str] = []
    sound: list[bytes] = []
    done = threading.Event()

    class Phone(conversations.AudioInterface):  # type: ignore[misc, name-defined]
        """Speaks once and listens."""

        def start(self, input_callback: Any) -> None:
            voice = as_heard_by(VOICE, PCM16_16K) + bytes(32000)
            for start in range(0, len(voice), 640):
                input_callback(voice[start : start + 640])

        def stop(self) -> None:
            pass

        def output(self, audio: bytes) -> None:
            sound.append(audio)

        def interrupt(self) -> None:
            pass

    def agent_said(text: str) -> None:
        said.append(text)
        if len(said) > 1:
            done.set()

    async with FakeConvAI(
        heard=["Hello."], says=["Good day."], audio_format="pcm_16000", first_delay=0.01, speed=50
    ) as service:
        http = httpx.Client()
        client = elevenlabs.ElevenLabs(api_key=service.key, base_url=service.url, httpx_client=http)
        conversation = conversations.Conversation(
            client,
            service.agent_id,
            requires_auth=True,
            audio_interface=Phone(),
            callback_agent_response=agent_said,
            callback_user_transcript=heard.append,
        )
        await asyncio.to_thread(conversation.start_session)
        assert await asyncio.to_thread(done.wait, 8)
        await asyncio.to_thread(conversation.end_session)
        await asyncio.to_thread(conversation.wait_for_session_end)
        await asyncio.to_thread(http.close)
    assert heard == ["Hello."]
    assert said == ["Hello.", "Good day."]
    assert sum(map(len, sound)) > 0
    assert not service.problems


async def test_our_engine_speaks_over_a_real_socket_and_closes_it() -> None:
    told: list[m.AnyInput] = []
    answered = asyncio.Event()

    class Nothing:
        is_quiet = True

        def so_far(self) -> list[tuple[str, str]]:
            return []

    def report(event: m.AnyInput) -> None:
        told.append(event)
        if isinstance(event, m.EngineText) and event.text == "Good day.":
            answered.set()

    async with FakeConvAI(
        heard=["Hello."], says=["Good day."], first_delay=0.01, speed=50
    ) as service:
        http = HttpClient("test")
        async with TaskNest("test") as nest:
            briefing = Briefing("Be brief.", first_message="Welcome.")
            engine = ElevenLabsConvAI(service.key, service.agent_id, base_url=service.url)
            lost: list[Exception] = []
            duplex = Duplex(
                engine, briefing, http=http, report=report, lost=lost.append, spawn=nest.spawn
            )
            running = nest.spawn(duplex.run(), "engine")
            duplex.attach(briefing, Nothing())
            voice = as_heard_by(VOICE, MULAW_8K) + b"\xff" * 8000
            for start in range(0, len(voice), 160):
                duplex.hear(voice[start : start + 160])
            await asyncio.wait_for(answered.wait(), 5)
            await duplex.close()
            await asyncio.wait_for(running, 5)
        await http.aclose()
    assert m.EngineTranscribed("user-1", "Hello.") in told
    assert any(isinstance(event, m.EngineAudio) for event in told)
    assert service.close_codes == [1000]
    assert not service.problems
    assert not lost
