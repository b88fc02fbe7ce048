"""A Soniox of our own: `/transcribe-websocket` as documented.

The key comes in the first message; what is wrong with it is an error message before the socket is closed. A silent
client is closed after 20 seconds.
"""

from __future__ import annotations

import asyncio
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

_IDLE_S: Final = 20.0
_ENCODINGS: Final = {
    "pcm_s16le": Encoding.PCM16,
    "mulaw": Encoding.MULAW,
    "alaw": Encoding.ALAW,
}


class FakeSoniox(FakeService):
    """Hears the lines of its script, one an utterance."""

    def __init__(self, lines: Sequence[str] = (), *, key: str = KEY) -> None:
        """`lines`: what each utterance of a connection is said to be."""
        super().__init__(key=key)
        self.lines = tuple(lines)
        self.configs: list[dict[str, object]] = []
        """The first message of each client."""

    def may_enter(self, call: Call) -> Refusal | None:
        """Everybody may open the socket."""
        return None if call.path == "/transcribe-websocket" else Refusal(404)

    async def talk(self, call: Call, line: Line) -> None:
        """One stream."""
        del call
        config: dict[str, object] = msgspec.json.decode(await line.receive())
        self.configs.append({**config, "api_key": "***"})
        if config.get("api_key") != self.key:
            said = f"Invalid API key: {config.get('api_key')}"
            await line.say({"error_code": 401, "error_message": said})
            return
        await _Stream(self, line, config).run()


class _Stream:
    def __init__(self, service: FakeSoniox, line: Line, config: dict[str, object]) -> None:
        self.service = service
        self.line = line
        encoding = _ENCODINGS[str(config["audio_format"])]
        self.format = AudioFormat(encoding, int(str(config["sample_rate"])))
        quiet_ms = float(str(config.get("max_endpoint_delay_ms", 2000)))
        self.listener = Listener([*service.lines], self.format, quiet_ms)
        self.received = 0

    async def run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(_IDLE_S):
                    message = await self.line.receive()
            except TimeoutError:
                await self.line.say({"error_code": 408, "error_message": "Request timeout."})
                return None
            await self.service.hold.wait()
            if message in {"", b""}:
                return await self.finish()
            if isinstance(message, bytes):
                await self.hear(message)
            elif msgspec.json.decode(message)["type"] == "finalize":
                await self.flush("<fin>")

    async def hear(self, audio: bytes) -> None:
        self.received += len(audio)
        self.service.seconds_heard += self.format.ms(len(audio)) / 1000
        for news in self.listener.hear(audio):
            if news == "interim" and self.listener.line:
                began, ended = self.listener.began_ms or 0.0, self.listener.ended_ms
                await self.tokens(_tokens(self.listener.guess, began, ended, is_final=False))
            elif news == "final":
                await self.flush("<end>")
        if self.service.drops(self.received):
            self.line.drop()
            raise HungUpError

    async def flush(self, mark: str) -> None:
        tokens: list[dict[str, object]] = []
        if self.listener.began_ms is not None:
            tokens = _tokens(*self.listener.take(), is_final=True)
        await self.tokens([*tokens, {"text": mark, "confidence": 1.0, "is_final": True}])

    async def tokens(self, tokens: list[dict[str, object]], **more: object) -> None:
        heard = self.format.ms(self.received)
        await self.line.say(
            {
                "tokens": tokens,
                "final_audio_proc_ms": heard,
                "total_audio_proc_ms": heard,
                **more,
            }
        )

    async def finish(self) -> None:
        if self.listener.began_ms is not None:
            await self.tokens(_tokens(*self.listener.take(), is_final=True))
        await self.tokens([], finished=True)


def _tokens(text: str, began: float, ended: float, *, is_final: bool) -> list[dict[str, object]]:
    """Words in pieces of four letters, as the vendor cuts them."""
    pieces: list[str] = []
    for number, word in enumerate(text.split()):
        whole = f" {word}" if number else word
        pieces += [whole[at : at + 4] for at in range(0, len(whole), 4)]
    each = (ended - began) / max(len(pieces), 1)
    return [
        {
            "text": piece,
            "start_ms": round(began + number * each),
            "end_ms": round(began + (number + 1) * each),
            "confidence": 0.97,
            "is_final": is_final,
            "language": "en",
        }
        for number, piece in enumerate(pieces)
    ]
