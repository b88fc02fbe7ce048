"""The voices over HTTP of Rime, LMNT and Inworld, of our own: each route as documented, and its refusals."""

from __future__ import annotations

import asyncio
import base64
from typing import Final

import msgspec

from getpatter.audio.wav import wav_bytes
from getpatter.testing.fake_speech import Answer, Call, FakeService, Refusal, tone
from getpatter.types import AudioFormat, Encoding

_PIECE_MS: Final = 100
_MOST_RIME: Final = 1000
_MOST_LMNT: Final = 5000


async def _body(service: FakeService, answer: Answer, audio: bytes, size: int) -> None:
    for start in range(0, len(audio), size):
        await service.hold.wait()
        await answer.piece(audio[start : start + size])
        if service.drops(start + size):
            answer.drop()
        await asyncio.sleep(0)
    await answer.end()


def _said(status: int, **body: object) -> Refusal:
    return Refusal(status, msgspec.json.encode(body))


class FakeRime(FakeService):
    """`POST /v1/rime-tts`."""

    def may_enter(self, call: Call) -> Refusal | None:
        """401 for a wrong key."""
        if call.headers.get("authorization") != f"Bearer {self.key}":
            return _said(401, error="Unauthorized", message="Invalid API key")
        return None if call.path == "/v1/rime-tts" else Refusal(404)

    async def http(self, call: Call, answer: Answer) -> None:
        """A body of sound, in the type that is accepted."""
        body = call.json
        text = str(body["text"])
        if len(text) > _MOST_RIME:
            await answer.whole(_said(400, error="text is longer than 1000 characters"))
            return
        rate = int(str(body["samplingRate"]))
        match call.headers.get("accept"):
            case "audio/PCMU":
                audio_format = AudioFormat(Encoding.MULAW, rate)
            case "audio/L16" | "audio/pcm":
                audio_format = AudioFormat(Encoding.PCM16, rate)
            case _:
                await answer.whole(_said(400, error="unsupported Accept"))
                return
        self.characters += len(text)
        await answer.start(str(call.headers["accept"]))
        size = audio_format.size(_PIECE_MS) + 1
        await _body(self, answer, tone(text, audio_format), size)


class FakeLMNT(FakeService):
    """`POST /v1/ai/speech/bytes`."""

    def may_enter(self, call: Call) -> Refusal | None:
        """401 for a wrong key."""
        if call.headers.get("x-api-key") != self.key:
            return _said(401, error="Invalid API key", type="authentication_error")
        return None if call.path == "/v1/ai/speech/bytes" else Refusal(404)

    async def http(self, call: Call, answer: Answer) -> None:
        """A body of sound."""
        body = call.json
        text = str(body["text"])
        rate = int(str(body["sample_rate"]))
        if len(text) > _MOST_LMNT or rate not in {8000, 16000, 24000}:
            await answer.whole(_said(400, error="bad request", type="invalid_request_error"))
            return
        pcm = AudioFormat(Encoding.PCM16, rate)
        match body["format"]:
            case "ulaw":
                audio = tone(text, AudioFormat(Encoding.MULAW, rate))
            case "wav":
                audio = wav_bytes(tone(text, pcm), rate)
            case "pcm_s16le":
                audio = tone(text, pcm)
            case _:
                await answer.whole(_said(400, error="format", type="invalid_request_error"))
                return
        self.characters += len(text)
        await answer.start("application/octet-stream")
        await _body(self, answer, audio, pcm.size(_PIECE_MS) + 1)


class FakeInworld(FakeService):
    """`POST /tts/v1/voice:stream`."""

    fails_after: int | None = None
    """Pieces of sound before an error line. Once."""

    def may_enter(self, call: Call) -> Refusal | None:
        """401 for a wrong key."""
        if call.headers.get("authorization") != f"Basic {self.key}":
            return _said(401, code=16, message="Invalid credentials", details=[])
        return None if call.path == "/tts/v1/voice:stream" else Refusal(404)

    async def http(self, call: Call, answer: Answer) -> None:
        """Lines of JSON, cut anywhere."""
        body = call.json
        text, how = str(body["text"]), body["audio_config"]
        assert isinstance(how, dict)
        rate, encoding = int(how["sample_rate_hertz"]), str(how["audio_encoding"])
        kinds = {"MULAW": Encoding.MULAW, "ALAW": Encoding.ALAW}
        audio_format = AudioFormat(kinds.get(encoding, Encoding.PCM16), rate)
        self.characters += len(text)
        audio = tone(text, audio_format)
        lines: list[bytes] = []
        size = audio_format.size(_PIECE_MS)
        for start in range(0, len(audio), size):
            piece = audio[start : start + size]
            if encoding == "LINEAR16":
                piece = wav_bytes(piece, rate)
            content = base64.b64encode(piece).decode()
            lines.append(msgspec.json.encode({"result": {"audioContent": content}}))
        if self.fails_after is not None:
            failure = {"error": {"code": 8, "message": "Resource exhausted", "details": []}}
            lines[self.fails_after :] = [msgspec.json.encode(failure)]
            self.fails_after = None
        await answer.start("application/json")
        await _body(self, answer, b"\n".join(lines), audio_format.size(_PIECE_MS) + 1)
