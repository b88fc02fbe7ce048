"""What a call says: pieces of text to the voice, audio in the carrier's format back to the session.

Pieces of one reply are spoken in order by one task; cancelling it cancels the synthesis under way and
nothing else. The voice may run ahead of the caller's ear by `AHEAD_MS`, then it waits.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Final, cast

from getpatter.audio.convert import Converter, cheapest, converter
from getpatter.core import messages as m
from getpatter.net.standby import may_help
from getpatter.runtime import clock
from getpatter.runtime.losses import shown
from getpatter.tracebacks import without_text
from getpatter.tts.base import TTSProvider, output_format
from getpatter.types import PCM16_16K, AudioFormat

logger = logging.getLogger(__name__)

AHEAD_MS: Final = 8000.0
FIRST_AUDIO_WITHIN: Final = 10.0
NEXT_AUDIO_WITHIN: Final = 10.0
RETRIES: Final = 3
RETRY_WITHIN: Final = 5.0
"""Seconds after which a piece that made no sound is tried again no more, once it had a second chance."""
KEPT_GREETINGS: Final = 64


@dataclass(frozen=True, slots=True)
class Worded:
    """What will really be said of a piece. Empty text: nothing."""

    text: str
    ends_reply: bool = False


Wording = Callable[[str, bool], Awaitable[Worded]]
"""Hooks, guardrails and transforms: `(text, is_checked) -> Worded`."""
SoundStage = Callable[[bytes, str], Awaitable[bytes | None]]
"""The hook on PCM16 16 kHz of a piece; `None` drops the chunk."""


async def as_asked(text: str, is_checked: bool) -> Worded:  # noqa: FBT001 - the form of `Wording`
    """The wording of an agent without hooks."""
    return Worded(text)


class GreetingShelf:
    """Audio of operators' sentences that were said before, by voice, format and text; the oldest go."""

    def __init__(self) -> None:
        """Begin empty."""
        self._kept: OrderedDict[tuple[str, AudioFormat, str], bytes] = OrderedDict()

    def get(self, key: tuple[str, AudioFormat, str]) -> bytes | None:
        """The audio, if it was kept."""
        audio = self._kept.get(key)
        if audio is not None:
            self._kept.move_to_end(key)
        return audio

    def keep(self, key: tuple[str, AudioFormat, str], audio: bytes) -> None:
        """Remember audio that was made whole."""
        self._kept[key] = audio
        while len(self._kept) > KEPT_GREETINGS:
            self._kept.popitem(last=False)


@dataclass(frozen=True, slots=True)
class Speaker:
    """Who speaks from some piece on, and how their words are chosen."""

    tts: TTSProvider | None
    """`None`: the same voice."""
    wording: Wording
    reply_began: Callable[[], None]


class Mouth:
    """The voice's side of one call."""

    def __init__(  # noqa: PLR0913 - a voice's whole surroundings
        self,
        tts: TTSProvider,
        *,
        report: Callable[[m.AnyInput], None],
        queued_ms: Callable[[], float],
        spawn: Callable[..., asyncio.Task[None]],
        wording: Wording = as_asked,
        reply_began: Callable[[], None] = lambda: None,
        after_synthesize: SoundStage | None = None,
        shelf: GreetingShelf | None = None,
        failed: Callable[[Exception], None] = lambda _: None,
        lost: Callable[[Exception], None] = lambda _: None,
    ) -> None:
        """Speak with `tts`.

        Args:
            tts: The voice of this call.
            report: Takes audio and outcomes, at once.
            queued_ms: Audio that still waits to be sent.
            spawn: Starts a task that ends with the call.
            wording: Hooks, guardrails and transforms.
            reply_began: Told before the first piece of each reply.
            after_synthesize: Hook on each chunk of audio.
            shelf: Where greetings are kept between calls.
            failed: Told of each piece that could not be spoken, or not to its end.
            lost: Told once when the voice cannot be brought back: it made no sound, however often it was asked.
        """
        self._tts = tts
        self._report = report
        self._queued_ms = queued_ms
        self._spawn = spawn
        self._wording = wording
        self._reply_began = reply_began
        self._after_synthesize = after_synthesize
        self._shelf = shelf
        self._failed = failed
        self._lost = lost
        self._is_lost = False
        self._format = PCM16_16K
        self._source = PCM16_16K
        self._pieces: asyncio.Queue[m.Speak | Speaker] | None = None
        self._task: asyncio.Task[None] | None = None
        self._reply = 0
        self._room = asyncio.Event()
        self.characters = 0
        """What the present voice was asked to say."""
        self.earlier: list[int] = []
        """The same for each voice before it."""

    def tune(self, stream: AudioFormat) -> None:
        """The carrier's format is known: have the voice make it if it can."""
        self._format = stream
        choose = getattr(self._tts, "with_output", None)
        chosen = choose((stream,)) if callable(choose) else None
        if chosen is not None:
            self._tts = cast("TTSProvider", chosen)
        self._source, _ = cheapest((output_format(self._tts),), (stream,))

    def speak(self, piece: m.Speak) -> None:
        """Queue a piece. Pieces of a new reply drop what is left of the one before."""
        if self._pieces is None or piece.reply != self._reply:
            self.cancel()
            self._reply_began()
            self._reply = piece.reply
            self._pieces = asyncio.Queue()
            self._task = self._spawn(self._speak_all(self._pieces), name=f"mouth-{piece.reply}")
        self._pieces.put_nowait(piece)

    def hand_over(self, speaker: Speaker) -> None:
        """Somebody else speaks, after the pieces that wait already."""
        if self._pieces is None:
            self._become(speaker)
        else:
            self._pieces.put_nowait(speaker)

    def _become(self, speaker: Speaker) -> None:
        self._wording, self._reply_began = speaker.wording, speaker.reply_began
        if speaker.tts is not None:
            self._tts = speaker.tts
            self._is_lost = False
            self.earlier.append(self.characters)
            self.characters = 0
            self.tune(self._format)

    def cancel(self) -> None:
        """Stop speaking now."""
        if self._task is not None:
            self._task.cancel()
        pieces, self._task, self._pieces = self._pieces, None, None
        while pieces is not None and not pieces.empty():
            if isinstance(waiting := pieces.get_nowait(), Speaker):
                self._become(waiting)

    def room_made(self) -> None:
        """Audio was sent; a voice that waited may go on."""
        self._room.set()

    async def _speak_all(self, pieces: asyncio.Queue[m.Speak | Speaker]) -> None:
        while True:
            piece = await pieces.get()
            if isinstance(piece, Speaker):
                self._become(piece)
            else:
                await self._speak_one(piece)

    async def _speak_one(self, piece: m.Speak) -> None:
        try:
            worded = await self._wording(piece.text, piece.is_checked)
            self._report(m.PieceWorded(piece.piece, worded.text, worded.ends_reply))
            if worded.text.strip():
                self.characters += len(worded.text)
                await self._voice(piece, worded.text)
            self._report(m.PieceDone(piece.piece))
        except Exception as error:
            logger.warning(
                "tts.piece_failed error=%s", type(error).__name__, exc_info=without_text(error)
            )
            self._failed(error)
            self._report(m.PieceDone(piece.piece, failed=True))

    async def _voice(self, piece: m.Speak, text: str) -> None:
        key = self._shelf_key(text) if piece.is_checked else None
        if key is not None and self._shelf is not None:
            kept = self._shelf.get(key)
            if kept is not None:
                self._report(m.PieceVoiced(piece.piece, kept))
                return
        made: list[bytes] = []
        began = clock.now()
        attempt = 0
        while True:
            attempt += 1
            try:
                async for audio in self._audio(text):
                    made.append(audio)
                    self._report(m.PieceVoiced(piece.piece, audio))
                    while self._queued_ms() > AHEAD_MS:
                        self._room.clear()
                        await self._room.wait()
                break
            except Exception as error:
                # Said twice is worse than cut short: only silence is tried again.
                if made:
                    raise
                if not _is_worth_asking(error, attempt, clock.now() - began):
                    self._gone(error, attempt)
                    raise
                logger.warning("tts.retried attempt=%d error=%s", attempt, type(error).__name__)
            await asyncio.sleep(0.1 * 3 ** (attempt - 1))
        # A chain of voices may have changed over in between.
        if key is not None and key == self._shelf_key(text) and self._shelf is not None and made:
            self._shelf.keep(key, b"".join(made))

    def _gone(self, error: Exception, attempts: int) -> None:
        if self._is_lost:
            return
        self._is_lost = True
        logger.error("tts.gone attempts=%d error=%s", attempts, shown(error))
        self._lost(error)

    def _shelf_key(self, text: str) -> tuple[str, AudioFormat, str] | None:
        voice = getattr(self._tts, "voice_key", None)
        if self._after_synthesize is not None or not isinstance(voice, str):
            return None
        return voice, self._format, text

    async def _audio(self, text: str) -> AsyncIterator[bytes]:
        stages = self._stages(text)
        chunks = aiter(self._tts.synthesize(text))
        limit = FIRST_AUDIO_WITHIN
        try:
            while True:
                try:
                    async with asyncio.timeout(limit):
                        chunk = await anext(chunks)
                except StopAsyncIteration:
                    break
                limit = NEXT_AUDIO_WITHIN
                audio = await stages.run(chunk)
                if audio:
                    yield audio
        finally:
            close = getattr(chunks, "aclose", None)
            if close is not None:
                await close()
        rest = stages.flush()
        if rest:
            yield rest

    def _stages(self, text: str) -> _Stages:
        if self._after_synthesize is None:
            return _Stages(None, converter(self._source, self._format), None, text)
        return _Stages(
            converter(self._source, PCM16_16K),
            converter(PCM16_16K, self._format),
            self._after_synthesize,
            text,
        )

    async def close(self) -> None:
        """Stop speaking. The voice itself is closed by whoever cloned it."""
        self.cancel()


def _is_worth_asking(error: Exception, attempts: int, seconds: float) -> bool:
    """Whether a voice that made no sound is asked again: up to three times within 5 s (CV-66), at least once."""
    if not may_help(error) or attempts > RETRIES:
        return False
    return attempts == 1 or seconds < RETRY_WITHIN


@dataclass(slots=True)
class _Stages:
    """From the voice's bytes to the carrier's, by way of the hook where there is one."""

    to_pcm: Converter | None
    to_carrier: Converter
    hook: SoundStage | None
    text: str

    async def run(self, chunk: bytes) -> bytes:
        if self.to_pcm is None or self.hook is None:
            return self.to_carrier.convert(chunk)
        pcm = await self.hook(self.to_pcm.convert(chunk), self.text)
        return self.to_carrier.convert(pcm) if pcm else b""

    def flush(self) -> bytes:
        return self.to_carrier.flush()
