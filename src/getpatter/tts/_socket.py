r"""Voices that speak over a socket: one connection a call, one *context* a text, the same for every vendor.

```
synthesize("Hello.")  -> dialect.begin("1", ...) --\            /--> context "1": sound, sound, done
synthesize("Bye.")    -> dialect.begin("2", ...) ---> one socket ---> context "2": sound, error
```

A vendor is a `VoiceDialect`, which knows no socket and no time. Cancelling a synthesis tells the vendor and drops
what still comes of that context; the socket and the other contexts go on. A socket that is lost ends the contexts
on it with an error; the next text opens another.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import ClassVar, Final

from getpatter.errors import AuthenticationError, PatterConnectionError, PatterError, RateLimitError
from getpatter.net.refusals import unreachable
from getpatter.net.sockets import Message, SocketRequest, WebSocket
from getpatter.tts._pieces import Bare, Voice
from getpatter.types import AudioFormat

logger = logging.getLogger(__name__)

READY_LIMIT_S: Final = 5.0
FRAME_LIMIT_S: Final = 30.0
ROOM_LIMIT_S: Final = 2.0
MOST_WAITING_MS: Final = 300_000.0
"""Sound of one text that waits to be taken. A voice makes it faster than it plays; no text is that long."""
CLOSE_LIMIT_S: Final = 0.5
MOST_CONTEXTS: Final = 4


@dataclass(frozen=True, slots=True)
class Ready:
    """The vendor has said that it listens."""


@dataclass(frozen=True, slots=True)
class Sound:
    """Some audio of a context."""

    context: str
    audio: bytes


@dataclass(frozen=True, slots=True)
class Spoken:
    """That was all of a context."""

    context: str


@dataclass(frozen=True, slots=True)
class Failed:
    """A context cannot go on; without one, nothing on this socket can."""

    error: PatterError
    context: str = ""


VoiceNews = Ready | Sound | Spoken | Failed
"""What a message means."""


class VoiceDialect:
    """How one vendor's socket speaks, for one connection. Pure: no clock, no socket.

    `read` raises `WireError` for what breaks the protocol, nothing else.
    """

    waits_for_ready: ClassVar[bool] = False
    most_contexts: ClassVar[int] = MOST_CONTEXTS
    """Texts at the same time; 1 where the vendor cannot tell them apart."""
    survives_cancel: ClassVar[bool] = True
    """Whether the socket is of use after a text was cancelled; the next one opens another where it is not."""
    keep_alive_every: float = 10.0
    """Seconds between what `keep_alive` says."""
    authentication_codes: ClassVar[frozenset[int]] = frozenset()
    rate_codes: ClassVar[frozenset[int]] = frozenset()

    def request(self) -> SocketRequest:
        """Where to connect. Equal for dialects that may share a socket opened in advance."""
        raise NotImplementedError

    def opening(self) -> tuple[Message, ...]:
        """What to send first."""
        return ()

    def begin(self, context: str, text: str) -> tuple[Message, ...]:
        """Ask for `text`, and say that no more text follows."""
        raise NotImplementedError

    def cancel(self, context: str) -> tuple[Message, ...]:
        """Nobody wants the rest of `context`."""
        return ()

    def keep_alive(self) -> tuple[Message, ...]:
        """Said while nothing else is."""
        return ()

    def ending(self) -> tuple[Message, ...]:
        """Announce the end of the socket."""
        return ()

    def read(self, message: Message) -> Sequence[VoiceNews]:
        """What a message means."""
        raise NotImplementedError


class SocketTTS(Voice):
    """A voice that speaks over a socket. A vendor's class adds its options and its dialect."""

    _frame_limit_s: float = FRAME_LIMIT_S

    def _dialect(self) -> VoiceDialect:
        """A new one for each connection."""
        raise NotImplementedError

    def _renew(self) -> None:
        super()._renew()
        self._socket: _Speech | None = None
        self._opening = asyncio.Lock()
        self._numbers = itertools.count(1)

    async def warmup(self) -> None:
        """Begin to open a socket that the next text of this object or a clone will use."""
        self._connections.sockets.warm(self._dialect().request())

    async def synthesize(self, text: str) -> AsyncGenerator[bytes]:
        """Speak `text`; yields sound in `output_format` as it arrives.

        Closing or cancelling the iterator ends this text and disturbs no other.

        Raises:
            AuthenticationError: the vendor refuses the key.
            RateLimitError: it wants no more sockets or texts.
            PatterConnectionError: it cannot be reached, went away, refused the text or fell silent.
        """
        for piece in self._pieces(text):
            try:
                async with self._context(piece) as (speech, context):
                    while (sound := await speech.next(context, self._frame_limit_s)) is not None:
                        yield sound
            except PatterError as error:
                raise self._explained(error) from error.__cause__

    def _explained(self, error: PatterError) -> PatterError:
        """A vendor may have its own type for some of its errors."""
        return error

    @asynccontextmanager
    async def _context(self, text: str) -> AsyncGenerator[tuple[_Speech, _Context]]:
        speech = await self._speech()
        while (context := await speech.begin(str(next(self._numbers)), text)) is None:
            speech = await self._speech()
        try:
            yield speech, context
        finally:
            speech.leave(context)
            if speech.is_spent:
                self._connections.sockets.warm(self._dialect().request())

    async def _speech(self) -> _Speech:
        async with self._opening:
            if self._socket is None or not self._socket.is_open:
                self._socket = await self._opened()
            return self._socket

    async def _opened(self) -> _Speech:
        dialect = self._dialect()
        socket = await self._connections.sockets.take(dialect.request())
        speech = _Speech(socket, dialect, self.output_format)
        try:
            await speech.open()
        except BaseException:
            socket.abort()
            raise
        return speech

    async def close(self) -> None:
        """End the socket in the vendor's orderly way, within 2 s. Idempotent."""
        speech, self._socket = self._socket, None
        if speech is not None:
            await speech.close()
        await super().close()


@dataclass(slots=True, eq=False)
class _Context:
    name: str
    bare: Bare
    sounds: deque[bytes] = field(default_factory=deque)
    waiting: int = 0
    is_done: bool = False
    error: PatterError | None = None
    news: asyncio.Event = field(default_factory=asyncio.Event)


class _Speech:
    """One connection."""

    def __init__(self, socket: WebSocket, dialect: VoiceDialect, audio_format: AudioFormat) -> None:
        self._socket = socket
        self._dialect = dialect
        self._format = audio_format
        self._contexts: dict[str, _Context] = {}
        self._ready = asyncio.Event()
        self._gone = asyncio.Event()
        self._failure: PatterError | None = None
        self._pulse: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._asked: set[str] = set()
        """Contexts that the vendor works on, abandoned ones too: it counts them until it has said that they end."""
        self._room = asyncio.Event()
        self.is_spent = False
        """It was given up because a text was cancelled."""

    @property
    def is_open(self) -> bool:
        return self._failure is None and self._socket.is_open

    async def open(self) -> None:
        self._socket.listen(self._arrived, self._closed)
        self._send(self._dialect.opening())
        if self._dialect.waits_for_ready:
            try:
                async with asyncio.timeout(READY_LIMIT_S):
                    await self._ready.wait()
            except TimeoutError as error:
                vendor = self._dialect.request().vendor
                raise unreachable(vendor, "did not get ready", timed_out=True) from error
            if self._failure is not None:
                raise self._failure
        self._beat(is_first=True)

    async def begin(self, name: str, text: str) -> _Context | None:
        """Ask for `text`, once the vendor has room for it; `None` when the socket was lost meanwhile."""
        while self.is_open and len(self._asked) >= self._dialect.most_contexts:
            self._room.clear()
            try:
                async with asyncio.timeout(ROOM_LIMIT_S):
                    await self._room.wait()
            except TimeoutError:
                if not self._contexts:  # nobody wants any of them, and the vendor does not let go
                    self.abandon()
        if not self.is_open:
            return None
        context = _Context(name, Bare(self._format))
        self._contexts[name] = context
        self._asked.add(name)
        self._send(self._dialect.begin(name, text))
        return context

    def abandon(self) -> None:
        """Have the next text open another socket."""
        vendor = self._dialect.request().vendor
        self._fail(unreachable(vendor, "does not end what was cancelled", timed_out=True))

    async def next(self, context: _Context, limit_s: float) -> bytes | None:
        """The next sound of `context`; `None` when it is done."""
        while not context.sounds:
            if context.error is not None:
                raise context.error
            if context.is_done:
                return None
            if self._failure is not None:
                raise self._failure
            context.news.clear()
            try:
                async with asyncio.timeout(limit_s):
                    await context.news.wait()
            except TimeoutError as error:
                vendor = self._dialect.request().vendor
                what = f"said nothing for {limit_s:g} s"
                raise unreachable(vendor, what, timed_out=True) from error
        sound = context.sounds.popleft()
        context.waiting -= len(sound)
        return sound

    def leave(self, context: _Context) -> None:
        """Nobody takes any more of `context`."""
        self._contexts.pop(context.name, None)
        if context.is_done or context.error is not None or self._failure is not None:
            return
        self._send(self._dialect.cancel(context.name))
        if not self._dialect.survives_cancel:
            self.is_spent = True
            self._fail(unreachable(self._dialect.request().vendor, "was cancelled"))

    def _send(self, messages: tuple[Message, ...]) -> None:
        for message in messages:
            self._socket.send(message)

    def _beat(self, *, is_first: bool = False) -> None:
        if not self._socket.is_open:
            return
        if not is_first:
            self._send(self._dialect.keep_alive())
        self._pulse = self._loop.call_later(self._dialect.keep_alive_every, self._beat)

    # ------------------------------------------------------------------------------------- receiving

    def _arrived(self, message: Message) -> None:
        for news in self._dialect.read(message):
            self._take(news)

    def _take(self, news: VoiceNews) -> None:
        match news:
            case Ready():
                self._ready.set()
            case Sound(name, audio):
                context = self._contexts.get(name)
                if context is not None:
                    self._keep(context, context.bare.push(audio))
            case Spoken(name):
                self._finished(name)
                context = self._contexts.get(name)
                if context is not None:
                    self._keep(context, context.bare.flush())
                    context.is_done = True
                    context.news.set()
            case Failed(error, ""):
                self._fail(error)
            case Failed(error, name):
                self._finished(name)
                context = self._contexts.get(name)
                if context is not None:
                    context.error = error
                    context.news.set()

    def _finished(self, name: str) -> None:
        self._asked.discard(name)
        self._room.set()

    def _keep(self, context: _Context, sound: bytes) -> None:
        if not sound:
            return
        context.sounds.append(sound)
        context.waiting += len(sound)
        if self._format.ms(context.waiting) > MOST_WAITING_MS:
            context.sounds.clear()
            context.error = PatterConnectionError(
                "the voice sent more sound than the text can last",
                vendor=self._dialect.request().vendor,
                retryable=False,
            )
        context.news.set()

    # ---------------------------------------------------------------------------------------- ending

    def _closed(self, error: PatterError | None) -> None:
        self._gone.set()
        vendor = self._dialect.request().vendor
        code = self._socket.close_code
        self._fail(self._translated(error) or unreachable(vendor, f"closed the socket: {code}"))

    def _translated(self, error: PatterError | None) -> PatterError | None:
        code = self._socket.close_code
        if error is None or code == 0:
            return error
        if code in self._dialect.authentication_codes:
            return AuthenticationError(
                str(error), vendor=error.vendor, retryable=False, status=code
            )
        if code in self._dialect.rate_codes:
            return RateLimitError(str(error), vendor=error.vendor, status=code)
        return error

    def _fail(self, error: PatterError) -> None:
        if self._failure is None:
            self._failure = error
        self._socket.abort()
        if self._pulse is not None:
            self._pulse.cancel()
        self._ready.set()
        self._room.set()
        for context in self._contexts.values():
            context.news.set()

    async def close(self) -> None:
        if self._pulse is not None:
            self._pulse.cancel()
        if self._socket.is_open:
            self._send(self._dialect.ending())
            if self._dialect.ending():
                try:
                    async with asyncio.timeout(CLOSE_LIMIT_S):
                        await self._gone.wait()
                except TimeoutError:
                    logger.info("tts.end_not_confirmed")
        await self._socket.close(limit_s=1.0)
