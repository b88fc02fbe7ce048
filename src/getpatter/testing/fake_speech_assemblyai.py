"""An AssemblyAI of our own: `/v3/ws` as documented.

A message of audio that is shorter than 50 ms or longer than a second closes the socket with 3007, broken JSON with
3006. The words of a turn become final one after the other.
"""

from __future__ import annotations

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
)
from getpatter.types import AudioFormat, Encoding

_ENCODINGS: Final = {"pcm_s16le": Encoding.PCM16, "pcm_mulaw": Encoding.MULAW}
_SHORTEST_MS, _LONGEST_MS = 50.0, 1000.0
_QUIET_MS: Final = 400.0


class FakeAssemblyAI(FakeService):
    """Hears the lines of its script, one a turn."""

    def __init__(self, lines: Sequence[str] = (), *, key: str = KEY) -> None:
        """`lines`: what each turn of a connection is said to be."""
        super().__init__(key=key)
        self.lines = tuple(lines)
        self.formats_turns = False
        """Send each finished turn again, formatted, whatever the client wants."""

    def may_enter(self, call: Call) -> Refusal | None:
        """401 for a wrong key, 400 without a rate."""
        if self.key not in {call.headers.get("authorization"), call.said("token")}:
            return Refusal(401, b'{"error":"Not authorized"}')
        if not call.said("sample_rate"):
            return Refusal(400, b'{"error":"sample_rate is required"}')
        return None

    async def talk(self, call: Call, line: Line) -> None:
        """One session."""
        if call.path != "/v3/ws":
            await line.close(4101, "no such path")
            return
        await _Session(self, call, line).run()


class _Session:
    def __init__(self, service: FakeAssemblyAI, call: Call, line: Line) -> None:
        self.service = service
        self.line = line
        encoding = _ENCODINGS[call.said("encoding", "pcm_s16le")]
        self.format = AudioFormat(encoding, int(call.said("sample_rate")))
        self.formats = service.formats_turns or call.said("format_turns") == "true"
        self.listener = Listener([*service.lines], self.format, _QUIET_MS)
        self.received = 0
        self.turn = 0

    async def run(self) -> None:
        begin = {"type": "Begin", "id": "11111111-2222-3333-4444-555555555555"}
        await self.line.say({**begin, "expires_at": 1_750_000_000})
        while True:
            message = await self.line.receive()
            await self.service.hold.wait()
            if isinstance(message, bytes):
                await self.hear(message)
            elif await self.obey(message):
                return

    async def hear(self, audio: bytes) -> None:
        lasts_ms = self.format.ms(len(audio))
        if not _SHORTEST_MS <= lasts_ms <= _LONGEST_MS:
            said = f"Input Duration Error: {lasts_ms} ms. Expected between 50 and 1000 ms"
            await self.line.say({"type": "Error", "error_code": 3007, "error": said})
            await self.line.close(3007, "Input duration violation")
            raise HungUpError
        self.received += len(audio)
        self.service.seconds_heard += lasts_ms / 1000
        for news in self.listener.hear(audio):
            ears = self.listener
            if news == "interim" and ears.line:
                await self.say(ears.guess, ears.began_ms or 0.0, ears.ended_ms, is_end=False)
            elif news == "final":
                await self.end_turn()
        if self.service.drops(self.received):
            self.line.drop()
            raise HungUpError

    async def end_turn(self) -> None:
        if self.listener.began_ms is None:
            return
        text, began, ended = self.listener.take()
        await self.say(text, began, ended, is_end=True)
        if self.formats:
            await self.say(text, began, ended, is_end=True, is_formatted=True)
        self.turn += 1

    async def say(
        self, text: str, began: float, ended: float, *, is_end: bool, is_formatted: bool = False
    ) -> None:
        words = text.split()
        each = (ended - began) / max(len(words), 1)
        certain = len(words) if is_end else max(len(words) - 1, 0)
        await self.line.say(
            {
                "type": "Turn",
                "turn_order": self.turn,
                "turn_is_formatted": is_formatted,
                "end_of_turn": is_end,
                "transcript": " ".join(words[:certain]),
                "utterance": "",
                "end_of_turn_confidence": 0.9 if is_end else 0.1,
                "words": [
                    {
                        "text": word,
                        "start": round(began + number * each),
                        "end": round(began + (number + 1) * each),
                        "confidence": 0.95,
                        "word_is_final": number < certain,
                    }
                    for number, word in enumerate(words)
                ],
            }
        )

    async def obey(self, message: str) -> bool:
        match msgspec.json.decode(message):
            case {"type": "ForceEndpoint"}:
                await self.end_turn()
            case {"type": "Terminate"}:
                await self.end_turn()
                seconds = round(self.format.ms(self.received) / 1000)
                said = {"type": "Termination", "audio_duration_seconds": seconds}
                await self.line.say({**said, "session_duration_seconds": seconds})
                return True
            case {"type": "KeepAlive" | "UpdateConfiguration"}:
                pass
            case _:
                await self.line.close(3006, "Invalid message")
                raise HungUpError
        return False
