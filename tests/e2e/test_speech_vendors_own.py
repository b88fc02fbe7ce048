"""What only one vendor does: its keep-alive, its error frames, its limits."""

from __future__ import annotations

import asyncio
import json

import pytest

from getpatter.errors import PatterConnectionError, RateLimitError
from getpatter.net.sockets import WebSocket
from getpatter.providers import deepgram, elevenlabs, made_stt, made_tts
from getpatter.stt.assemblyai import AssemblyAISTT
from getpatter.stt.deepgram import DeepgramSTT
from getpatter.stt.whisper import WhisperSTT
from getpatter.testing.fake_speech import KEY, Refusal, tone
from getpatter.testing.fake_speech_assemblyai import FakeAssemblyAI
from getpatter.testing.fake_speech_deepgram import FakeDeepgram
from getpatter.testing.fake_speech_elevenlabs import FakeElevenLabs
from getpatter.testing.fake_speech_openai import FakeOpenAISpeech
from getpatter.testing.fake_speech_voices import FakeInworld
from getpatter.testing.time import in_virtual_time
from getpatter.tts.elevenlabs import ElevenLabsRestTTS, ElevenLabsTTS, ElevenLabsTTSError
from getpatter.tts.elevenlabs_ws import ElevenLabsWebSocketTTS
from getpatter.tts.inworld import InworldTTS
from getpatter.types import MULAW_8K, PCM16_16K
from tests.e2e.speech_kit import LINES, Listening, silence, sound_of, speech


class TestDeepgram:
    @in_virtual_time
    async def test_the_fake_hangs_up_on_whoever_says_nothing(self) -> None:
        async with FakeDeepgram() as service:
            request = DeepgramSTT(KEY, base_url=service.ws_url)._dialect().request()
            socket = await WebSocket.connect(request)
            loop = asyncio.get_running_loop()
            began = loop.time()
            with pytest.raises(PatterConnectionError) as caught:
                await socket.receive()
            assert loop.time() - began == pytest.approx(10, abs=0.1)
            assert caught.value.status == 1011

    @in_virtual_time
    async def test_a_warm_socket_is_kept_alive_too(self) -> None:
        async with FakeDeepgram(LINES) as service:
            stt = DeepgramSTT(KEY, base_url=service.ws_url)
            await stt.warmup()
            await asyncio.sleep(25)
            async with Listening(stt) as call:
                call.utter()
                await call.until(lambda: call.finals == [LINES[0]])
            assert service.connections == 1

    async def test_where_noise_hides_the_pause_the_gap_between_words_ends_the_turn(self) -> None:
        async with FakeDeepgram(LINES) as service:
            service.is_noisy = True
            async with Listening(DeepgramSTT.for_twilio(KEY, base_url=service.ws_url)) as call:
                call.utter()
                await call.until(lambda: any(said.speech_final for said in call.said))
                ends = [said for said in call.said if said.speech_final]
                assert [end.text for end in ends] == [""]
                assert call.finals == [LINES[0]]


class TestElevenLabs:
    async def test_an_error_frame_ends_the_text_and_the_next_one_is_spoken(self) -> None:
        async with FakeElevenLabs() as service:
            tts = ElevenLabsTTS(KEY, base_url=service.url)
            service.error_frame = {"message": "boom", "error": "internal_error", "code": 1008}
            with pytest.raises(ElevenLabsTTSError, match="boom"):
                await sound_of(tts, "Hello.")
            assert await sound_of(tts, "Hello.") == tone("Hello.", PCM16_16K)
            await tts.close()

    async def test_rate_limits_in_frames_are_typed(self) -> None:
        async with FakeElevenLabs() as service:
            tts = ElevenLabsTTS(KEY, base_url=service.url)
            service.error_frame = {"message": "slow", "error": "rate_limited", "code": 1008}
            with pytest.raises(RateLimitError):
                await sound_of(tts, "Hello.")
            await tts.close()

    async def test_a_frame_above_512_kb_is_an_error(self) -> None:
        async with FakeElevenLabs() as service:
            tts = ElevenLabsTTS(KEY, base_url=service.url)
            service.oversized = 512 * 1024
            with pytest.raises(ElevenLabsTTSError):
                await sound_of(tts, "Hello.")
            await tts.close()

    @in_virtual_time
    async def test_no_frame_within_its_time_limit(self) -> None:
        async with FakeElevenLabs() as service:
            tts = ElevenLabsWebSocketTTS(KEY, base_url=service.url, frame_timeout=3.0)
            service.hold.clear()
            loop = asyncio.get_running_loop()
            began = loop.time()
            with pytest.raises(ElevenLabsTTSError, match="3 s"):
                await sound_of(tts, "Hello.")
            assert loop.time() - began == pytest.approx(3, abs=0.5)
            service.hold.set()
            await tts.close()

    async def test_a_plan_error_says_which_plan(self) -> None:
        async with FakeElevenLabs() as service:
            for kind in (ElevenLabsTTS, ElevenLabsRestTTS):
                tts = kind(KEY, voice="library-voice", base_url=service.url)
                with pytest.raises(ElevenLabsTTSError, match="Starter") as caught:
                    await sound_of(tts, "Hello.")
                assert not caught.value.retryable
                assert caught.value.request_id == "req-1"
                await tts.close()

    async def test_models_without_a_socket_are_asked_over_http(self) -> None:
        async with FakeElevenLabs() as service:
            tts = ElevenLabsTTS(KEY, model_id="eleven_v3", base_url=service.url)
            assert await sound_of(tts, "Hello.") == tone("Hello.", PCM16_16K)
            assert [call.method for call in service.calls] == ["POST"]
            await tts.close()

    async def test_pieces_are_no_larger_than_asked(self) -> None:
        async with FakeElevenLabs() as service:
            tts = ElevenLabsRestTTS(KEY, base_url=service.url, chunk_size=1000)
            sizes = [len(sound) async for sound in tts.synthesize("Hello there.")]
            assert max(sizes) <= 1000
            await tts.close()

    async def test_the_socket_is_ended_in_order(self) -> None:
        async with FakeElevenLabs() as service:
            tts = ElevenLabsTTS(KEY, base_url=service.url)
            await sound_of(tts, "Hello.")
            await tts.close()
            assert service.frames[-1] == {"close_socket": True}
            assert service.sockets_open == 0


class TestWhisper:
    async def test_one_request_an_utterance_and_none_for_silence(self) -> None:
        async with FakeOpenAISpeech(LINES) as service:
            async with Listening(WhisperSTT(KEY, base_url=service.base_url)) as call:
                call.feed(silence(5000, call.stt.input_format))
                call.utter()
                call.utter()
                await call.until(lambda: len(call.finals) == 2)
            assert len(service.forms) == 2
            assert service.forms[0] == {
                "model": "whisper-1",
                "response_format": "json",
                "language": "en",
            }

    async def test_what_is_invented_for_a_click_is_not_heard(self) -> None:
        async with FakeOpenAISpeech() as service:
            async with Listening(WhisperSTT(KEY, base_url=service.base_url)) as call:
                call.feed(silence(500, call.stt.input_format))
                call.utter(60)
                call.feed(silence(1000, call.stt.input_format))
                async with asyncio.timeout(5):
                    while not service.forms:
                        await asyncio.sleep(0)
                service.lines = ["Really said."]
                call.utter(600)
                await call.until(lambda: bool(call.finals))
            assert call.finals == ["Really said."]

    async def test_words_have_the_times_of_the_call(self) -> None:
        async with FakeOpenAISpeech(LINES) as service:
            stt = WhisperSTT(KEY, base_url=service.base_url, response_format="verbose_json")
            async with Listening(stt) as call:
                call.feed(silence(1000, call.stt.input_format))
                call.utter()
                await call.until(lambda: bool(call.finals))
            (said,) = call.said
            assert said.words[0].start_ms == pytest.approx(1100, abs=60)
            assert said.language == "english"

    async def test_an_utterance_that_failed_is_asked_about_once_more(self) -> None:
        async with FakeOpenAISpeech(LINES) as service:
            stt = WhisperSTT(KEY, base_url=service.base_url)
            await stt.connect()
            service.refusals = [Refusal(500, headers={"retry-after": "0"})] * 3
            for frame in [*speech(600, PCM16_16K), *silence(900, PCM16_16K)]:
                stt.feed(frame)
            with pytest.raises(PatterConnectionError):
                await anext(aiter(stt.receive_transcripts()))
            results = stt.receive_transcripts()
            assert (await anext(aiter(results))).text == LINES[0]
            await stt.close()


async def test_assemblyai_gets_messages_of_a_size_it_takes() -> None:
    async with FakeAssemblyAI(LINES) as service:
        async with Listening(AssemblyAISTT.for_twilio(KEY, base_url=service.ws_url)) as call:
            for frame in speech(2500):  # 20 ms each: alone too short for it
                call.stt.feed(frame)
            call.stt.feed(b"".join(silence(5000)))  # too long
            await call.until(lambda: call.finals == [LINES[0]])
            call.feed(speech(30))
        assert call.error is None


async def test_inworld_errors_in_the_middle_of_an_answer_are_typed() -> None:
    async with FakeInworld() as service:
        service.fails_after = 2
        tts = InworldTTS(KEY, base_url=service.url)
        with pytest.raises(RateLimitError, match="exhausted"):
            await sound_of(tts, "A text that is long enough for some pieces.")
        await tts.close()


async def test_linear16_headers_on_every_piece_are_not_heard() -> None:
    async with FakeInworld() as service:
        tts = InworldTTS(KEY, base_url=service.url, audio_encoding="LINEAR16")
        assert await sound_of(tts, "Hello there.") == tone("Hello there.", PCM16_16K)
        await tts.close()


async def test_providers_by_name_are_the_same_objects() -> None:
    async with FakeDeepgram(LINES) as ears, FakeElevenLabs() as mouth:
        stt = made_stt(deepgram(KEY, "de", base_url=ears.ws_url))
        tts = made_tts(elevenlabs(KEY, base_url=mouth.url, output_format="ulaw_8000"))
        assert isinstance(stt, DeepgramSTT)
        assert isinstance(tts, ElevenLabsTTS)
        assert stt.language == "de"
        async with Listening(stt) as call:
            call.utter()
            await call.until(lambda: call.finals == [LINES[0]])
        assert await sound_of(tts, "Hello.") == tone("Hello.", MULAW_8K)
        await tts.close()


async def test_what_is_said_to_a_vendor_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    async with FakeElevenLabs() as service:
        tts = ElevenLabsTTS(KEY, base_url=service.url)
        await sound_of(tts, "My secret is tea.")
        await tts.close()
        assert any("secret" in json.dumps(frame) for frame in service.frames)
    assert "secret" not in caplog.text
    assert KEY not in caplog.text
