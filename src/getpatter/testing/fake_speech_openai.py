"""An OpenAI of our own, as far as speech goes: `/v1/audio/speech` and `/v1/audio/transcriptions`.

It takes the WAV file apart that it is sent, refuses one that is too short, and answers with the lines of its
script; for audio without any sound it invents a phrase, as the models do.
"""

from __future__ import annotations

import asyncio
import email.parser
import email.policy
from collections.abc import Sequence
from typing import Final

import msgspec

from getpatter.audio.g711 import pcm16_to_mulaw
from getpatter.audio.wav import read_wav
from getpatter.testing.fake_speech import KEY, Answer, Call, FakeService, Refusal, tone
from getpatter.testing.providers import is_audible
from getpatter.types import PCM16_24K

_SHORTEST_MS: Final = 100.0
_PIECE: Final = 4801  # an odd number: chunks of HTTP know nothing of samples
_VOICES: Final = frozenset(
    {"alloy", "ash", "ballad", "coral", "echo", "fable", "onyx", "nova", "sage", "shimmer"}
    | {"verse", "marin", "cedar"}
)


class FakeOpenAISpeech(FakeService):
    """Speaks in buzzes; understands the lines of its script, one a request."""

    def __init__(self, lines: Sequence[str] = (), *, key: str = KEY) -> None:
        """`lines`: what the utterances are said to be, in order of their requests."""
        super().__init__(key=key)
        self.lines = [*lines]
        self.forms: list[dict[str, str]] = []
        """Fields of each transcription request, without the file."""

    @property
    def base_url(self) -> str:
        """For `base_url=`."""
        return f"{self.url}/v1"

    def may_enter(self, call: Call) -> Refusal | None:
        """401 for a wrong key, which is quoted back with its middle starred out."""
        if call.headers.get("authorization") == f"Bearer {self.key}":
            return None
        given = call.headers.get("authorization", "").removeprefix("Bearer ")
        said = f"Incorrect API key provided: {given[:8]}****{given[-4:]}."
        return _error(401, "invalid_request_error", said, "invalid_api_key")

    async def http(self, call: Call, answer: Answer) -> None:
        """The two routes."""
        match call.path:
            case "/v1/audio/speech":
                await self._speak(call, answer)
            case "/v1/audio/transcriptions":
                await self._transcribe(call, answer)
            case _:
                await answer.whole(_error(404, "invalid_request_error", "Not found", ""))

    async def _speak(self, call: Call, answer: Answer) -> None:
        body = call.json
        text = str(body.get("input", ""))
        if body.get("voice") not in _VOICES:
            await answer.whole(_error(400, "invalid_request_error", "no such voice", "voice"))
            return
        if not text or len(text) > 4096:  # noqa: PLR2004
            said = "String should have at most 4096 characters"
            await answer.whole(
                _error(400, "invalid_request_error", said, "string_above_max_length")
            )
            return
        self.characters += len(text)
        await answer.start("application/octet-stream", {"x-request-id": "req_1"})
        audio = tone(text, PCM16_24K)
        for start in range(0, len(audio), _PIECE):
            await self.hold.wait()
            await answer.piece(audio[start : start + _PIECE])
            if self.drops(start + _PIECE):
                answer.drop()
            await asyncio.sleep(0)
        await answer.end()

    async def _transcribe(self, call: Call, answer: Answer) -> None:
        fields, file = _parts(call)
        self.forms.append(fields)
        wav = read_wav(file)
        self.seconds_heard += wav.lasts_ms / 1000
        if wav.lasts_ms < _SHORTEST_MS:
            said = "Audio file is too short. Minimum audio length is 0.1 seconds."
            await answer.whole(_error(400, "invalid_request_error", said, "audio_too_short"))
            return
        wanted = fields.get("response_format", "json")
        if wanted == "verbose_json" and fields["model"].startswith("gpt-"):
            said = "response_format 'verbose_json' is not compatible with this model"
            await answer.whole(_error(400, "invalid_request_error", said, "unsupported_value"))
            return
        text, is_speech = self._heard(wav.pcm)
        if wanted == "text":
            await answer.whole(Refusal(200, f"{text}\n".encode(), {"content-type": "text/plain"}))
            return
        found: dict[str, object] = {"text": text}
        if wanted == "verbose_json":
            found |= {
                "language": "english",
                "duration": wav.lasts_ms / 1000,
                "segments": [{"id": 0, "no_speech_prob": 0.02 if is_speech else 0.97}],
                "words": [{"word": word, "start": 0.1, "end": 0.2} for word in text.split()],
            }
        found["usage"] = {"type": "duration", "seconds": round(wav.lasts_ms / 1000)}
        await answer.whole(Refusal(200, msgspec.json.encode(found), {"x-request-id": "req_1"}))

    def _heard(self, pcm: bytes) -> tuple[str, bool]:
        if not is_audible(pcm16_to_mulaw(pcm)) or not self.lines:
            return "Thank you.", False
        return self.lines.pop(0), True


def _parts(call: Call) -> tuple[dict[str, str], bytes]:
    head = f"content-type: {call.headers['content-type']}\r\n\r\n".encode()
    parser = email.parser.BytesParser(policy=email.policy.HTTP)
    fields: dict[str, str] = {}
    file = b""
    for part in parser.parsebytes(head + call.body).iter_parts():
        name = str(part.get_param("name", header="content-disposition"))
        payload = part.get_payload(decode=True)
        assert isinstance(payload, bytes), "a form has no parts within parts"
        if name == "file":
            file = payload
        else:
            fields[name] = payload.decode()
    return fields, file


def _error(status: int, kind: str, said: str, code: str) -> Refusal:
    body = {"error": {"message": said, "type": kind, "param": None, "code": code}}
    return Refusal(status, msgspec.json.encode(body), {"x-request-id": "req_1"})
