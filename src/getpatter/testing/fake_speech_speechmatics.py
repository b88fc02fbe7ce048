"""A Speechmatics of our own: the realtime socket as its specification has it.

Audio before `RecognitionStarted`, or an end that counts wrongly, breaks its protocol; every message of audio is
acknowledged; final words come one at a time, and punctuation after them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from getpatter.testing.fake_speech import (
    KEY,
    Call,
    FakeService,
    HungUpError,
    Line,
    Listener,
    Refusal,
)
from getpatter.types import AudioFormat, Encoding

_ENCODINGS: Final = {"pcm_s16le": Encoding.PCM16, "mulaw": Encoding.MULAW}
_NEVER_MS: Final = 1e9


class FakeSpeechmatics(FakeService):
    """Hears the lines of its script, one an utterance."""

    def __init__(self, lines: Sequence[str] = (), *, key: str = KEY) -> None:
        """`lines`: what each utterance of a connection is said to be."""
        super().__init__(key=key)
        self.lines = tuple(lines)
        self.starts: list[Mapping[str, object]] = []
        """Every `StartRecognition`."""

    def may_enter(self, call: Call) -> Refusal | None:
        """401 for a wrong key."""
        given = call.headers.get("authorization", "").removeprefix("Bearer ")
        if self.key not in {given, call.said("jwt")}:
            return Refusal(401, b'{"code":401,"error":"Unauthorized"}')
        return None

    async def talk(self, call: Call, line: Line) -> None:
        """One session."""
        del call
        first = await line.receive()
        if isinstance(first, bytes):
            await fail(line, "protocol_error", "audio before StartRecognition", 1003)
            return
        start: dict[str, Any] = msgspec.json.decode(first)
        self.starts.append(start)
        await self.hold.wait()
        await line.say({"message": "RecognitionStarted", "id": "session-1"})
        await _Session(self, line, start).run()


async def fail(line: Line, kind: str, reason: str, code: int) -> None:
    """An error message, and the end."""
    await line.say({"message": "Error", "type": kind, "reason": reason})
    await line.close(code, kind)


class _Session:
    def __init__(self, service: FakeSpeechmatics, line: Line, start: dict[str, Any]) -> None:
        self.service = service
        self.line = line
        how = start["audio_format"]
        config = start["transcription_config"]
        self.format = AudioFormat(_ENCODINGS[how["encoding"]], int(how["sample_rate"]))
        trigger = config.get("conversation_config", {}).get("end_of_utterance_silence_trigger", 0)
        quiet_ms = float(trigger) * 1000 or _NEVER_MS
        self.has_partials = bool(config.get("enable_partials"))
        self.listener = Listener([*service.lines], self.format, quiet_ms)
        self.received = 0
        self.number = 0

    async def run(self) -> None:
        while True:
            message = await self.line.receive()
            await self.service.hold.wait()
            if isinstance(message, bytes):
                await self.hear(message)
            elif await self.obey(msgspec.json.decode(message)):
                return

    async def hear(self, audio: bytes) -> None:
        self.received += len(audio)
        self.number += 1
        self.service.seconds_heard += self.format.ms(len(audio)) / 1000
        await self.line.say({"message": "AudioAdded", "seq_no": self.number})
        for news in self.listener.hear(audio):
            ears = self.listener
            if news == "interim" and ears.line and self.has_partials:
                words = ears.guess.split()
                began, ended = ears.began_ms or 0.0, ears.ended_ms
                await self.add("AddPartialTranscript", words, began, ended)
            elif news == "final":
                await self.end_utterance(is_forced=False)
        if self.service.drops(self.received):
            self.line.drop()
            raise HungUpError

    async def end_utterance(self, *, is_forced: bool) -> None:
        if self.listener.began_ms is not None:
            text, began, ended = self.listener.take()
            await self.finals(text, began, ended)
        about = {"start_time": self.listener.ended_ms / 1000}
        forced = {"forced": True} if is_forced else {}
        await self.line.say({"message": "EndOfUtterance", "metadata": about, **forced})

    async def finals(self, text: str, began: float, ended: float) -> None:
        words = text.split()
        each = (ended - began) / max(len(words), 1)
        for number, word in enumerate(words):
            start, end = began + number * each, began + (number + 1) * each
            bare = word.rstrip(".,?!")
            await self.add("AddTranscript", [bare], start, end, lead=" " if number else "")
            if bare != word:
                await self.add("AddTranscript", [word[len(bare) :]], end, end, is_mark=True)

    async def add(
        self,
        kind: str,
        words: Sequence[str],
        began: float,
        ended: float,
        lead: str = "",
        *,
        is_mark: bool = False,
    ) -> None:
        each = (ended - began) / max(len(words), 1)
        about = {
            "start_time": began / 1000,
            "end_time": ended / 1000,
            "transcript": lead + " ".join(words),
        }
        results = [
            {
                "type": "punctuation" if is_mark else "word",
                "start_time": (began + number * each) / 1000,
                "end_time": (began + (number + 1) * each) / 1000,
                "alternatives": [{"content": word, "confidence": 0.96, "language": "en"}],
            }
            for number, word in enumerate(words)
        ]
        await self.line.say(
            {"message": kind, "format": "2.9", "metadata": about, "results": results}
        )

    async def obey(self, message: dict[str, object]) -> bool:
        match message:
            case {"message": "ForceEndOfUtterance"}:
                await self.end_utterance(is_forced=True)
            case {"message": "EndOfStream", "last_seq_no": number}:
                if number != self.number:
                    await fail(self.line, "protocol_error", "last_seq_no is wrong", 1003)
                    return True
                if self.listener.began_ms is not None:
                    await self.finals(*self.listener.take())
                await self.line.say({"message": "EndOfTranscript"})
                return True
            case _:
                await fail(self.line, "invalid_message", "unknown message", 1003)
                return True
        return False
