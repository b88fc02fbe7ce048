"""A Deepgram of our own: `/v1/listen`, `/v2/listen` (Flux) and `/v1/speak` as their documentation has them.

It hangs up on a client that is silent for ten seconds (NET-0001), takes an empty frame for the end, refuses
utterance ends without interim results, and counts the seconds that it would charge for.
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
    tone,
)
from getpatter.types import AudioFormat, Encoding

_IDLE_S: Final = 10.0
_ENCODINGS: Final = {
    "linear16": Encoding.PCM16,
    "mulaw": Encoding.MULAW,
    "alaw": Encoding.ALAW,
}
_IDS: Final = {"dg-request-id": "5e8c1f9a-2b33-4c7e-8f10-aa5d0f6f6b1e"}


class FakeDeepgram(FakeService):
    """Hears the lines of its script, one an utterance; speaks in buzzes."""

    def __init__(self, lines: Sequence[str] = (), *, key: str = KEY) -> None:
        """`lines`: what each utterance of a connection is said to be. Every connection begins anew."""
        super().__init__(key=key)
        self.lines = tuple(lines)
        self.is_noisy = False
        """Never say `speech_final`, as in a noisy street; `UtteranceEnd` comes instead."""
        self.events: list[str] = []
        """Types of the control messages that clients sent."""

    def may_enter(self, call: Call) -> Refusal | None:
        """As the vendor: 401 for a wrong key, 400 for parameters that do not fit."""
        given = call.headers.get("authorization", "")
        if given not in {f"Token {self.key}", f"token {self.key}", f"Bearer {self.key}"}:
            body = b'{"err_code":"INVALID_AUTH","err_msg":"Invalid credentials.","request_id":"r"}'
            return Refusal(401, body, {**_IDS, "dg-error": "Invalid credentials."})
        if call.said("utterance_end_ms") and call.said("interim_results") != "true":
            body = b'{"err_code":"Bad Request","err_msg":"utterance_end_ms needs interim_results"}'
            return Refusal(400, body, _IDS)
        if not call.said("model"):
            return Refusal(400, b'{"err_code":"Bad Request","err_msg":"no model"}', _IDS)
        return None

    async def talk(self, call: Call, line: Line) -> None:
        """One stream."""
        match call.path:
            case "/v1/listen":
                await _Listen(self, call, line).run()
            case "/v2/listen":
                await _Flux(self, call, line).run()
            case "/v1/speak":
                await _Speak(self, call, line).run()
            case _:
                await line.close(1008, "no such path")


class _Ears:
    """What both recognisers share."""

    def __init__(self, service: FakeDeepgram, call: Call, line: Line) -> None:
        self.service = service
        self.call = call
        self.line = line
        encoding = _ENCODINGS[call.said("encoding", "linear16")]
        self.format = AudioFormat(encoding, int(call.said("sample_rate", "16000")))
        quiet_ms = float(call.said("endpointing", "10").replace("false", "1000000"))
        self.listener = Listener([*service.lines], self.format, max(quiet_ms, 20.0))
        self.received = 0

    async def run(self) -> None:
        await self.begin()
        while True:
            try:
                async with asyncio.timeout(_IDLE_S):
                    message = await self.line.receive()
            except TimeoutError:
                await self.line.close(1011, "NET-0001")
                return None
            await self.service.hold.wait()
            if isinstance(message, bytes):
                if not message:
                    return await self.finish()
                await self.hear(message)
            elif await self.obey(msgspec.json.decode(message)):
                return None

    async def hear(self, audio: bytes) -> None:
        self.received += len(audio)
        self.service.seconds_heard += self.format.ms(len(audio)) / 1000
        for news in self.listener.hear(audio):
            await self.tell(news)
        if self.service.drops(self.received):
            self.line.drop()
            raise HungUpError

    async def obey(self, message: dict[str, object]) -> bool:
        """Returns whether that was the end."""
        self.service.events.append(str(message["type"]))
        match message:
            case {"type": "CloseStream"}:
                await self.finish()
                return True
            case {"type": "Finalize" | "ForceEndTurn"}:
                await self.flush()
            case _:
                pass
        return False

    async def begin(self) -> None: ...
    async def tell(self, news: str) -> None: ...
    async def flush(self) -> None: ...
    async def finish(self) -> None: ...


class _Listen(_Ears):
    async def tell(self, news: str) -> None:
        ears = self.listener
        match news:
            case "began" if self.call.said("vad_events") == "true":
                at = ears.heard_ms / 1000
                await self.line.say({"type": "SpeechStarted", "channel": [0, 1], "timestamp": at})
            case "interim" if self.call.said("interim_results") == "true" and ears.line:
                await self.results(ears.guess, ears.began_ms or 0.0, ears.ended_ms, is_final=False)
            case "final":
                text, began, ended = ears.take()
                is_noisy = self.service.is_noisy
                await self.results(text, began, ended, is_final=True, speech_final=not is_noisy)
                if self.call.said("utterance_end_ms"):
                    await self.line.say(
                        {"type": "UtteranceEnd", "channel": [0, 1], "last_word_end": ended / 1000}
                    )
            case _:
                pass

    async def results(
        self,
        text: str,
        began: float,
        ended: float,
        *,
        is_final: bool,
        speech_final: bool = False,
        from_finalize: bool = False,
    ) -> None:
        words = text.split()
        each = (ended - began) / 1000 / max(len(words), 1)
        spoken = [
            {
                "word": word.strip(".,?!").lower(),
                "start": began / 1000 + index * each,
                "end": began / 1000 + (index + 1) * each,
                "confidence": 0.98,
                "punctuated_word": word,
            }
            for index, word in enumerate(words)
        ]
        alternative = {"transcript": text, "confidence": 0.98 if text else 0.0, "words": spoken}
        await self.line.say(
            {
                "type": "Results",
                "channel_index": [0, 1],
                "start": began / 1000,
                "duration": (ended - began) / 1000,
                "is_final": is_final,
                "speech_final": speech_final,
                "from_finalize": from_finalize,
                "channel": {"alternatives": [alternative]},
                "metadata": {
                    "request_id": "r",
                    "model_info": {"name": "nova-3", "version": "1", "arch": "nova-3"},
                    "model_uuid": "m",
                },
            }
        )

    async def flush(self) -> None:
        if self.listener.began_ms is not None:
            text, began, ended = self.listener.take()
            await self.results(
                text, began, ended, is_final=True, speech_final=False, from_finalize=True
            )

    async def finish(self) -> None:
        await self.flush()
        await self.line.say(
            {
                "type": "Metadata",
                "transaction_key": "deprecated",
                "request_id": "r",
                "sha256": "0" * 64,
                "created": "2026-01-01T00:00:00.000Z",
                "duration": self.format.ms(self.received) / 1000,
                "channels": 1,
            }
        )
        await self.line.close(1000)


class _Flux(_Ears):
    def __init__(self, service: FakeDeepgram, call: Call, line: Line) -> None:
        super().__init__(service, call, line)
        self.listener.quiet_ms = 400.0
        self.turn = 0
        self.number = 0

    async def begin(self) -> None:
        await self.say({"type": "Connected", "request_id": "r"})

    async def say(self, message: dict[str, object]) -> None:
        await self.line.say({**message, "sequence_id": self.number})
        self.number += 1

    async def info(self, event: str, text: str, began: float, ended: float) -> None:
        words = [{"word": word, "confidence": 0.97} for word in text.split()]
        await self.say(
            {
                "type": "TurnInfo",
                "request_id": "r",
                "event": event,
                "turn_index": self.turn,
                "audio_window_start": began / 1000,
                "audio_window_end": ended / 1000,
                "transcript": text,
                "words": words,
                "end_of_turn_confidence": 0.9 if event == "EndOfTurn" else 0.1,
            }
        )

    async def tell(self, news: str) -> None:
        ears = self.listener
        began, ended = ears.began_ms or 0.0, ears.ended_ms
        match news:
            case "began" if ears.line:
                await self.info("StartOfTurn", ears.guess.split()[0], began, ears.heard_ms)
            case "interim" if ears.line:
                await self.info("Update", ears.guess, began, ended)
            case "final":
                text, began, ended = ears.take()
                if text and self.call.said("eager_eot_threshold"):
                    await self.info("EagerEndOfTurn", text, began, ended)
                if text:
                    await self.info("EndOfTurn", text, began, ended)
                    self.turn += 1
            case _:
                pass

    async def flush(self) -> None:
        if self.listener.began_ms is not None:
            await self.tell("final")

    async def finish(self) -> None:
        await self.flush()
        await self.line.close(1000)


class _Speak:
    """Aura: text in, binary audio out; one thing after the other."""

    def __init__(self, service: FakeDeepgram, call: Call, line: Line) -> None:
        self.service = service
        self.line = line
        encoding = _ENCODINGS[call.said("encoding", "linear16")]
        default = "24000" if encoding is Encoding.PCM16 else "8000"
        self.format = AudioFormat(encoding, int(call.said("sample_rate", default)))
        self.text = ""
        self.number = 0
        self.passed = 0

    async def run(self) -> None:
        await self.line.say({"type": "Metadata", "request_id": "r", "model_name": "aura-2"})
        inbox: asyncio.Queue[dict[str, object] | None] = asyncio.Queue()
        async with asyncio.TaskGroup() as both:
            reading = both.create_task(self._read(inbox))
            await self._work(inbox)
            reading.cancel()

    async def _read(self, inbox: asyncio.Queue[dict[str, object] | None]) -> None:
        try:
            while True:
                message = msgspec.json.decode(await self.line.receive())
                self.service.events.append(message["type"])
                inbox.put_nowait(message)
        except HungUpError:
            inbox.put_nowait(None)

    async def _work(self, inbox: asyncio.Queue[dict[str, object] | None]) -> None:
        while (message := await inbox.get()) is not None:
            match message:
                case {"type": "Speak", "text": str(text)}:
                    self.text += text
                    self.service.characters += len(text)
                case {"type": "Flush"}:
                    await self._say(inbox)
                case {"type": "Clear"}:
                    await self._done("Cleared")
                case {"type": "Close"}:
                    await self.line.close(1000)
                    return
                case _:
                    warning = {"type": "Warning", "code": "DATA-0000", "description": "unknown"}
                    await self.line.say(warning)

    async def _say(self, inbox: asyncio.Queue[dict[str, object] | None]) -> None:
        audio, self.text = tone(self.text, self.format), ""
        size = self.format.size(100)
        for start in range(0, len(audio), size):
            await self.service.hold.wait()
            await asyncio.sleep(0)
            if not inbox.empty():
                break  # cleared, or gone
            await self.line.send(audio[start : start + size])
            self.passed += size
            if self.service.drops(self.passed):
                self.line.drop()
                raise HungUpError
        else:
            await self._done("Flushed")

    async def _done(self, what: str) -> None:
        await self.line.say({"type": what, "sequence_id": self.number})
        self.number += 1
