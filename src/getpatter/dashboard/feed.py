"""Server-sent events: what changes in the store, told to every page that watches.

https://html.spec.whatwg.org/multipage/server-sent-events.html. The newest events are kept in one ring, and a stream is
nothing but a place in it. So a browser that comes back with `Last-Event-ID` goes on where it was, one that
reads too slowly holds up nobody and costs no memory, and both learn by one `gap` that something is gone:

```
store ── told on any thread ──► ring of 1000 ◄── place ── stream ── event 17, event 18, gap, event 1040 ...
```
"""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Final

from getpatter.dashboard.export import as_json

KEPT: Final = 1000
STREAMS: Final = 50
COMMENT_EVERY: Final = 15.0
"""Seconds; proxies cut connections that are silent for longer."""
_AT_ONCE: Final = 100
_RETRY_MS: Final = 2000


class Feed:
    """The events of one store. `tell` may be called on any thread."""

    def __init__(self, *, kept: int = KEPT, streams: int = STREAMS) -> None:
        """Remember the newest `kept` events; serve at most so many streams."""
        # Ids of another run must not be taken for ours: they would hide what happened in between.
        self._run = secrets.token_hex(4)
        self._kept: deque[bytes] = deque(maxlen=kept)
        self._told = 0
        self._streams: set[Stream] = set()
        self._most_streams = streams
        self._is_closed = False
        self._lock = threading.Lock()

    def tell(self, name: str, data: Mapping[str, object]) -> None:
        """Something has changed."""
        with self._lock:
            self._told += 1
            # JSON has no line breaks outside of texts, and escapes those inside.
            head = f"id: {self._run}-{self._told}\nevent: {name}\ndata: ".encode()
            self._kept.append(head + as_json(data) + b"\n\n")
            for stream in self._streams:
                stream.wake()

    def open(self, last_event_id: str = "") -> Stream | None:
        """A stream of what comes from now on, or after that event; `None`: there are too many."""
        with self._lock:
            if self._is_closed or len(self._streams) >= self._most_streams:
                return None
            stream = Stream(self, self._place_after(last_event_id))
            self._streams.add(stream)
            return stream

    def _place_after(self, last_event_id: str) -> int:
        """How many events the reader has seen; -1: nobody knows."""
        if not last_event_id:
            return self._told
        run, _, number = last_event_id.partition("-")
        if run != self._run or not number.isascii() or not number.isdigit():
            return -1
        return min(int(number[:18]), self._told)

    def take(self, stream: Stream) -> bytes:
        """What a stream has not sent yet, a bounded piece of it; empty: nothing."""
        with self._lock:
            first = self._told - len(self._kept)
            found: list[bytes] = []
            if stream.place < first or stream.place < 0:
                stream.place = first
                found.append(f"id: {self._run}-{first}\nevent: gap\ndata: {{}}\n\n".encode())
            begin = stream.place - first
            found += [self._kept[i] for i in range(begin, min(begin + _AT_ONCE, len(self._kept)))]
            stream.place = min(stream.place + _AT_ONCE, self._told)
            return b"".join(found)

    def leave(self, stream: Stream) -> None:
        """The stream has ended."""
        with self._lock:
            self._streams.discard(stream)

    @property
    def streams(self) -> int:
        """How many are open."""
        with self._lock:
            return len(self._streams)

    @property
    def is_closed(self) -> bool:
        """Whether all streams are to end."""
        return self._is_closed

    def close(self) -> None:
        """End all streams, and open none any more."""
        with self._lock:
            self._is_closed = True
            for stream in self._streams:
                stream.wake()


@dataclass(eq=False, slots=True)
class Stream:
    """One reader's place in the feed. Belongs to the loop that it was opened on."""

    feed: Feed
    place: int
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)

    def wake(self) -> None:
        """There may be something to send. From any thread."""
        try:
            self._loop.call_soon_threadsafe(self._news.set)
        except RuntimeError:  # its loop has ended, and the stream with it
            return

    async def frames(self) -> AsyncGenerator[bytes, None]:
        """What to send, until the feed is closed or nobody listens any more."""
        try:
            yield f"retry: {_RETRY_MS}\n\n".encode()
            comment_at = self._loop.time() + COMMENT_EVERY
            while not self.feed.is_closed:
                self._news.clear()
                piece = self.feed.take(self)
                if piece:
                    yield piece
                elif self._loop.time() < comment_at:
                    await self._wait(comment_at)
                if self._loop.time() >= comment_at:
                    comment_at = self._loop.time() + COMMENT_EVERY
                    yield b": still here\n\n"
        finally:
            self.feed.leave(self)

    async def _wait(self, until: float) -> None:
        try:
            async with asyncio.timeout_at(until):
                await self._news.wait()
        except TimeoutError:
            return
