"""A Cartesia of our own: `/stt/websocket`, `/stt/turns/websocket` and `/tts/websocket` as documented.

A recogniser's socket without audio is closed after 20 seconds. Inputs of one voice context must agree; an
unknown voice is an error of its context only; cancelling is confirmed by `done`.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from typing import Final

import msgspec

from getpatter.testing.fake_speech import (
    KEY,
    Call,
    FakeService,
    HungUpError,
    Line,
    Listener,
    Refusal,
    tone,
)
from getpatter.types import AudioFormat, Encoding

_IDLE_S: Final = 20.0
_ENCODINGS: Final = {
    "pcm_s16le": Encoding.PCM16,
    "pcm_mulaw": Encoding.MULAW,
    "pcm_alaw": Encoding.ALAW,
}
_VOICES: Final = frozenset({"f786b574-daa5-4673-aa0c-cbe3e8534c02"})
_PIECE_MS: Final = 100


class FakeCartesia(FakeService):
    """Hears the lines of its script, one an utterance; speaks in buzzes."""

    def __init__(self, lines: Sequence[str] = (), *, key: str = KEY) -> None:
        """`lines`: what each utterance of a connection is said to be."""
        super().__init__(key=key)
        self.lines = tuple(lines)
        self.frames: list[dict[str, object]] = []
        """Every message to a voice."""

    def may_enter(self, call: Call) -> Refusal | None:
        """401 for a wrong key, 400 without a version."""
        headers = call.headers
        given = headers.get("authorization", "").removeprefix("Bearer ")
        if self.key not in {given, headers.get("x-api-key"), call.said("api_key")}:
            return Refusal(401, b'{"title":"Unauthorized","message":"Invalid API key"}')
        if not (headers.get("cartesia-version") or call.said("cartesia_version")):
            return Refusal(400, b'{"title":"Bad request","message":"missing cartesia-version"}')
        return None

    async def talk(self, call: Call, line: Line) -> None:
        """One of the sockets."""
        match call.path:
            case "/stt/websocket":
                await _Manual(self, call, line).run()
            case "/stt/turns/websocket":
                await _Turns(self, call, line).run()
            case "/tts/websocket":
                await _Voice(self, line).run()
            case _:
                await line.close(1008, "no such path")


class _Ears:
    def __init__(self, service: FakeCartesia, call: Call, line: Line) -> None:
        self.service = service
        self.line = line
        self.format = AudioFormat(_ENCODINGS[call.said("encoding")], int(call.said("sample_rate")))
        quiet_ms = float(call.said("max_silence_duration_secs", "1000")) * 1000
        self.listener = Listener([*service.lines], self.format, quiet_ms)
        self.received = 0

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + _IDLE_S
        while True:
            try:
                async with asyncio.timeout_at(ends_at):
                    message = await self.line.receive()
            except TimeoutError:
                await self.line.close(1000, "idle")
                raise HungUpError from None
            await self.service.hold.wait()
            if isinstance(message, bytes):
                ends_at = loop.time() + _IDLE_S
                await self.hear(message)
            elif await self.obey(message):
                return

    async def hear(self, audio: bytes) -> None:
        self.received += len(audio)
        self.service.seconds_heard += self.format.ms(len(audio)) / 1000
        for news in self.listener.hear(audio):
            await self.tell(news)
        if self.service.drops(self.received):
            self.line.drop()
            raise HungUpError

    async def tell(self, news: str) -> None: ...
    async def obey(self, message: str) -> bool:
        raise NotImplementedError


class _Manual(_Ears):
    async def tell(self, news: str) -> None:
        ears = self.listener
        if news == "interim" and ears.line:
            await self.words(ears.guess, ears.began_ms or 0.0, ears.ended_ms, is_final=False)
        elif news == "final":
            await self.words(*ears.take(), is_final=True)

    async def words(self, text: str, began: float, ended: float, *, is_final: bool) -> None:
        words = text.split()
        each = (ended - began) / 1000 / max(len(words), 1)
        await self.line.say(
            {
                "type": "transcript",
                "request_id": "r",
                "text": text,
                "is_final": is_final,
                "duration": (ended - began) / 1000,
                "language": "en",
                "words": [
                    {
                        "word": word,
                        "start": began / 1000 + n * each,
                        "end": began / 1000 + (n + 1) * each,
                    }
                    for n, word in enumerate(words)
                ],
            }
        )

    async def obey(self, message: str) -> bool:
        if message not in {"finalize", "close", "done"}:
            said = {"type": "error", "title": "Bad request", "message": "unknown command"}
            await self.line.say({**said, "status_code": 400, "error_code": "invalid_command"})
            return False
        if self.listener.began_ms is not None:
            await self.words(*self.listener.take(), is_final=True)
        kind = "flush_done" if message == "finalize" else "done"
        await self.line.say({"type": kind, "request_id": "r"})
        return message != "finalize"


class _Turns(_Ears):
    def __init__(self, service: FakeCartesia, call: Call, line: Line) -> None:
        super().__init__(service, call, line)
        self.listener.quiet_ms = 400.0

    async def tell(self, news: str) -> None:
        ears = self.listener
        match news:
            case "began":
                await self.line.say({"type": "turn.start", "request_id": "r"})
            case "interim" if ears.line:
                said = {"type": "turn.update", "request_id": "r", "transcript": ears.guess}
                await self.line.say(said)
            case "final":
                text, _, _ = ears.take()
                said = {"type": "turn.end", "request_id": "r", "transcript": text}
                await self.line.say(said)
            case _:
                pass

    async def obey(self, message: str) -> bool:
        return bool(msgspec.json.decode(message)["type"] == "close")


class _Voice:
    def __init__(self, service: FakeCartesia, line: Line) -> None:
        self.service = service
        self.line = line
        self.cancelled: set[str] = set()
        self.passed = 0

    async def run(self) -> None:
        speakers: list[asyncio.Task[None]] = []
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    try:
                        message: dict[str, object] = msgspec.json.decode(await self.line.receive())
                    except HungUpError:
                        for task in speakers:
                            task.cancel()
                        raise
                    self.service.frames.append(message)
                    context = str(message["context_id"])
                    if message.get("cancel"):
                        self.cancelled.add(context)
                    else:
                        speakers.append(group.create_task(self._speak(context, message)))
        except* HungUpError:
            raise HungUpError from None

    async def _speak(self, context: str, message: dict[str, object]) -> None:
        voice, how = message["voice"], message["output_format"]
        assert isinstance(voice, dict)
        assert isinstance(how, dict)
        if voice["id"] not in _VOICES:
            said = {"type": "error", "title": "Not found", "message": "Voice not found"}
            await self.line.say({**said, "status_code": 404, "done": True, "context_id": context})
            return
        text = str(message["transcript"])
        self.service.characters += len(text)
        audio_format = AudioFormat(_ENCODINGS[how["encoding"]], int(how["sample_rate"]))
        await self._sound(context, tone(text, audio_format), audio_format.size(_PIECE_MS))
        await self.line.say(
            {"type": "done", "context_id": context, "status_code": 200, "done": True}
        )

    async def _sound(self, context: str, audio: bytes, size: int) -> None:
        for start in range(0, len(audio), size):
            await self.service.hold.wait()
            if context in self.cancelled:
                return
            piece = audio[start : start + size]
            await self.line.say(
                {
                    "type": "chunk",
                    "context_id": context,
                    "data": base64.b64encode(piece).decode(),
                    "done": False,
                    "status_code": 206,
                    "step_time": 1.0,
                }
            )
            self.passed += len(piece)
            if self.service.drops(self.passed):
                self.line.drop()
                raise HungUpError
            await asyncio.sleep(0)
