"""Drives one simulated stream on an open socket: the only part of it that looks at a clock.

Alarms are set on the event loop for absolute instants, so nothing drifts, and a loop with virtual time works
as well as a real one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from getpatter.runtime.media import MediaListener
from getpatter.testing.line import Leg
from getpatter.testing.network import Link, Network
from getpatter.types import Instant

OnTick = Callable[[Instant], None]
"""Told after each frame of the caller, about 50 times a second, and when the stream is over."""


class Ride:
    """One leg on one socket, from the upgrade to the end."""

    def __init__(self, new_leg: Callable[[Instant], Leg], *, on_tick: OnTick | None = None) -> None:
        """`new_leg` is called with the instant at which the socket opened."""
        self._new_leg = new_leg
        self._on_tick = on_tick
        self._loop = asyncio.get_running_loop()
        self._leg: Leg | None = None
        self._link: Link | None = None
        self._early: list[str | bytes] = []
        self._alarm: asyncio.TimerHandle | None = None
        self.closed: asyncio.Future[int] = self._loop.create_future()
        """Close code of the server; 1000 when we ended the stream."""
        self.was_ended_by_us = False

    @property
    def leg(self) -> Leg:
        """The stream. Only once the socket is open."""
        assert self._leg is not None, "the socket is not open yet"
        return self._leg

    @property
    def is_open(self) -> bool:
        """Whether the stream is running."""
        return self._leg is not None and not self.closed.done()

    async def open(self, network: Network, url: str, headers: Mapping[str, str]) -> None:
        """Open the socket and begin. Raises `UpgradeRefusedError`."""
        link = await network.open(url, headers, self._arrived, self._closed)
        self.begin(link)

    def begin(self, link: Link) -> None:
        """Begin on a link that is open already."""
        self._link = link
        self._leg = self._new_leg(Instant(self._loop.time()))
        early, self._early = self._early, []
        for frame in early:
            self._leg.receive(frame, Instant(self._loop.time()))
        self._wake()

    def wake_soon(self) -> None:
        """Something was asked of the leg: look at once."""
        if self.is_open:
            self._set_alarm(self._loop.time())

    def end(self) -> None:
        """The call is over, or goes elsewhere: say so and close. Idempotent."""
        if not self.is_open:
            return
        assert self._leg is not None
        self.was_ended_by_us = True
        self._leg.stop(Instant(self._loop.time()))
        self._send_due()
        if self._link is not None:
            self._link.close(1000)
        self._finish(1000)

    def cut(self) -> None:
        """The network between carrier and server breaks: no `stop`, no close frame."""
        if self.is_open and self._link is not None:
            self.was_ended_by_us = True
            self._link.cut()
            self._finish(1006)

    def arrived(self, frame: str | bytes) -> None:
        """A frame of the server."""
        self._arrived(frame)

    def server_closed(self, code: int) -> None:
        """The server closed the socket."""
        self._closed(code)

    def _arrived(self, frame: str | bytes) -> None:
        if self._leg is None:
            self._early.append(frame)
        elif not self.closed.done():
            self._leg.receive(frame, Instant(self._loop.time()))
            self._wake()

    def _closed(self, code: int) -> None:
        self._finish(code)

    def _wake(self) -> None:
        if self.closed.done() or self._leg is None:
            return
        self._send_due()
        if self._on_tick is not None:
            self._on_tick(Instant(self._loop.time()))
        if not self.closed.done() and (deadline := self._leg.deadline) is not None:
            self._set_alarm(deadline)

    def _send_due(self) -> None:
        if self._leg is not None and self._link is not None:
            for frame in self._leg.tick(Instant(self._loop.time())):
                self._link.send(frame)

    def _set_alarm(self, at: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self._loop.call_at(at, self._wake)

    def _finish(self, code: int) -> None:
        if self.closed.done():
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self.closed.set_result(code)
        if self._on_tick is not None:
            self._on_tick(Instant(self._loop.time()))


class MemorySocket:
    """A `MediaSocket` for a call without any server: what the call sends goes straight to a ride.

    ```python
    ride = Ride(lambda now: TwilioLeg(now, ...))
    socket = MemorySocket(ride)
    socket.connect(listener)      # `listener` is the call; it was given `socket`
    ```
    """

    def __init__(self, ride: Ride) -> None:
        """`ride` must not have begun."""
        self._ride = ride
        self._listener: MediaListener | None = None
        self._loop = asyncio.get_running_loop()
        self._is_closed = False

    def connect(self, listener: MediaListener) -> None:
        """Begin: frames of the carrier go to `listener` from now on."""
        self._listener = listener
        self._ride.begin(self)

    def send(self, frame: str | bytes) -> None:
        """From the call (`bytes`, UTF-8) to the carrier, or from the carrier (`str`) to the call."""
        if self._is_closed:
            return
        if isinstance(frame, bytes):
            self._loop.call_soon(self._ride.arrived, frame.decode())
        elif self._listener is not None:
            self._listener.received(frame.encode())

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Either side goes. Idempotent."""
        del reason
        if self._is_closed:
            return
        self._is_closed = True
        self._loop.call_soon(self._over, code)

    def cut(self) -> None:
        """The carrier goes without a word."""
        self.close(1006)

    def _over(self, code: int) -> None:
        self._ride.server_closed(code)
        if self._listener is not None:
            self._listener.closed(code)

    @property
    def unsent_bytes(self) -> int:
        """Nothing ever waits."""
        return 0
