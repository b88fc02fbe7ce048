"""Says by name what held the event loop, and with it the audio of every call.

The loop leaves a note every 10 ms that it is alive. A thread that otherwise sleeps looks at the note, and when it
is old, at the stack of the loop's thread: whoever stands there is holding it.

Beside running calls the cost is too small to measure. A process that would otherwise sleep is woken 140 times a
second, which is 1 to 2 % of a core on a virtual machine: stop the watchdog while there is no call.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Final

from getpatter.runtime import clock

logger = logging.getLogger(__name__)

HELD_S: Final = 0.050
BEAT_S: Final = 0.010
_QUIET_S: Final = 10.0
"""A place is named once in this time: a slow function called for every frame must not fill the log."""
_MS: Final = 1000
_JOIN_S: Final = 1.0
_UNSEEN: Final = "unknown"


@dataclass(frozen=True, slots=True)
class Held:
    """The loop did nothing else for a while."""

    ms: float
    at: str
    """`module:function`; `unknown` when it was over before anybody could look."""


class LoopWatchdog:
    """Watches the loop that it is started on. Does nothing on a loop with virtual time."""

    def __init__(
        self, *, held_s: float = HELD_S, on_held: Callable[[Held], None] | None = None
    ) -> None:
        """Report what holds the loop longer than `held_s` seconds: to the log, and to `on_held` on the loop."""
        self._held_s = held_s
        self._on_held = on_held
        self._loop: asyncio.AbstractEventLoop | None = None
        self._beat: asyncio.TimerHandle | None = None
        self._expected = 0.0
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()
        self._watched = 0
        self._seen: Counter[str] = Counter()
        self._named: dict[str, float] = {}
        self.count = 0
        """Times that the loop was held."""
        self.worst_ms = 0.0

    @property
    def is_running(self) -> bool:
        """Whether anybody watches."""
        return self._thread is not None

    def start(self) -> None:
        """Begin to watch the running loop. Idempotent."""
        loop = asyncio.get_running_loop()
        if self.is_running or hasattr(loop, "wall"):
            return
        self._loop = loop
        self._watched = threading.get_ident()
        self._expected = clock.precise() + BEAT_S
        self._beat = loop.call_later(BEAT_S, self._note)
        self._stopped = threading.Event()
        self._thread = threading.Thread(
            target=self._watch, args=(self._stopped,), name="getpatter watchdog", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Watch no longer. Idempotent."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        if self._beat is not None:
            self._beat.cancel()
            self._beat = None
        self._stopped.set()
        thread.join(_JOIN_S)

    # -------------------------------------------------------------------------------------- the loop

    def _note(self) -> None:
        now = clock.precise()
        late = now - self._expected
        # The note was due at some time within the hold, so the hold is longer by a beat at most.
        if late > self._held_s - BEAT_S:
            self._report(late, now)
        if self._seen:
            self._seen = Counter()
        self._expected = now + BEAT_S
        if self._loop is not None and self._thread is not None:
            self._beat = self._loop.call_later(BEAT_S, self._note)

    def _report(self, late_s: float, now: float) -> None:
        place = self._seen.most_common(1)
        held = Held(late_s * _MS, place[0][0] if place else _UNSEEN)
        self.count += 1
        self.worst_ms = max(self.worst_ms, held.ms)
        if now - self._named.get(held.at, -_QUIET_S) >= _QUIET_S:
            if len(self._named) > _MS:
                self._named.clear()
            self._named[held.at] = now
            logger.warning("loop.held ms=%d at=%s", held.ms, held.at)
        if self._on_held is not None:
            self._on_held(held)

    # ------------------------------------------------------------------------------------ the thread

    def _watch(self, stopped: threading.Event) -> None:
        pause_s = self._held_s / 2
        while not stopped.wait(pause_s):
            if clock.precise() - self._expected < pause_s:
                continue
            # Documented, underscore or not.
            frames = sys._current_frames()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
            frame = frames.get(self._watched)
            if frame is not None:
                self._seen[place_of(frame)] += 1


def place_of(frame: FrameType) -> str:
    """`module:function` of the innermost code in `frame` that is not the standard library's."""
    each: FrameType | None = frame
    while each is not None:
        module = str(each.f_globals.get("__name__", ""))
        if module.partition(".")[0] not in sys.stdlib_module_names or module == "__main__":
            return f"{module}:{each.f_code.co_qualname}"
        each = each.f_back
    return f"{frame.f_globals.get('__name__', '')}:{frame.f_code.co_qualname}"
