"""One alarm for all calls of an event loop.

A timer per call and frame costs two to three times the frame itself (experiments, pacing). Here each call names the
instant at which it wants to be woken; one timer of the loop serves the earliest of them, and one wake-up serves
everybody who is due. Wake-ups are at least 5 ms apart, so that 400 calls share 200 a second: that is the
measured "four slots in 20 ms", except that a call with the loop to itself is woken on the millisecond.

Deadlines are absolute and belong to the call, so lateness never adds up.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import math
from array import array
from typing import Final, Protocol

from getpatter.runtime import clock
from getpatter.tracebacks import without_text
from getpatter.types import Instant

logger = logging.getLogger(__name__)

SLOT_S: Final = 0.005
_MS: Final = 1000
_BUCKETS_PER_MS: Final = 4
_BUCKETS: Final = 400  # 100 ms and one for all that is later


class Ticking(Protocol):
    """Somebody who wants to be woken. Compared by identity."""

    @property
    def deadline(self) -> Instant | None:
        """When to be woken next, or `None`. Read often: it should be an attribute."""
        ...

    def tick(self, now: Instant) -> None:
        """It is `deadline` or later. Must return at once, with `deadline` moved on."""
        ...

    def failed(self, error: Exception) -> None:
        """`tick` or `deadline` raised this. Must not raise; it is still watched, unless it does."""
        ...


class Lateness:
    """How late calls were woken: a histogram of quarter milliseconds that allocates nothing."""

    def __init__(self) -> None:
        """Begin with nothing measured."""
        self._counts = array("Q", bytes(8 * (_BUCKETS + 1)))
        self._max_s = 0.0

    def add(self, late_s: float) -> None:
        """Count one wake-up that came `late_s` seconds after its deadline."""
        bucket = int(late_s * (_MS * _BUCKETS_PER_MS))
        self._counts[bucket if 0 <= bucket < _BUCKETS else (_BUCKETS if bucket > 0 else 0)] += 1
        self._max_s = max(self._max_s, late_s)

    @property
    def count(self) -> int:
        """Wake-ups measured."""
        return sum(self._counts)

    @property
    def max_ms(self) -> float:
        """The latest of all."""
        return self._max_s * _MS

    def percentile_ms(self, percent: float) -> float:
        """Upper edge of the bucket below which `percent` of the wake-ups came; 0 when there were none."""
        wanted = self.count * percent / 100
        seen = 0
        for bucket, count in enumerate(self._counts):
            seen += count
            if count and seen >= wanted:
                edge = (bucket + 1) / _BUCKETS_PER_MS
                return min(edge, self.max_ms)
        return 0.0

    def reset(self) -> None:
        """Forget everything measured so far."""
        for bucket in range(_BUCKETS + 1):
            self._counts[bucket] = 0
        self._max_s = 0.0


class _Place:
    """Where one call stands in the heap. `at` is infinite while it stands nowhere."""

    __slots__ = ("at", "call")

    def __init__(self, call: Ticking) -> None:
        self.call = call
        self.at = math.inf


class PacingWheel:
    """Wakes every watched call at its deadline. One for each event loop, used on that loop only."""

    def __init__(self) -> None:
        """Make a wheel for the running loop. It needs no closing: with nobody to wake it has no timer."""
        self._loop = asyncio.get_running_loop()
        self._places: dict[int, _Place] = {}
        self._heap: list[tuple[float, int, _Place]] = []
        self._order = itertools.count()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._last_wake = -math.inf
        self._is_waking = False
        self.lateness = Lateness()

    def __len__(self) -> int:
        return len(self._places)

    def watch(self, call: Ticking) -> None:
        """Begin to wake `call`. Idempotent."""
        if id(call) not in self._places:
            self._places[id(call)] = _Place(call)
        self.rearm(call)

    def forget(self, call: Ticking) -> None:
        """Never wake `call` again. Idempotent; allowed inside its `tick`."""
        place = self._places.pop(id(call), None)
        if place is not None:
            place.at = math.inf
        if not self._places:
            self._heap.clear()
            self._cancel_timer()

    def rearm(self, call: Ticking) -> None:
        """The deadline of `call` may have changed. Costs next to nothing when it moved later.

        Does nothing for a call that is not watched.
        """
        place = self._places.get(id(call))
        if place is None:
            return
        deadline = self._deadline_of(place)
        if deadline >= place.at:
            return
        if self._is_waking:
            # Not in this wake-up again, or a call that stays due would hold the loop.
            self._enter(place, max(deadline, math.nextafter(self._last_wake, math.inf)))
        else:
            self._enter(place, deadline)
            self._set_timer()

    # ---------------------------------------------------------------------------------------- inside

    def _enter(self, place: _Place, at: float) -> None:
        place.at = at
        heapq.heappush(self._heap, (at, next(self._order), place))

    def _deadline_of(self, place: _Place) -> float:
        try:
            deadline = place.call.deadline
        except Exception as error:  # noqa: BLE001 - one call's fault stays with that call
            self._report(place, error)
            return math.inf
        return math.inf if deadline is None else deadline

    def _set_timer(self) -> None:
        heap = self._heap
        while heap and heap[0][2].at != heap[0][0]:  # forgotten, or entered again for earlier
            heapq.heappop(heap)
        if not heap:
            self._cancel_timer()
            return
        # uvloop and epoll know whole milliseconds only; the next one up is never too early.
        at = math.ceil(max(heap[0][0], self._last_wake + SLOT_S) * _MS) / _MS
        if at < self._timer_at:
            self._cancel_timer()
            self._timer_at = at
            self._timer = self._loop.call_at(at, self._wake)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._timer_at = math.inf

    def _wake(self) -> None:
        self._timer = None
        self._timer_at = math.inf
        now = clock.now()
        self._last_wake = now
        self._is_waking = True
        try:
            self._tick_all_due(now)
        finally:
            self._is_waking = False
            self._set_timer()

    def _tick_all_due(self, now: Instant) -> None:
        heap = self._heap
        later: list[tuple[_Place, float]] = []
        while heap and heap[0][0] <= now:
            at, _, place = heapq.heappop(heap)
            if place.at != at:
                continue
            place.at = math.inf
            deadline = self._deadline_of(place)
            if deadline <= now:
                self.lateness.add(clock.precise() - deadline)
                place.at = -math.inf  # a `rearm` inside its own tick must not make it due again now
                self._tick(place, now)
                place.at = math.inf
                deadline = self._deadline_of(place)
            if deadline != math.inf:
                later.append((place, deadline))
        for place, deadline in later:  # not before all had their turn: a deadline may still be due
            if deadline < place.at and id(place.call) in self._places:
                self._enter(place, deadline)

    def _tick(self, place: _Place, now: Instant) -> None:
        try:
            place.call.tick(now)
        except Exception as error:  # noqa: BLE001 - one call's fault stays with that call
            self._report(place, error)

    def _report(self, place: _Place, error: Exception) -> None:
        try:
            place.call.failed(error)
        except Exception as failure:
            logger.exception("wheel.call_forgotten", exc_info=without_text(failure))
            self.forget(place.call)
