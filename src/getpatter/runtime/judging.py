"""Asks a turn detector whether a caller who has fallen silent has finished."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Final, cast

from getpatter.audio.convert import converter
from getpatter.core import messages as m
from getpatter.runtime.wording import settle
from getpatter.tracebacks import without_text
from getpatter.turn_taking import TurnDetector
from getpatter.types import PCM16_16K, AudioFormat

logger = logging.getLogger(__name__)

WINDOW_SECONDS: Final = 8.0
_USUAL_THRESHOLD: Final = 0.5


class Judging:
    """The detector of one call, and the caller's last sound."""

    def __init__(
        self,
        detector: object,
        *,
        stream: AudioFormat,
        within: float,
        report: Callable[[m.AnyInput], None],
        spawn: Callable[..., asyncio.Task[None]],
    ) -> None:
        """Ask `detector`, which belongs to this call. `within`: seconds after which its answer is of no use."""
        self._detector = cast("TurnDetector", detector)
        self._stream = stream
        self._within = within
        self._report = report
        self._spawn = spawn
        self._recent: deque[bytes] = deque()
        self._bytes = 0
        self._most = stream.size(WINDOW_SECONDS * 1000)

    def hear(self, data: bytes) -> None:
        """The caller's sound, in the carrier's format. Never waits."""
        self._recent.append(data)
        self._bytes += len(data)
        while self._bytes - len(self._recent[0]) >= self._most:
            self._bytes -= len(self._recent.popleft())

    def ask(self, command: m.AskTurnEnd) -> None:
        """Find out, beside everything else."""
        sound = b"".join(self._recent)[-self._most :]
        self._spawn(self._judge(command.number, sound), name="turn-end")

    async def _judge(self, number: int, sound: bytes) -> None:
        try:
            async with asyncio.timeout(self._within):
                window = await asyncio.to_thread(self._as_pcm, sound)
                probability: float = await settle(self._detector.predict(window))
            threshold = float(getattr(self._detector, "threshold", _USUAL_THRESHOLD))
            is_over = float(probability) >= threshold
        except Exception as error:
            logger.warning(
                "turn_detector.failed kind=%s error=%s",
                type(self._detector).__name__,
                type(error).__name__,
                exc_info=without_text(error),
            )
            is_over = True
        self._report(m.TurnJudged(number, is_over))

    def _as_pcm(self, sound: bytes) -> bytes:
        to_pcm = converter(self._stream, PCM16_16K)
        return to_pcm.convert(sound) + to_pcm.flush()
