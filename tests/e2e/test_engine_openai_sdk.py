"""The fake Realtime API, spoken to by the vendor's own client, and our engine over real sockets."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest

from getpatter import OpenAIRealtime
from getpatter.core import messages as m
from getpatter.engines.base import Briefing
from getpatter.net.http import HttpClient
from getpatter.net.tasks import TaskNest
from getpatter.runtime.duplex import Duplex
from getpatter.testing.callers import syllables
from getpatter.testing.fake_realtime import Calls, FakeRealtime, Says
from getpatter.testing.line import as_heard_by
from getpatter.types import MULAW_8K

openai = pytest.importorskip("openai")


def client_of(service: FakeRealtime, key: str | None = None) -> Any:
    return openai.AsyncOpenAI(
        api_key=key or service.key,
        base_url=f"{service.url}/v1",
        websocket_base_url=f"{service.ws_url}/v1",
    )


async def until(connection: Any, kind: str, within: float = 5.0) -> list[Any]:
    """The events up to and including the first of that kind."""
    seen: list[Any] = []
    async with asyncio.timeout(within):
        async for event in connection:
            seen.append(event)
            if event.type == kind:
                return seen
    raise AssertionError(f"no {kind}: {[event.type for event in seen]}")


async def test_the_vendors_client_talks_to_the_fake() -> None:
    tool = {
        "type": "function",
        "name": "lookup",
        "description": "",
        "parameters": {"type": "object"},
    }
    async with FakeRealtime(
        heard=["Hello."],
        says=[Calls([("lookup", {"q": 1})], text="One moment."), Says("It is there.")],
        first_delay=0.01,
        speed=50,
        transcript_delays=[0.01],
    ) as service:
        client = client_of(service)
        async with client.realtime.connect(model="gpt-realtime") as connection:
            (created,) = await until(connection, "session.created")
            assert created.session.model == "gpt-realtime"
            await connection.session.update(
                session={
                    "type": "realtime",
                    "instructions": "Be brief.",
                    "audio": {
                        "input": {
                            "format": {"type": "audio/pcmu"},
                            "transcription": {"model": "gpt-4o-mini-transcribe"},
                        },
                        "output": {"format": {"type": "audio/pcmu"}},
                    },
                    "tools": [tool],
                }
            )
            updated = (await until(connection, "session.updated"))[-1]
            assert updated.session.instructions == "Be brief."
            voice = as_heard_by(syllables(4), MULAW_8K) + b"\xff" * 8000
            for start in range(0, len(voice), 160):
                piece = base64.b64encode(voice[start : start + 160]).decode()
                await connection.input_audio_buffer.append(audio=piece)
            seen = await until(connection, "response.done")
            kinds = [event.type for event in seen]
            order = [
                "input_audio_buffer.speech_started",
                "input_audio_buffer.speech_stopped",
                "input_audio_buffer.committed",
                "conversation.item.added",
                "response.created",
                "response.output_item.added",
                "response.content_part.added",
                "response.output_audio.delta",
                "response.output_audio.done",
                "response.output_audio_transcript.done",
                "response.function_call_arguments.done",
                "response.done",
            ]
            assert [kind for kind in dict.fromkeys(kinds) if kind in order] == order
            response = seen[-1].response
            assert response.status == "completed"
            assert response.usage.input_token_details.cached_tokens == 64
            spoken, called = response.output
            assert spoken.content[0].transcript == "One moment."
            await connection.conversation.item.create(
                item={"type": "function_call_output", "call_id": called.call_id, "output": "ok"}
            )
            await connection.response.create()
            last = (await until(connection, "response.done"))[-1].response
            assert last.output[0].content[0].transcript == "It is there."
            await connection.conversation.item.truncate(
                item_id=last.output[0].id, content_index=0, audio_end_ms=100
            )
            truncated = (await until(connection, "conversation.item.truncated"))[-1]
            assert truncated.audio_end_ms == 100
            await connection.response.cancel()
            error = (await until(connection, "error"))[-1].error
            assert error.code == "response_cancel_not_active"
        assert not service.problems


async def test_the_vendors_client_is_refused_with_a_wrong_key() -> None:
    async with FakeRealtime() as service:
        client = client_of(service, "sk-wrong")
        with pytest.raises(Exception, match="401"):
            async with client.realtime.connect(model="gpt-realtime"):
                pass


async def test_our_engine_speaks_over_a_real_socket_and_closes_it() -> None:
    heard: list[m.AnyInput] = []
    words = asyncio.Event()
    lost: list[Exception] = []

    class Nothing:
        is_quiet = True

        def so_far(self) -> list[tuple[str, str]]:
            return []

    def report(event: m.AnyInput) -> None:
        heard.append(event)
        if isinstance(event, m.EngineReplyEnded):
            words.set()

    async with FakeRealtime(
        heard=["Hello."], says=[Says("Hi!")], first_delay=0.01, speed=50
    ) as service:
        http = HttpClient("test")
        async with TaskNest("test") as nest:
            briefing = Briefing("Be brief.")
            duplex = Duplex(
                OpenAIRealtime(service.key, base_url=service.url),
                briefing,
                http=http,
                report=report,
                lost=lost.append,
                spawn=nest.spawn,
            )
            running = nest.spawn(duplex.run(), "engine")
            duplex.attach(briefing, Nothing())
            voice = as_heard_by(syllables(4), MULAW_8K) + b"\xff" * 8000
            for start in range(0, len(voice), 160):
                duplex.hear(voice[start : start + 160])
            await asyncio.wait_for(words.wait(), 5)
            await duplex.close()
            await asyncio.wait_for(running, 5)
        await http.aclose()
    kinds = [type(event).__name__ for event in heard]
    assert kinds[0] == "EngineReady"
    assert kinds.index("EngineHeardVoice") < kinds.index("EngineTookTurn")
    assert kinds.index("EngineTookTurn") < kinds.index("EngineReplyBegan")
    sound = b"".join(event.audio for event in heard if isinstance(event, m.EngineAudio))
    assert len(sound) >= 1600
    assert service.close_codes == [1000]
    assert not service.problems
    assert not lost
