"""What a call hears: the caller's audio to the voice detector and the recogniser, words back to the session.

Reading the carrier's socket never waits for anything here. Audio that the recogniser cannot take yet (it is
still connecting, or slow) is kept for `KEPT_SECONDS`; then the oldest is dropped and counted.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from getpatter.audio.convert import Converter, cheapest, converter
from getpatter.core import messages as m
from getpatter.models import Transcript
from getpatter.net.standby import may_help
from getpatter.runtime import clock
from getpatter.runtime.losses import shown
from getpatter.stt.base import STTProvider, input_formats
from getpatter.types import PCM16_16K, AudioFormat, Spent

logger = logging.getLogger(__name__)

KEPT_SECONDS: Final = 5.0
RECONNECTS: Final = 3
RECONNECT_WITHIN: Final = 5.0
CLOSE_WITHIN: Final = 2.0

AudioStage = Callable[[bytes], Awaitable[bytes | None]]
"""A filter or hook on PCM16 16 kHz; `None` drops the audio."""
TextStage = Callable[[str], Awaitable[str | None]]


class VoiceDetector(Protocol):
    """A detector of the user's own (spec CV-11)."""

    async def process_frame(self, pcm: bytes, sample_rate: int) -> object | None:
        """One frame of PCM16; returns a `VADEvent` or `None`."""
        ...


class Ears:
    """The recogniser's side of one call. `open` may begin before there is any media."""

    def __init__(  # noqa: PLR0913 - a recogniser's whole surroundings
        self,
        stt: STTProvider,
        *,
        expected: AudioFormat,
        report: Callable[[m.AnyInput], None],
        lost: Callable[[Exception], None],
        stages: tuple[AudioStage, ...] = (),
        after_transcribe: TextStage | None = None,
        detector: VoiceDetector | None = None,
    ) -> None:
        """Hear with `stt`, which belongs to this call alone.

        Args:
            stt: The recogniser; connected by `run`.
            expected: What the carrier will most likely send; a recogniser that can is set to take it.
            report: Takes what was heard, at once.
            lost: Told once when the recogniser could not be brought back.
            stages: Filters on the caller's audio, in order.
            after_transcribe: Hook on final words; `None` or `""` drops them.
            detector: The user's own voice detector, fed with PCM16 16 kHz.
        """
        choose: Callable[..., STTProvider | None] | None = getattr(stt, "with_input", None)
        chosen = choose((expected,)) if callable(choose) and not stages and not detector else None
        self._stt: STTProvider = stt if chosen is None else chosen
        self._report = report
        self._lost = lost
        self._stages = stages
        self._after_transcribe = after_transcribe
        self._detector = detector
        self._to_pcm: Converter | None = None
        self._to_stt: Converter | None = None
        self._pending: deque[bytes] = deque()
        self._pending_bytes = 0
        self._limit = 0
        self._wake = asyncio.Event()
        self._onset_ms = 0.0
        self._is_connected = False
        self._is_closing = False
        self._feed: Callable[[bytes], None] | None = None
        self.dropped_bytes = 0
        self._sent_seconds = 0.0
        self._bytes_per_second = 8000.0

    @property
    def spent(self) -> Sequence[Spent] | None:
        """Who has heard how much, where several recognisers share the work."""
        spent: Sequence[Spent] | None = getattr(self._stt, "spent", None)
        return spent

    @property
    def billed_seconds(self) -> float:
        """Seconds of audio so far, by the recogniser's own count where it keeps one: that of what is billed."""
        own = getattr(self._stt, "billed_seconds", None)
        return own if isinstance(own, float) else self._sent_seconds

    def tune(self, stream: AudioFormat) -> None:
        """The carrier's format is known: choose the cheapest way from it to the recogniser."""
        self._limit = stream.size(KEPT_SECONDS * 1000)
        self._bytes_per_second = stream.bytes_per_ms * 1000
        if self._stages or self._detector is not None:
            self._to_pcm = converter(stream, PCM16_16K)
            _, wanted = cheapest((PCM16_16K,), input_formats(self._stt))
            self._to_stt = converter(PCM16_16K, wanted)
            return
        _, wanted = cheapest((stream,), input_formats(self._stt))
        self._to_stt = converter(stream, wanted)
        feed: Callable[[bytes], None] | None = getattr(self._stt, "feed", None)
        self._feed = feed if callable(feed) else None

    def hear(self, data: bytes) -> None:
        """Take caller audio in the carrier's format. Never waits."""
        if self._feed is not None and self._is_connected and not self._pending:
            assert self._to_stt is not None, "tuned before the first frame"
            self._sent_seconds += len(data) / self._bytes_per_second
            self._feed(self._to_stt.convert(data))
            return
        self._pending.append(data)
        self._pending_bytes += len(data)
        while self._pending_bytes > self._limit:
            oldest = self._pending.popleft()
            self._pending_bytes -= len(oldest)
            self.dropped_bytes += len(oldest)
        self._wake.set()

    async def finalize(self) -> None:
        """Ask for the final words now, where the recogniser can be asked."""
        finalize = getattr(self._stt, "finalize", None)
        if finalize is None or not self._is_connected:
            return
        answer = finalize()
        if inspect.isawaitable(answer):
            await answer

    async def run(self) -> None:
        """Listen until cancelled. A lost stream is opened again; audio since the break is sent then.

        A refusal that no second attempt can change, such as a wrong key, is final at once.
        A recogniser that ends its results without an error has nothing more to say, and is not asked again.
        """
        attempts = 0
        began = clock.now()
        while True:
            try:
                await self._stt.connect()
                self._is_connected = True
                began = clock.now()
                self._wake.set()
                await self._exchange()
            except Exception as failure:  # noqa: BLE001 - the top of this task: any failure of a provider
                error = failure
            else:
                if not self._is_closing:
                    logger.warning("stt.ended_results")
                return
            self._is_connected = False
            if clock.now() - began > RECONNECT_WITHIN:
                attempts = 0
            attempts += 1
            if attempts > RECONNECTS or not may_help(error):
                logger.error("stt.gone attempts=%d error=%s", attempts, shown(error))
                self._lost(error)
                return
            logger.warning("stt.stream_lost attempt=%d error=%s", attempts, type(error).__name__)
            await asyncio.sleep(0.1 * 3 ** (attempts - 1))

    async def _exchange(self) -> None:
        try:
            async with asyncio.TaskGroup() as both:
                sending = both.create_task(self._send())
                await self._receive()
                sending.cancel()
        except ExceptionGroup as group:
            raise group.exceptions[0] from group

    async def _send(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._pending:
                data = b"".join(self._pending)
                self._pending.clear()
                self._pending_bytes = 0
                await self._forward(data)

    async def _forward(self, data: bytes) -> None:
        assert self._to_stt is not None, "tuned before the first frame"
        self._sent_seconds += len(data) / self._bytes_per_second
        audio = data
        if self._to_pcm is not None:
            audio = self._to_pcm.convert(data)
            for stage in self._stages:
                cleaned = await stage(audio)
                if not cleaned:
                    return
                audio = cleaned
            if self._detector is not None:
                await self._detect(audio)
        await self._stt.send_audio(self._to_stt.convert(audio))

    async def _detect(self, pcm: bytes) -> None:
        assert self._detector is not None, "only called with a detector"
        event = await self._detector.process_frame(pcm, PCM16_16K.sample_rate)
        match getattr(event, "type", None):
            case "speech_start":
                self._onset_ms = clock.now() * 1000 - _lasted(event)
                self._report(m.VoiceStarted(_lasted(event)))
            case "speech_end":
                # It is known how long the speech was, so the silence since is known too.
                lasted = _lasted(event)
                ago = clock.now() * 1000 - self._onset_ms - lasted if lasted else 0.0
                self._report(m.VoiceStopped(max(0.0, ago)))
            case _:
                pass

    async def _receive(self) -> None:
        async for said in self._stt.receive_transcripts():
            await self._said(said)

    async def _said(self, said: Transcript) -> None:
        text: str | None = said.text
        if said.is_final and self._after_transcribe is not None and said.text:
            text = await self._after_transcribe(said.text)
        self._report(
            m.Transcribed(
                text=text or "",
                is_final=said.is_final,
                speech_final=said.speech_final,
                confidence=said.confidence,
                start_ms=getattr(said, "start_ms", None),
                end_ms=getattr(said, "end_ms", None),
            )
        )

    async def close(self) -> None:
        """End the recogniser's stream. Idempotent."""
        self._is_closing = True
        self._is_connected = False
        self._feed = None
        try:
            async with asyncio.timeout(CLOSE_WITHIN):
                await self._stt.close()
        except Exception as error:  # noqa: BLE001 - closing must not keep a finished call alive
            logger.warning("stt.close_failed error=%s", type(error).__name__)


def _lasted(event: object) -> float:
    lasts = getattr(event, "duration_ms", 0.0)
    return float(lasts) if isinstance(lasts, (int, float)) else 0.0
