"""The fakes are held against the vendors' own clients: what those say and understand, our fakes understand and say.

Clients that cannot be led to another address take no part. A client that is not installed is skipped.
"""

from __future__ import annotations

import asyncio
import io
import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest

from getpatter.audio.wav import wav_bytes
from getpatter.testing.fake_speech import KEY, tone
from getpatter.testing.fake_speech_assemblyai import FakeAssemblyAI
from getpatter.testing.fake_speech_cartesia import FakeCartesia
from getpatter.testing.fake_speech_deepgram import FakeDeepgram
from getpatter.testing.fake_speech_elevenlabs import FakeElevenLabs
from getpatter.testing.fake_speech_openai import FakeOpenAISpeech
from getpatter.testing.fake_speech_speechmatics import FakeSpeechmatics
from getpatter.types import MULAW_8K, PCM16_16K, PCM16_24K
from tests.e2e.speech_kit import LINES, silence, speech

pytestmark = pytest.mark.filterwarnings("ignore")

CALLER = [*speech(800), *silence(900)]
TEXT = "Hello there, how can I help?"


def official(module: str) -> Any:
    """A vendor's client, whatever it deprecates of others."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return import_module(module)
        except ImportError:
            pytest.skip(f"{module} is not installed")


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def deepgram(service: FakeDeepgram, key: str = KEY) -> Any:
    sdk = official("deepgram")
    environment = official("deepgram.environment").DeepgramClientEnvironment(
        base=service.url, production=service.ws_url, agent=service.ws_url, agent_rest=service.url
    )
    return sdk.AsyncDeepgramClient(api_key=key, environment=environment)


async def test_deepgram_listens() -> None:
    async with FakeDeepgram(LINES) as service:
        options = {
            "model": "nova-3",
            "encoding": "mulaw",
            "sample_rate": "8000",
            "endpointing": "150",
        }
        more = {"interim_results": "true", "utterance_end_ms": "1000", "vad_events": "true"}
        async with deepgram(service).listen.v1.connect(**options, **more) as socket:
            for frame in CALLER:
                await socket.send_media(frame)
            await socket.send_keep_alive()
            await socket.send_finalize()
            await socket.send_close_stream()
            heard = [message async for message in socket]
        kinds = [message.type for message in heard]
        assert {"Results", "SpeechStarted", "UtteranceEnd", "Metadata"} <= {*kinds}
        finals = [each for each in heard if each.type == "Results" and each.is_final]
        assert finals[0].channel.alternatives[0].transcript == LINES[0]
        assert finals[0].speech_final
        assert heard[-1].duration == pytest.approx(service.seconds_heard)
        assert service.events == ["KeepAlive", "Finalize", "CloseStream"]


async def test_deepgram_flux_listens() -> None:
    async with FakeDeepgram(LINES) as service:
        options = {"model": "flux-general-en", "encoding": "mulaw", "sample_rate": "8000"}
        async with deepgram(service).listen.v2.connect(**options) as socket:
            for frame in CALLER:
                await socket.send_media(frame)
            await socket.send_close_stream()
            heard = [message async for message in socket]
        events = [message.event for message in heard if message.type == "TurnInfo"]
        assert events[0] == "StartOfTurn"
        assert events[-1] == "EndOfTurn"
        assert heard[-1].transcript == LINES[0]


async def test_deepgram_speaks() -> None:
    async with FakeDeepgram() as service:
        options = {"model": "aura-2-thalia-en", "encoding": "mulaw", "sample_rate": "8000"}
        async with deepgram(service).speak.v1.connect(**options) as socket:
            types = official("deepgram.speak.v1.types")
            await socket.send_text(types.SpeakV1Text(text=TEXT, type="Speak"))
            await socket.send_flush()
            sound = b""
            async for message in socket:
                if isinstance(message, bytes):
                    sound += message
                elif message.type == "Flushed":
                    break
            await socket.send_clear()
            assert (await socket.recv()).type == "Cleared"
            await socket.send_close()
        assert sound == tone(TEXT, MULAW_8K)


async def test_elevenlabs_speaks_over_http() -> None:
    async with FakeElevenLabs() as service:
        client = official("elevenlabs.client").AsyncElevenLabs(api_key=KEY, base_url=service.url)
        stream = client.text_to_speech.stream(
            "EXAVITQu4vr4xnSDxMaL",
            text=TEXT,
            model_id="eleven_flash_v2_5",
            output_format="ulaw_8000",
        )
        assert b"".join([piece async for piece in stream]) == tone(TEXT, MULAW_8K)
        errors = official("elevenlabs.core.api_error")
        with pytest.raises(errors.ApiError) as caught:
            async for _ in client.text_to_speech.stream("library-voice", text=TEXT):
                pass
        assert caught.value.status_code == 402


async def test_openai_speaks_and_hears() -> None:
    async with FakeOpenAISpeech(LINES) as service:
        sdk = official("openai")
        async with sdk.AsyncOpenAI(api_key=KEY, base_url=service.base_url, max_retries=0) as client:
            async with client.audio.speech.with_streaming_response.create(
                model="gpt-4o-mini-tts", voice="alloy", input=TEXT, response_format="pcm"
            ) as answer:
                assert await answer.read() == tone(TEXT, PCM16_24K)
            file = ("audio.wav", io.BytesIO(wav_bytes(tone(TEXT, PCM16_16K), 16000)), "audio/wav")
            said = await client.audio.transcriptions.create(model="whisper-1", file=file)
            assert said.text == LINES[0]
            details = await client.audio.transcriptions.create(
                model="whisper-1", file=file, response_format="verbose_json"
            )
            assert details.text == LINES[1]
            assert details.segments[0].no_speech_prob < 0.1
        async with sdk.AsyncOpenAI(api_key="wrong", base_url=service.base_url) as stranger:
            with pytest.raises(sdk.AuthenticationError):
                await stranger.audio.speech.create(model="tts-1", voice="alloy", input=TEXT)


async def test_cartesia_speaks() -> None:
    async with FakeCartesia() as service:
        sdk = official("cartesia")
        client = sdk.AsyncCartesia(
            api_key=KEY, base_url=service.url, websocket_base_url=service.ws_url
        )
        async with client, client.tts.websocket_connect() as socket:
            await socket.send(
                {
                    "context_id": "c1",
                    "model_id": "sonic-3",
                    "transcript": TEXT,
                    "voice": {"mode": "id", "id": "f786b574-daa5-4673-aa0c-cbe3e8534c02"},
                    "output_format": {
                        "container": "raw",
                        "encoding": "pcm_mulaw",
                        "sample_rate": 8000,
                    },
                    "continue": False,
                }
            )
            sound = b""
            async for message in socket:
                if message.type == "done":
                    break
                sound += message.audio
        assert sound == tone(TEXT, MULAW_8K)


async def test_cartesia_listens() -> None:
    async with FakeCartesia(LINES) as service:
        sdk = official("cartesia")
        async with sdk.AsyncCartesia(api_key=KEY, base_url=service.url) as client:
            options = {"model": "ink-whisper", "encoding": "pcm_mulaw", "sample_rate": 8000}
            async with client.stt.manual_finalize.websocket(**options) as socket:
                for frame in CALLER:
                    await socket.send_raw(frame)
                await socket.send("finalize")
                heard = []
                async for message in socket:
                    heard.append(message)
                    if message.type == "flush_done":
                        await socket.send("close")
                    if message.type == "done":
                        break
        finals = [each.text for each in heard if each.type == "transcript" and each.is_final]
        assert finals == [LINES[0]]


async def test_speechmatics_listens() -> None:
    async with FakeSpeechmatics(LINES) as service:
        sdk = official("speechmatics.rt")
        heard: list[dict[str, Any]] = []
        async with sdk.AsyncClient(api_key=KEY, url=f"{service.ws_url}/v2") as client:
            for kind in ("ADD_PARTIAL_TRANSCRIPT", "ADD_TRANSCRIPT", "END_OF_UTTERANCE"):
                client.on(getattr(sdk.ServerMessageType, kind), heard.append)
            await client.start_session(
                transcription_config=sdk.TranscriptionConfig(
                    language="en",
                    enable_partials=True,
                    conversation_config=sdk.ConversationConfig(
                        end_of_utterance_silence_trigger=0.4
                    ),
                ),
                audio_format=sdk.AudioFormat(
                    encoding=sdk.AudioEncoding.MULAW, sample_rate=8000, chunk_size=160
                ),
            )
            for frame in CALLER:
                await client.send_audio(frame)
            await client.force_end_of_utterance()
            await client.stop_session()
        finals = [m["metadata"]["transcript"] for m in heard if m["message"] == "AddTranscript"]
        assert "".join(finals) == LINES[0]
        assert any(message["message"] == "EndOfUtterance" for message in heard)
        assert service.starts[0]["message"] == "StartRecognition"


async def test_assemblyai_listens() -> None:
    async with FakeAssemblyAI(LINES) as service:
        sdk = official("assemblyai.streaming.v3")
        loop = asyncio.get_running_loop()
        turns: list[Any] = []
        ended: asyncio.Future[Any] = loop.create_future()

        def tell(what: Callable[[Any], None]) -> Callable[[Any, Any], None]:
            def told(_client: Any, event: Any) -> None:
                loop.call_soon_threadsafe(what, event)

            return told

        def listen() -> None:
            client = sdk.StreamingClient(
                sdk.StreamingClientOptions(api_key=KEY, api_host=service.ws_url)
            )
            client.on(sdk.StreamingEvents.Turn, tell(turns.append))
            client.on(sdk.StreamingEvents.Termination, tell(ended.set_result))
            client.connect(
                sdk.StreamingParameters(
                    sample_rate=8000,
                    encoding=sdk.Encoding.pcm_mulaw,
                    speech_model="universal-streaming-english",
                )
            )
            audio = b"".join(CALLER)
            for start in range(0, len(audio), 800):
                client.stream(audio[start : start + 800])
            client.disconnect(terminate=True)

        await asyncio.to_thread(listen)
        end = await asyncio.wait_for(ended, 10)
        assert end.audio_duration_seconds == pytest.approx(service.seconds_heard, abs=1)
        assert [turn.transcript for turn in turns if turn.end_of_turn] == [LINES[0]]
