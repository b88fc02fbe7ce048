"""An ElevenLabs of our own: voices over HTTP and over the socket of many contexts, as their documentation has them.

It knows its plans: voices that are not its own cost 402 on a free account. An unknown context, a sixth context or
a voice that does not exist is an error frame; an idle socket is closed after `inactivity_timeout`.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from getpatter.testing.fake_speech import (
    KEY,
    Answer,
    Call,
    FakeService,
    HungUpError,
    Line,
    Refusal,
    tone,
)
from getpatter.types import ALAW_8K, MULAW_8K, AudioFormat, Encoding

_MOST_CONTEXTS: Final = 5
_FREE: Final = frozenset(
    {"EXAVITQu4vr4xnSDxMaL", "pNInz6obpgDQGcFmaJgB", "21m00Tcm4TlvDq8ikWAM", "ErXwobaYiN019PkySvjV"}
    | {"TxGEqnHWrfWFTfGW9XjX"}
)
_PIECE_MS: Final = 100


class FakeElevenLabs(FakeService):
    """Speaks in buzzes, 40 ms a letter."""

    def __init__(
        self, *, key: str = KEY, library: frozenset[str] = frozenset({"library-voice"})
    ) -> None:
        """`library`: voices that exist but need a plan."""
        super().__init__(key=key)
        self.library = library
        self.frames: list[dict[str, object]] = []
        """Every message of every socket."""
        self.error_frame: Mapping[str, object] | None = None
        """Sent in place of the next sound, before the socket is closed with 1008."""
        self.oversized = 0
        """Bytes of audio to put into one frame, once."""
        self.texts: list[str] = []

    def may_enter(self, call: Call) -> Refusal | None:
        """401 for a wrong key, 404 for no such voice, 402 for one that needs a plan."""
        if call.headers.get("xi-api-key") != self.key:
            return _detail(401, "invalid_api_key", "Invalid API key")
        voice = call.path.split("/")[3] if call.path.startswith("/v1/text-to-speech/") else ""
        if voice in self.library:
            said = (
                "Free users cannot use library voices via the API. Please upgrade your subscription"
            )
            return _detail(402, "payment_required", said)
        if voice not in _FREE:
            return _detail(
                404, "voice_not_found", f"A voice with the voice_id {voice} was not found."
            )
        if _format(call) is None:
            return _detail(422, "invalid_output_format", "output_format")
        return None

    async def http(self, call: Call, answer: Answer) -> None:
        """`POST /v1/text-to-speech/{voice}/stream`."""
        audio_format = _format(call)
        text = str(call.json["text"])
        assert audio_format is not None, "was checked at the door"
        self.characters += len(text)
        self.texts.append(text)
        await answer.start("audio/basic", {"request-id": "req-1", "character-cost": str(len(text))})
        audio = tone(text, audio_format)
        size = audio_format.size(_PIECE_MS) + 1  # chunks of HTTP know nothing of samples
        for start in range(0, len(audio), size):
            await self.hold.wait()
            await answer.piece(audio[start : start + size])
            if self.drops(start + size):
                answer.drop()
        await answer.end()

    async def talk(self, call: Call, line: Line) -> None:
        """`/multi-stream-input`."""
        if not call.path.endswith("/multi-stream-input"):
            await line.close(1008, "no such socket")
            return
        if call.said("model_id").startswith("eleven_v3"):
            await line.say(
                {"message": "model has no websocket", "error": "invalid_model", "code": 1008}
            )
            await line.close(1008)
            return
        audio_format = _format(call)
        assert audio_format is not None, "was checked at the door"
        await _Contexts(
            self, line, audio_format, float(call.said("inactivity_timeout", "20"))
        ).run()


@dataclass(slots=True)
class _Context:
    name: str
    text: str = ""
    is_closing: bool = False
    work: asyncio.Event = field(default_factory=asyncio.Event)
    flushed: list[str] = field(default_factory=list)


class _Contexts:
    def __init__(
        self, service: FakeElevenLabs, line: Line, audio_format: AudioFormat, idle_s: float
    ) -> None:
        self.service = service
        self.line = line
        self.format = audio_format
        self.idle_s = idle_s
        self.open: dict[str, _Context] = {}
        self.passed = 0

    async def run(self) -> None:
        speakers: set[asyncio.Task[None]] = set()
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    message = await self._next()
                    if message is None:
                        break
                    context = await self._obey(message)
                    if context is not None:
                        speakers.add(group.create_task(self._speak(context)))
                for task in speakers:
                    task.cancel()
        except* HungUpError:
            pass
        if self.line.is_closed or self.line.close_code:
            raise HungUpError
        await self.line.close(1000)

    async def _next(self) -> dict[str, object] | None:
        try:
            async with asyncio.timeout(self.idle_s):
                message: dict[str, object] = msgspec.json.decode(await self.line.receive())
        except TimeoutError:
            return None
        self.service.frames.append(message)
        return None if message.get("close_socket") else message

    async def _obey(self, message: dict[str, object]) -> _Context | None:
        """A context that the message opened, if it did."""
        name = str(message.get("context_id", "default"))
        known = self.open.get(name)
        text = str(message.get("text", ""))
        if known is None:
            if text != " ":
                await self._refuse("context_not_found", f"Context {name} does not exist")
            elif len(self.open) >= _MOST_CONTEXTS:
                await self._refuse("too_many_contexts", "At most 5 contexts")
            known = self.open[name] = _Context(name)
            return known
        if message.get("close_context"):
            known.is_closing = True
        else:
            known.text += text
            if message.get("flush"):
                known.flushed.append(known.text)
                known.text = ""
        known.work.set()
        return None

    async def _refuse(self, error: str, said: str) -> None:
        await self.line.say({"message": said, "error": error, "code": 1008})
        await self.line.close(1008, error)
        raise HungUpError

    async def _speak(self, context: _Context) -> None:
        while True:
            while context.flushed:
                text = context.flushed.pop(0)
                self.service.characters += len(text.strip())
                self.service.texts.append(text.strip())
                await self._sound(context, tone(text, self.format))
            if context.is_closing:
                await self.line.say({"isFinal": True, "contextId": context.name, "audio": None})
                del self.open[context.name]
                return
            context.work.clear()
            await context.work.wait()

    async def _sound(self, context: _Context, audio: bytes) -> None:
        size = self.format.size(_PIECE_MS)
        for start in range(0, len(audio), size):
            await self.service.hold.wait()
            if (error := self.service.error_frame) is not None:
                self.service.error_frame = None
                await self.line.say(error)
                await self.line.close(1008)
                raise HungUpError
            piece = audio[start : start + size]
            if self.service.oversized:
                piece, self.service.oversized = bytes(self.service.oversized), 0
            await self.line.say(
                {
                    "audio": base64.b64encode(piece).decode(),
                    "isFinal": None,
                    "contextId": context.name,
                    "alignment": None,
                    "normalizedAlignment": None,
                }
            )
            self.passed += len(piece)
            if self.service.drops(self.passed):
                self.line.drop()
                raise HungUpError
            await asyncio.sleep(0)  # contexts take turns


def _format(call: Call) -> AudioFormat | None:
    name = call.said("output_format", "mp3_44100_128")
    kind, _, rate = name.partition("_")
    match kind:
        case "ulaw":
            return MULAW_8K
        case "alaw":
            return ALAW_8K
        case "pcm":
            return AudioFormat(Encoding.PCM16, int(rate))
        case _:
            return None


def _detail(status: int, kind: str, said: str) -> Refusal:
    body = msgspec.json.encode({"detail": {"status": kind, "message": said}})
    return Refusal(status, body, {"request-id": "req-1"})
