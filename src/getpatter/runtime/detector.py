"""The built-in voice detector, once for all calls: one batch of the network every 10 ms, while frames wait for it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from getpatter.runtime import clock
from getpatter.runtime.wheel import PacingWheel
from getpatter.tracebacks import without_text
from getpatter.types import Encoding, Instant
from getpatter.vad.silero_batch import SileroBatch, Verdict

logger = logging.getLogger(__name__)

EVERY: Final = 0.01
"""How long the first frame of a batch waits for others. With 50 calls a batch is 16 frames, with 150 it is 47."""

Heard = Callable[[Verdict], None]
"""Takes what the network says about the next 32 ms of its call."""


class SharedDetector:
    """Hands each call's audio to the network, and each call its probabilities."""

    def __init__(self, wheel: PacingWheel) -> None:
        """Listen whenever a call is there; `wheel` says when."""
        self._batch = SileroBatch()
        self._wheel = wheel
        self._listeners: dict[int, Heard] = {}
        self.deadline: Instant | None = None

    def add(self, encoding: Encoding, heard: Heard) -> int:
        """Begin to listen to a call's 8 kHz audio. Returns its slot."""
        slot = self._batch.add(encoding)
        self._listeners[slot] = heard
        self._wheel.watch(self)
        return slot

    def warm_up(self) -> None:
        """Load the network now (a tenth of a second), not at the first caller's first word."""
        self._batch.warm_up()

    def push(self, slot: int, data: bytes) -> None:
        """More audio of that call, any length."""
        self._batch.push(slot, data)
        if self.deadline is None and self._batch.is_ready:
            self.deadline = Instant(clock.now() + EVERY)
            self._wheel.rearm(self)

    def remove(self, slot: int) -> None:
        """The call is over. Idempotent."""
        if self._listeners.pop(slot, None) is not None:
            self._batch.remove(slot)
        if not self._listeners:
            self.deadline = None
            self._wheel.forget(self)

    def tick(self, now: Instant) -> None:
        """Hear everything that has come since."""
        self.deadline = None
        for verdict in self._batch.run():
            heard = self._listeners.get(verdict.slot)
            if heard is not None:
                heard(verdict)

    def failed(self, error: Exception) -> None:
        """The network itself failed: recognisers still hear, interruption by voice does not."""
        logger.error(
            "vad.batch_failed error=%s", type(error).__name__, exc_info=without_text(error)
        )
