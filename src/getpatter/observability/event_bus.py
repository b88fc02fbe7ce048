"""`phone.events`: everything that happens in calls, for whoever wants to listen.

Listening never delays a call. Each listener has its own queue and is called between two turns of the event loop,
in the order of the events; while it awaits something, its events wait (1000 of them, then the oldest go).
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Final

from getpatter.events import PatterEventType
from getpatter.net.tasks import TaskNest
from getpatter.observability.payloads import name_of, own_copy
from getpatter.tracebacks import without_text

logger = logging.getLogger(__name__)

CAPACITY: Final = 1000

Payload = dict[str, object]
"""Plain data with at least `call_id` and `timestamp` (Unix seconds)."""
Listener = Callable[[Payload], object]
"""A function or coroutine function (or anything that can be called like one) that takes a payload."""


class EventBus:
    """Tells listeners what happens in calls. `emit` never waits and never raises.

    Used on one event loop. `emit` may also be called from another thread, and before the loop runs: a listener's
    events then wait for the first one that is emitted on a running loop.
    """

    def __init__(self, *, capacity: int = CAPACITY) -> None:
        """`capacity`: events that wait for one slow listener; beyond it the oldest are dropped and counted."""
        self._listeners: dict[str, tuple[_Ear, ...]] = {}
        self._desk = _Desk(capacity)
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def dropped(self) -> int:
        """Events that were dropped because a listener was too slow."""
        return self._desk.dropped

    @property
    def failed(self) -> int:
        """Times that a listener raised."""
        return self._desk.failed

    def on(self, event: PatterEventType | str, callback: Listener) -> Callable[[], None]:
        """Call `callback` with the payload of each `event` from now on; returns the function that ends it.

        Raises:
            ValueError: there is no such event.
            TypeError: `callback` cannot be called.
        """
        try:
            kind = PatterEventType(event)
        except ValueError as error:
            known = ", ".join(PatterEventType)
            raise ValueError(f"no event is called {event!r}; there are: {known}") from error
        if not callable(callback):
            raise TypeError(f"a listener must be callable, not {type(callback).__name__}")
        ear = _Ear(kind, callback, self._desk)
        self._listeners[kind] = (*self._listeners.get(kind, ()), ear)

        def unsubscribe() -> None:
            ear.stop()
            left = tuple(each for each in self._listeners.get(kind, ()) if each is not ear)
            if left:
                self._listeners[kind] = left
            else:
                self._listeners.pop(kind, None)

        return unsubscribe

    def wants(self, event: PatterEventType | str) -> bool:
        """Whether anybody listens: ask before building a costly payload."""
        return event in self._listeners

    def emit(self, event: PatterEventType | str, payload: Mapping[str, object]) -> None:
        """Tell everybody who listens to `event`. Each gets a copy of `payload` that is its own."""
        ears = self._listeners.get(event)
        if ears is None:
            return
        loop = _running_loop()
        if loop is None and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.emit, event, own_copy(dict(payload)))
            return
        self._loop = loop
        for ear in ears:
            ear.hear(own_copy(dict(payload)), loop)

    async def drain(self, timeout: float = 5.0) -> bool:  # noqa: ASYNC109 - a limit, not a wish
        """Wait until every listener has heard everything, `timeout` seconds at most; says whether they have."""
        try:
            async with asyncio.timeout(timeout):
                while busy := [
                    ear for ears in self._listeners.values() for ear in ears if ear.is_busy
                ]:
                    await busy[0].wait_idle()
        except TimeoutError:
            return False
        return True

    async def aclose(self, timeout: float = 5.0) -> None:  # noqa: ASYNC109 - a limit, not a wish
        """Drain, then cancel what still runs. Subscriptions stay: the bus may be used again."""
        await self.drain(timeout)
        await self._desk.close(timeout)


class _Desk:
    """What the listeners of one bus share."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.dropped = 0
        self.failed = 0
        self._nest = TaskNest("events")

    def spawn(self, work: Coroutine[object, object, None], name: str) -> None:
        self._nest.spawn(work, name)

    async def close(self, limit_s: float) -> None:
        nest, self._nest = self._nest, TaskNest("events")
        await nest.close(limit_s)


class _Ear:
    """One listener with its queue. At most one event is being heard at any time."""

    def __init__(self, kind: PatterEventType, callback: Listener, desk: _Desk) -> None:
        self._kind = kind
        self._name = name_of(callback)
        self._callback = callback
        self._desk = desk
        self._queue: deque[Payload] = deque()
        self._idle: asyncio.Event | None = None
        self.is_busy = False

    def hear(self, payload: Payload, loop: asyncio.AbstractEventLoop | None) -> None:
        if len(self._queue) >= self._desk.capacity:
            self._queue.popleft()
            self._note_dropped()
        self._queue.append(payload)
        if loop is not None and not self.is_busy:
            self.is_busy = True
            loop.call_soon(self._next)

    def stop(self) -> None:
        self._queue.clear()

    async def wait_idle(self) -> None:
        if self.is_busy:
            if self._idle is None:
                self._idle = asyncio.Event()
            await self._idle.wait()

    def _next(self) -> None:
        if not self._queue:
            self._become_idle()
            return
        payload = self._queue.popleft()
        try:
            result = self._callback(payload)
        except Exception as error:  # noqa: BLE001 - a plain listener has no task of its own
            self._note_failed(error)
        else:
            if inspect.isawaitable(result):
                self._desk.spawn(self._finish(result), self._name)
                return
        self._go_on()

    async def _finish(self, work: Awaitable[object]) -> None:
        try:
            await work
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                self.stop()
                self._become_idle()
                raise
            self._note_failed(error)
        except Exception as error:  # noqa: BLE001 - the top of a listener's task
            self._note_failed(error)
        self._go_on()

    def _go_on(self) -> None:
        # One event for each turn of the loop: a thousand of them must not hold it.
        if self._queue:
            asyncio.get_running_loop().call_soon(self._next)
        else:
            self._become_idle()

    def _become_idle(self) -> None:
        self.is_busy = False
        if self._idle is not None:
            self._idle.set()
            self._idle = None

    def _note_dropped(self) -> None:
        if not self._desk.dropped:
            logger.warning("event_bus.dropped event=%s listener=%s", self._kind, self._name)
        self._desk.dropped += 1

    def _note_failed(self, error: BaseException) -> None:
        self._desk.failed += 1
        logger.error(
            "event_bus.listener_failed event=%s listener=%s",
            self._kind,
            self._name,
            exc_info=without_text(error),
        )


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
