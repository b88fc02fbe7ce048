"""Scripted providers: a recogniser, a voice and a model that say what you wrote, after the delays you set.

They are real implementations of the provider protocols and take real audio; what is scripted is what they
make of it. Delays follow the event loop's clock, so they work in virtual time too. `clone()` gives each call
its own state, and scripts begin anew with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Self

from getpatter.llm.base import LLMChunk
from getpatter.models import Transcript
from getpatter.types import MULAW_8K, AudioFormat, Encoding

_QUIET_MULAW: Final = 0x50
"""Magnitude codes of G.711 run from 0x7F (silence) down to 0; below this a sample is audible (about -36 dB)."""
_LOUDNESS: Final = bytes(0x7F - (code & 0x7F) for code in range(256))


def is_audible(mulaw: bytes) -> bool:
    """Whether µ-law audio holds more than line noise."""
    return bool(mulaw) and max(mulaw.translate(_LOUDNESS)) > 0x7F - _QUIET_MULAW


@dataclass
class ScriptedSTT:
    """Recognises the next line of its script whenever the caller has fallen silent.

    A line is final `final_delay` seconds after the last audible frame; with `interim_delay` it is first
    reported as a guess. After the script's end it hears nothing more. Takes µ-law 8 kHz, so that no call with
    a µ-law carrier converts anything.
    """

    lines: Sequence[str]
    final_delay: float = 0.25
    ends_turn: bool = True
    """Whether finals carry `speech_final`."""
    connect_delay: float = 0.0
    input_formats: tuple[AudioFormat, ...] = (MULAW_8K,)
    received_bytes: int = 0
    _left: list[str] = field(default_factory=list)
    _results: asyncio.Queue[Transcript | None] | None = None
    _timer: asyncio.TimerHandle | None = None
    _spoke: bool = False

    def clone(self) -> Self:
        """The same script from its beginning."""
        return type(self)(
            self.lines, self.final_delay, self.ends_turn, self.connect_delay, self.input_formats
        )

    async def connect(self) -> None:
        """Be ready after `connect_delay`."""
        if self.connect_delay:
            await asyncio.sleep(self.connect_delay)
        self._left = list(self.lines)
        self._results = asyncio.Queue()

    def feed(self, data: bytes) -> None:
        """Hear audio. Never waits."""
        self.received_bytes += len(data)
        if is_audible(data):
            self._spoke = True
            if self._timer is not None:
                self._timer.cancel()
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self.final_delay, self._recognise)

    async def send_audio(self, pcm: bytes) -> None:
        """Hear audio."""
        self.feed(pcm)

    def _recognise(self) -> None:
        self._spoke = False
        if self._left and self._results is not None:
            line = self._left.pop(0)
            if line:
                self._results.put_nowait(
                    Transcript(line, is_final=True, confidence=1.0, speech_final=self.ends_turn)
                )

    async def receive_transcripts(self) -> AsyncIterator[Transcript]:
        """Results as they come."""
        assert self._results is not None, "connect() first"
        while True:
            result = await self._results.get()
            if result is None:
                return
            yield result

    async def close(self) -> None:
        """Stop."""
        if self._timer is not None:
            self._timer.cancel()
        if self._results is not None:
            self._results.put_nowait(None)


def buzz(lasts_ms: float, audio_format: AudioFormat = MULAW_8K) -> bytes:
    """An audible square wave of 200 Hz in µ-law 8 kHz."""
    assert audio_format.encoding is Encoding.MULAW, "only the phone's own format is needed"
    period = b"\x9f" * 20 + b"\x1f" * 20
    size = audio_format.size(lasts_ms)
    return (period * (size // len(period) + 1))[:size]


@dataclass
class ScriptedTTS:
    """A voice that buzzes for as long as the text would take to say."""

    first_audio_delay: float = 0.1
    ms_per_letter: float = 60.0
    chunk_ms: float = 200.0
    chunk_delay: float = 0.0
    """Seconds between chunks: 0 makes audio as fast as it can be taken."""
    output_format: AudioFormat = MULAW_8K
    spoken: list[str] = field(default_factory=list)
    """Every text it was asked for, over all calls."""

    def clone(self) -> Self:
        """The same voice; `spoken` is shared."""
        return type(self)(
            self.first_audio_delay,
            self.ms_per_letter,
            self.chunk_ms,
            self.chunk_delay,
            self.output_format,
            self.spoken,
        )

    async def synthesize(self, text: str) -> AsyncIterator[bytes]:
        """Buzz."""
        self.spoken.append(text)
        if self.first_audio_delay:
            await asyncio.sleep(self.first_audio_delay)
        audio = buzz(self.ms_per_letter * len(text), self.output_format)
        size = self.output_format.size(self.chunk_ms)
        for start in range(0, len(audio), size):
            if start and self.chunk_delay:
                await asyncio.sleep(self.chunk_delay)
            yield audio[start : start + size]

    async def close(self) -> None:
        """Nothing to give back."""


@dataclass
class ScriptedLLM:
    """A model that answers its replies in turn, token by token; the last one again and again."""

    replies: Sequence[str]
    first_token_delay: float = 0.2
    token_delay: float = 0.0
    asked: list[Sequence[Mapping[str, object]]] = field(default_factory=list)
    """The messages of every request."""

    async def stream(
        self, messages: Sequence[Mapping[str, object]], tools: object = None
    ) -> AsyncIterator[LLMChunk]:
        """The next reply."""
        del tools
        said = sum(message.get("role") == "user" for message in messages)
        self.asked.append(messages)
        if self.first_token_delay:
            await asyncio.sleep(self.first_token_delay)
        reply = self.replies[min(max(said - 1, 0), len(self.replies) - 1)]
        for index, word in enumerate(reply.split(" ")):
            if index and self.token_delay:
                await asyncio.sleep(self.token_delay)
            yield LLMChunk("text", content=word if not index else f" {word}")
        yield LLMChunk("done")
