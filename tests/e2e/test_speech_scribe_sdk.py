"""The fake of Scribe is what its vendor's own client expects, and our recogniser copes with what Scribe may say."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest

from getpatter import ElevenLabsSTT, TelnyxSTT
from getpatter.errors import PatterConnectionError, RateLimitError
from getpatter.testing.fake_speech import KEY
from getpatter.testing.fake_speech_scribe import FakeScribe
from getpatter.testing.fake_speech_telnyx import FakeTelnyxSpeech
from getpatter.types import MULAW_8K
from tests.e2e.speech_kit import LINES, Listening, silence, speech

realtime = pytest.importorskip("elevenlabs.realtime")


async def heard_by_their_client(service: FakeScribe, *, key: str, frames: list[bytes]) -> Any:
    got: list[dict[str, Any]] = []
    news = asyncio.Event()

    def keep(data: dict[str, Any]) -> None:
        got.append(data)
        news.set()

    client = realtime.ScribeRealtime(key, base_url=service.ws_url)
    connection = await client.connect(
        {
            "model_id": "scribe_v2_realtime",
            "audio_format": realtime.AudioFormat.ULAW_8000,
            "sample_rate": 8000,
            "commit_strategy": realtime.CommitStrategy.MANUAL,
        }
    )
    for event in ("session_started", "partial_transcript", "committed_transcript", "auth_error"):
        connection.on(realtime.RealtimeEvents(event), keep)
    async with asyncio.timeout(10):
        for frame in frames:
            await connection.send({"audio_base_64": base64.b64encode(frame).decode()})
        if frames:
            await connection.commit()
        while not any(
            each["message_type"] in {"committed_transcript", "auth_error"} for each in got
        ):
            news.clear()
            await news.wait()
    await connection.close()
    return got


async def test_their_client_hears_what_was_said() -> None:
    async with FakeScribe(LINES) as service:
        got = await heard_by_their_client(service, key=KEY, frames=speech(800))
        assert [each["text"] for each in got if each["message_type"] == "committed_transcript"] == [
            LINES[0]
        ]
        assert any(each["message_type"] == "partial_transcript" for each in got)


async def test_their_client_is_told_of_a_wrong_key() -> None:
    async with FakeScribe(LINES) as service:
        got = await heard_by_their_client(service, key="wrong-0123456789", frames=[])
        assert got[-1]["message_type"] == "auth_error"


async def test_a_commit_of_too_little_ends_nothing() -> None:
    async with FakeScribe(LINES) as service:
        async with Listening(ElevenLabsSTT.for_twilio(KEY, base_url=service.ws_url)) as call:
            call.stt.finalize()
            call.feed(speech(800))
            call.stt.finalize()
            await call.until(lambda: call.finals == [LINES[0]])
        assert call.error is None


@pytest.mark.parametrize(
    ("said", "kind", "retryable"),
    [
        ("resource_exhausted", RateLimitError, True),
        ("session_time_limit_exceeded", PatterConnectionError, True),
        ("quota_exceeded", PatterConnectionError, False),
    ],
)
async def test_errors_are_typed(said: str, kind: type[Exception], retryable: bool) -> None:
    async with FakeScribe(LINES) as service:
        service.error = {"message_type": said, "error": f"no {KEY}"}
        async with Listening(ElevenLabsSTT.for_twilio(KEY, base_url=service.ws_url)) as call:
            call.utter()
            error = await call.end()
    assert isinstance(error, kind)
    assert error is not None
    assert error.retryable is retryable
    assert KEY not in str(error)


async def test_keyterms_and_language_are_asked_for() -> None:
    async with FakeScribe(LINES) as service:
        stt = ElevenLabsSTT(
            KEY, language="it", keyterms=["Patter", "SIP"], base_url=service.ws_url
        ).with_input((MULAW_8K,))
        assert stt is not None
        async with Listening(stt):
            pass
        (asked,) = service.calls
        assert asked.query["keyterms"] == ["Patter", "SIP"]
        assert (asked.said("language_code"), asked.said("audio_format")) == ("it", "ulaw_8000")


async def test_a_parameter_that_an_engine_does_not_take_is_named() -> None:
    async with FakeTelnyxSpeech(LINES) as service:
        stt = TelnyxSTT(KEY, transcription_engine="nobody", base_url=service.ws_url)
        async with Listening(stt) as call:
            call.feed(silence(500))
            error = await call.end()
    assert isinstance(error, PatterConnectionError)
    assert "transcription_engine" in str(error)
    assert not error.retryable
