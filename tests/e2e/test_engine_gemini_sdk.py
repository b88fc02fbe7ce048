"""The fake Gemini Live, spoken to by the vendor's own client, and our engine over real sockets."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest

from getpatter import GeminiLive
from getpatter.core import messages as m
from getpatter.engines.base import Briefing
from getpatter.net.http import HttpClient
from getpatter.net.tasks import TaskNest
from getpatter.runtime.duplex import Duplex
from getpatter.testing.callers import syllables
from getpatter.testing.fake_gemini import Calls, FakeGemini, Says
from getpatter.testing.line import as_heard_by
from getpatter.types import MULAW_8K, PCM16_16K
from tests.e2e.tls_kit import loopback_certificate

genai = pytest.importorskip("google.genai")
VOICE = syllables(4)


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[ssl.SSLContext, bytes]:
    return loopback_certificate(tmp_path)


def live_of(service: FakeGemini, root: bytes, key: str = "") -> Any:
    """The vendor's client, which speaks TLS only."""
    trust = ssl.create_default_context(cadata=root.decode())
    client = genai.Client(
        api_key=key or service.key,
        http_options={
            "base_url": f"https://{service.host}",
            "async_client_args": {"ssl": trust},
        },
    )
    return client.aio.live


async def until(session: Any, done: Any) -> list[Any]:
    """The messages up to and including the first that is `done`."""
    seen: list[Any] = []
    async with asyncio.timeout(5):
        while True:
            message = await session._receive()  # `receive()` ends with every turn
            seen.append(message)
            if done(message):
                return seen


def is_turn_complete(message: Any) -> bool:
    return bool(message.server_content and message.server_content.turn_complete)


async def speak(session: Any) -> None:
    voice = as_heard_by(VOICE, PCM16_16K) + bytes(32000)
    for start in range(0, len(voice), 640):
        blob = genai.types.Blob(data=voice[start : start + 640], mime_type="audio/pcm;rate=16000")
        await session.send_realtime_input(audio=blob)


CONFIG = {
    "response_modalities": ["AUDIO"],
    "system_instruction": "Be brief.",
    "input_audio_transcription": {},
    "output_audio_transcription": {},
    "session_resumption": {},
    "tools": [{"function_declarations": [{"name": "lookup", "description": "Find a day."}]}],
}


async def test_the_vendors_client_talks_to_the_fake(
    certificate: tuple[ssl.SSLContext, bytes],
) -> None:
    script = [Calls([("lookup", {"q": 1})], text="One moment.", then="It is there.")]
    service = FakeGemini(heard=["Hello."], says=script, first_delay=0.01, speed=50)
    service.tls, root = certificate
    async with service:
        live = live_of(service, root)
        async with live.connect(model="gemini-3.8-live", config=CONFIG) as session:
            await speak(session)
            seen = await until(session, lambda message: message.tool_call is not None)
            words = [
                message.server_content.input_transcription.text
                for message in seen
                if message.server_content and message.server_content.input_transcription
            ]
            assert "".join(words) == "Hello."
            assert sum(len(message.data or b"") for message in seen) > 4800
            (call,) = seen[-1].tool_call.function_calls
            assert (call.name, call.args) == ("lookup", {"q": 1})
            await session.send_tool_response(
                function_responses=genai.types.FunctionResponse(
                    id=call.id, name=call.name, response={"output": "there"}
                )
            )
            last = (await until(session, is_turn_complete))[-1]
            assert last.usage_metadata.response_tokens_details[1].modality.name == "AUDIO"
            renewed = (await until(session, lambda each: each.session_resumption_update))[-1]
        config = CONFIG | {
            "session_resumption": {"handle": renewed.session_resumption_update.new_handle}
        }
        async with live.connect(model="gemini-3.8-live", config=config) as session:
            content = genai.types.Content(role="user", parts=[genai.types.Part(text="More?")])
            await session.send_client_content(turns=content, turn_complete=True)
            await until(session, lambda message: message.tool_call is not None)
        assert service.conversations[1].was_resumed
        assert not service.problems


async def test_the_vendors_client_is_refused_with_a_wrong_key(
    certificate: tuple[ssl.SSLContext, bytes],
) -> None:
    service = FakeGemini()
    service.tls, root = certificate
    async with service:
        live = live_of(service, root, "AIza-wrong")
        with pytest.raises(Exception, match="API key not valid"):
            async with live.connect(model="gemini-3.8-live", config=CONFIG) as session:
                await session._receive()


async def test_our_engine_speaks_over_a_real_socket_and_closes_it() -> None:
    told: list[m.AnyInput] = []
    answered = asyncio.Event()
    lost: list[Exception] = []

    class Nothing:
        is_quiet = True

        def so_far(self) -> list[tuple[str, str]]:
            return []

    def report(event: m.AnyInput) -> None:
        told.append(event)
        if isinstance(event, m.EngineReplyEnded):
            answered.set()

    async with FakeGemini(
        heard=["Hello."], says=[Says("Hi!")], first_delay=0.01, speed=50
    ) as service:
        http = HttpClient("test")
        async with TaskNest("test") as nest:
            briefing = Briefing("Be brief.")
            duplex = Duplex(
                GeminiLive(service.key, base_url=service.url),
                briefing,
                http=http,
                report=report,
                lost=lost.append,
                spawn=nest.spawn,
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
    kinds = [type(event).__name__ for event in told]
    assert kinds[0] == "EngineReady"
    assert kinds.index("EngineTookTurn") < kinds.index("EngineReplyBegan")
    sound = b"".join(event.audio for event in told if isinstance(event, m.EngineAudio))
    assert len(sound) >= 1400
    assert service.close_codes == [1000]
    assert not service.problems
    assert not lost
