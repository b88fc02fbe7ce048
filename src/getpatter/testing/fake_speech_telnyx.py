"""The speech services of Telnyx, of our own: a socket that hears and one that speaks, as documented.

What is wrong with the query of a recogniser is said on the open socket. A voice waits for the end of a sentence unless
it is told to flush, and closes after `inactivity_timeout`.
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

_ENCODINGS: Final = {
    "linear16": Encoding.PCM16,
    "mulaw": Encoding.MULAW,
    "alaw": Encoding.ALAW,
}
_ENGINES: Final = frozenset({"Telnyx", "Deepgram", "Google", "Azure", "Speechmatics", "Soniox"})
_QUIET_MS: Final = 300.0
_PIECE_MS: Final = 100
_IDLE_S: Final = 20.0


class FakeTelnyxSpeech(FakeService):
    """Hears the lines of its script, and speaks in buzzes."""

    def __init__(self, lines: Sequence[str] = (), *, key: str = KEY) -> None:
        """`lines`: what each utterance of a connection is said to be."""
        super().__init__(key=key)
        self.lines = tuple(lines)
        self.frames: list[dict[str, object]] = []
        """Every message of text."""
        self.sends_mp3 = False
        """Answer with MP3 whatever was asked for, as some voices do."""
        self.error = ""
        """Said in place of the next sound, before the socket closes. Once."""

    def may_enter(self, call: Call) -> Refusal | None:
        """401 for a wrong key, 400 for no voice."""
        if call.headers.get("authorization") != f"Bearer {self.key}":
            error = {"code": "10009", "title": "Authentication failed", "detail": "Invalid key"}
            return Refusal(401, msgspec.json.encode({"errors": [error]}))
        if call.path == "/v2/text-to-speech/speech" and call.said("voice").count(".") < 1:
            return Refusal(400, b'{"errors":[{"code":"10015","title":"Invalid voice"}]}')
        return None

    async def talk(self, call: Call, line: Line) -> None:
        """Either socket."""
        match call.path:
            case "/v2/speech-to-text/transcription":
                await _Hearing(self, call, line).run()
            case "/v2/text-to-speech/speech":
                await _Speaking(self, call, line).run()
            case _:
                await line.close(1008, "no such socket")


class _Hearing:
    def __init__(self, service: FakeTelnyxSpeech, call: Call, line: Line) -> None:
        self.service = service
        self.call = call
        self.line = line
        self.received = 0

    async def run(self) -> None:
        call = self.call
        name, engine = call.said("input_format"), call.said("transcription_engine")
        if name not in _ENCODINGS:
            return await self.refuse("40001", f"Unsupported input_format '{name}'", "input_format")
        if engine not in _ENGINES:
            return await self.refuse("40007", f"Unknown '{engine}'", "transcription_engine")
        if not call.said("sample_rate").isdigit():
            return await self.refuse("40003", "sample_rate is required", "sample_rate")
        self.format = AudioFormat(_ENCODINGS[name], int(call.said("sample_rate")))
        self.listener = Listener([*self.service.lines], self.format, _QUIET_MS)
        while True:
            message = await self.line.receive()
            await self.service.hold.wait()
            if isinstance(message, bytes):
                await self.hear(message)
                continue
            said = msgspec.json.decode(message)
            self.service.frames.append(said)
            match said:
                case {"type": "Finalize"}:
                    await self.final()
                case {"type": "CloseStream"}:
                    await self.final()
                    return None
                case _:
                    pass  # unknown text is ignored

    async def refuse(self, code: str, detail: str, parameter: str) -> None:
        error = {"code": code, "title": "Invalid Parameter", "detail": detail}
        await self.line.say({"errors": [{**error, "source": {"parameter": parameter}}]})

    async def hear(self, audio: bytes) -> None:
        self.received += len(audio)
        self.service.seconds_heard += self.format.ms(len(audio)) / 1000
        wants_guesses = self.call.said("interim_results") == "true"
        for news in self.listener.hear(audio):
            if news == "interim" and self.listener.line and wants_guesses:
                await self.line.say({"transcript": self.listener.guess, "is_final": False})
            elif news == "final":
                await self.final()
        if self.service.drops(self.received):
            self.line.drop()
            raise HungUpError

    async def final(self) -> None:
        if self.listener.began_ms is None:
            return
        text, _, _ = self.listener.take()
        if text:
            said = {"transcript": text, "is_final": True, "speech_final": True}
            await self.line.say({**said, "confidence": 0.98})


class _Speaking:
    def __init__(self, service: FakeTelnyxSpeech, call: Call, line: Line) -> None:
        self.service = service
        self.line = line
        self.idle_s = float(call.said("inactivity_timeout") or _IDLE_S)
        self.is_pcm = call.said("audio_format") == "linear16" and not service.sends_mp3
        self.format = AudioFormat(Encoding.PCM16, int(call.said("sample_rate") or 24000))
        self.has_begun = False
        self.text = ""
        self.passed = 0

    async def run(self) -> None:
        inbox: asyncio.Queue[dict[str, object] | None] = asyncio.Queue()
        async with asyncio.TaskGroup() as both:
            reading = both.create_task(self._read(inbox))
            await self._work(inbox)
            reading.cancel()

    async def _read(self, inbox: asyncio.Queue[dict[str, object] | None]) -> None:
        try:
            while True:
                async with asyncio.timeout(self.idle_s):
                    message = msgspec.json.decode(await self.line.receive())
                self.service.frames.append(message)
                inbox.put_nowait(message)
        except (HungUpError, TimeoutError):
            inbox.put_nowait(None)

    async def _work(self, inbox: asyncio.Queue[dict[str, object] | None]) -> None:
        while (message := await inbox.get()) is not None:
            text = message.get("text")
            if not self.has_begun:
                self.has_begun = text == " "
                if not self.has_begun:
                    await self.line.say({"error": "Missing handshake"})
                    return
            elif message.get("force"):
                self.text = ""
            elif text == "":
                await self._say(inbox)
                return
            else:
                self.text += str(text)
                if message.get("flush") or self.text.rstrip().endswith((".", "!", "?")):
                    await self._say(inbox)

    async def _say(self, inbox: asyncio.Queue[dict[str, object] | None]) -> None:
        text, self.text = self.text, ""
        if not text.strip():
            return
        self.service.characters += len(text.strip())
        audio = tone(text, self.format) if self.is_pcm else b"\xff\xf3\x84\xc4" + bytes(413) * 9
        size = self.format.size(_PIECE_MS) + 1  # pieces know nothing of samples
        for start in range(0, len(audio), size):
            await self.service.hold.wait()
            await asyncio.sleep(0)
            if not inbox.empty():
                return  # stopped, or gone
            await self._complain()
            piece = base64.b64encode(audio[start : start + size]).decode()
            await self.line.say({"audio": piece, "text": None, "isFinal": False, "cached": False})
            self.passed += size
            if self.service.drops(self.passed):
                self.line.drop()
                raise HungUpError
        await self.line.say({"audio": None, "text": text, "isFinal": False, "cached": False})
        await self.line.say({"audio": None, "text": "", "isFinal": True})

    async def _complain(self) -> None:
        error, self.service.error = self.service.error, ""
        if error:
            await self.line.say({"error": error})
            await self.line.close(1000)
            raise HungUpError
