"""One stream of audio to a recogniser's socket and its words back, the same for every vendor.

A vendor is a `Dialect`: what to open, how audio is written, what a message means. It knows no socket and no
time. The stream here does the rest: connects, keeps the line alive, cuts audio to the sizes that the vendor takes,
ends in the vendor's orderly way, and says why when it could not go on.

```
feed(audio) -> rest of a sample, smallest and largest message -> dialect.audio() -> socket
receive_transcripts() <- results <- dialect.read() <- socket
```

A stream that ends without having been asked to is an error, whatever its close code, so that whoever listens
opens another. Times of the next one go on where the last one ended.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Self

from getpatter.errors import AuthenticationError, PatterConnectionError, PatterError, RateLimitError
from getpatter.models import Transcript
from getpatter.net.service import Service
from getpatter.net.sockets import Message, SocketRequest, WebSocket
from getpatter.types import AudioFormat

logger = logging.getLogger(__name__)

CLOSE_LIMIT_S: Final = 1.5
"""Seconds for the last words after the end was announced; with the socket's own goodbye below 2 s."""
READY_LIMIT_S: Final = 5.0
_MOST_RESULTS: Final = 256


@dataclass(frozen=True, slots=True)
class Ready:
    """The vendor has said that it listens."""


@dataclass(frozen=True, slots=True)
class Billed:
    """The vendor has said how many seconds it charges for."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Ended:
    """Everything has been said; only the socket is still open."""


Heard = Transcript | Ready | Billed | Ended | PatterError
"""What a message means. An error ends the stream."""


class Dialect:
    """How one vendor's socket speaks, for one connection. Pure: no clock, no socket.

    A vendor's file overrides what differs. `read` raises `WireError` for what breaks the protocol, nothing else.
    """

    waits_for_ready: ClassVar[bool] = False
    """Audio may go only after `Ready`."""
    least_ms: ClassVar[float] = 0.0
    """Shortest audio of one message; less is collected."""
    most_ms: ClassVar[float] = 1000.0
    """Longest audio of one message; more is cut."""
    keep_alive: Message = ""
    """Sent when no audio was, every `keep_alive_every` seconds. Bytes count as audio."""
    keep_alive_every: float = 4.0
    authentication_codes: ClassVar[frozenset[int]] = frozenset()
    """Close codes that mean refused credentials."""
    rate_codes: ClassVar[frozenset[int]] = frozenset()
    """Close codes that mean too much, or too many at once."""
    final_codes: ClassVar[frozenset[int]] = frozenset()
    """Close codes after which trying again cannot help."""

    def request(self) -> SocketRequest:
        """Where to connect. Equal for dialects that may share a socket opened in advance."""
        raise NotImplementedError

    def opening(self) -> tuple[Message, ...]:
        """What to send first."""
        return ()

    def audio(self, data: bytes) -> Message:
        """A message of audio; `data` is never empty."""
        return data

    def finalize(self) -> tuple[Message, ...]:
        """Ask for the final words now."""
        return ()

    def ending(self) -> tuple[Message, ...]:
        """Announce that no audio follows."""
        return ()

    def read(self, message: Message) -> Sequence[Heard]:
        """What a message means."""
        raise NotImplementedError


class SocketSTT(Service):
    """A recogniser that listens over a socket. A vendor's class adds its options and its dialect."""

    input_format: AudioFormat
    """What `send_audio` is given."""
    model: str
    language: str

    def _dialect(self) -> Dialect:
        """A new one for each connection."""
        raise NotImplementedError

    def adopt(self, audio_format: AudioFormat) -> bool:
        """Take `audio_format` from now on, if the vendor takes it and the program named no other."""
        return audio_format == self.input_format

    def _renew(self) -> None:
        self._stream: _Stream | None = None
        self._opening = asyncio.Lock()
        self._is_closed = False
        self._earlier_ms = 0.0
        self._earlier_billed = 0.0

    @property
    def input_formats(self) -> tuple[AudioFormat, ...]:
        """What `send_audio` takes: `input_format` only. `with_input` gives a recogniser for another."""
        return (self.input_format,)

    def with_input(self, formats: Sequence[AudioFormat]) -> Self | None:
        """A clone for the first of `formats` that the vendor takes, or `None`.

        Where the program named a format, that one stays.
        """
        for audio_format in formats:
            twin = self.clone()
            if twin.adopt(audio_format):
                return twin
        return None

    @property
    def billed_seconds(self) -> float:
        """Seconds of audio that were sent, or what the vendor says it charges for."""
        now = self._stream.billed_seconds if self._stream is not None else 0.0
        return self._earlier_billed + now

    async def warmup(self) -> None:
        """Begin to open a socket that the next `connect` of this object or a clone will use."""
        self._connections.sockets.warm(self._dialect().request())

    async def connect(self) -> None:
        """Open the stream; the one that is open already is kept.

        Raises:
            AuthenticationError: the vendor refuses the key.
            RateLimitError: it wants no more streams.
            PatterConnectionError: it could not be reached, or did not get ready.
        """
        async with self._opening:
            if self._stream is not None and not self._stream.is_over:
                return
            self._leave()
            dialect = self._dialect()
            socket = await self._connections.sockets.take(dialect.request())
            stream = _Stream(socket, dialect, self.input_format, self._earlier_ms)
            try:
                await stream.begin()
            except BaseException:
                stream.abort()
                raise
            self._stream = stream
            self._is_closed = False

    def feed(self, data: bytes) -> None:
        """Send the caller's next audio, in `input_format`. Never waits. Without a stream it is dropped."""
        if self._stream is not None:
            self._stream.feed(data)

    async def send_audio(self, pcm: bytes) -> None:
        """As `feed`, but waits while the vendor reads too slowly."""
        if self._stream is not None:
            self._stream.feed(pcm)
            await self._stream.drain()

    def finalize(self) -> None:
        """The voice has stopped: ask for the final words now, where the vendor can be asked."""
        if self._stream is not None:
            self._stream.finalize()

    async def receive_transcripts(self) -> AsyncIterator[Transcript]:
        """Results until `close()`; to be read by one reader.

        Raises:
            PatterConnectionError: the stream was lost or ended by the vendor. `connect()` opens another.
        """
        if not self._is_closed:
            await self.connect()
        stream = self._stream
        if stream is None:
            return
        while (result := await stream.next()) is not None:
            yield result

    async def close(self) -> None:
        """End the stream in the vendor's orderly way, within 2 s. Idempotent."""
        self._is_closed = True
        if self._stream is not None:
            await self._stream.close()
        await self._release()

    def _leave(self) -> None:
        """Remember what the lost stream had heard and cost."""
        if self._stream is not None:
            self._earlier_ms += self._stream.sent_ms
            self._earlier_billed += self._stream.billed_seconds
            self._stream = None


class _Stream:
    """One connection."""

    def __init__(
        self, socket: WebSocket, dialect: Dialect, audio_format: AudioFormat, began_ms: float
    ) -> None:
        self._socket = socket
        self._dialect = dialect
        self._format = audio_format
        self._began_ms = began_ms
        self._least = max(audio_format.bytes_per_sample, audio_format.size(dialect.least_ms))
        self._most = audio_format.size(dialect.most_ms)
        self._rest = b""
        self._sent = 0
        self._was_sent = True
        self._billed: float | None = None
        self._results: deque[Transcript] = deque()
        self._news = asyncio.Event()
        self._ready = asyncio.Event()
        self._gone = asyncio.Event()
        self._is_ending = False
        self._has_ended = False
        self._failure: PatterError | None = None
        self._pulse: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    @property
    def is_over(self) -> bool:
        """Nothing more can be sent."""
        return self._gone.is_set() or self._is_ending or self._failure is not None

    @property
    def sent_ms(self) -> float:
        return self._format.ms(self._sent)

    @property
    def billed_seconds(self) -> float:
        return self.sent_ms / 1000 if self._billed is None else self._billed

    async def begin(self) -> None:
        self._socket.listen(self._arrived, self._closed)
        for message in self._dialect.opening():
            self._socket.send(message)
        if self._dialect.waits_for_ready:
            await self._until_ready()
        if self._dialect.keep_alive:
            self._beat()

    async def _until_ready(self) -> None:
        try:
            async with asyncio.timeout(READY_LIMIT_S):
                await self._ready.wait()
        except TimeoutError as error:
            raise PatterConnectionError(
                f"the recogniser was not ready within {READY_LIMIT_S:g} s"
            ) from error
        if self._failure is not None:
            raise self._failure

    # --------------------------------------------------------------------------------------- sending

    def feed(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
            self._rest = b""
        left = len(data) % self._format.bytes_per_sample if len(data) >= self._least else len(data)
        if left:
            self._rest = data[-left:]
            data = data[:-left]
        if data:
            self._send_audio(data)

    def _send_audio(self, data: bytes) -> None:
        self._was_sent = True
        parts = (data,) if len(data) <= self._most else _parts(data, self._least, self._most)
        for part in parts:
            if self._socket.send(self._dialect.audio(part)):
                self._sent += len(part)

    def _send_rest(self) -> None:
        """What was too short for a message of its own, lengthened by silence."""
        size = self._format.bytes_per_sample
        rest = self._rest[: len(self._rest) // size * size]
        self._rest = b""
        if rest:
            missing = (self._least - len(rest)) // size
            self._send_audio(rest + self._format.silence * missing)

    def finalize(self) -> None:
        if not self.is_over:
            self._send_rest()
            self._send_all(self._dialect.finalize)

    def _send_all(self, make: Callable[[], tuple[Message, ...]]) -> None:
        for message in make():
            self._socket.send(message)

    async def drain(self) -> None:
        await self._socket.drain()

    def _beat(self) -> None:
        if not self._socket.is_open:
            return
        if not self._was_sent:
            said = self._dialect.keep_alive
            self._socket.send(said)
            self._sent += len(said) if isinstance(said, bytes) else 0
        self._was_sent = False
        self._pulse = self._loop.call_later(self._dialect.keep_alive_every, self._beat)

    # ------------------------------------------------------------------------------------- receiving

    def _arrived(self, message: Message) -> None:
        for heard in self._dialect.read(message):
            self._take(heard)

    def _take(self, heard: Heard) -> None:
        match heard:
            case Transcript():
                self._keep(heard)
            case Ready():
                self._ready.set()
            case Billed(seconds):
                self._billed = seconds
            case Ended():
                self._has_ended = True
                self._end(self._unasked() if not self._is_ending else None)
            case PatterError():
                self._end(heard)

    def _keep(self, said: Transcript) -> None:
        if self._began_ms and said.start_ms is not None and said.end_ms is not None:
            said = dataclasses.replace(
                said,
                start_ms=said.start_ms + self._began_ms,
                end_ms=said.end_ms + self._began_ms,
            )
        if len(self._results) >= _MOST_RESULTS:
            # Nobody reads. Guesses are worth nothing once there are later ones.
            kept = [each for each in self._results if each.is_final][-_MOST_RESULTS // 2 :]
            self._results = deque(kept)
            logger.warning("stt.results_dropped")
        self._results.append(said)
        self._news.set()

    async def next(self) -> Transcript | None:
        """The next result; `None` after an end that was asked for."""
        while not self._results:
            if self._failure is not None:
                raise self._failure
            if self._gone.is_set() or self._has_ended:
                return None
            self._news.clear()
            await self._news.wait()
        return self._results.popleft()

    # ---------------------------------------------------------------------------------------- ending

    def _closed(self, error: PatterError | None) -> None:
        self._gone.set()
        if not self._has_ended and not self._is_ending:
            self._end(self._translated(error) or self._unasked())
        self._end(None)

    def _end(self, failure: PatterError | None) -> None:
        if self._failure is None and not self._is_ending:
            self._failure = failure
        if failure is not None:
            self._socket.abort()
        if self._pulse is not None:
            self._pulse.cancel()
        self._ready.set()
        self._news.set()

    def _translated(self, error: PatterError | None) -> PatterError | None:
        """What the vendor means by its close code."""
        code = self._socket.close_code
        dialect = self._dialect
        if error is None or code == 0:
            return error
        text, vendor = str(error), error.vendor
        if code in dialect.authentication_codes:
            return AuthenticationError(text, vendor=vendor, retryable=False, status=code)
        if code in dialect.rate_codes:
            return RateLimitError(text, vendor=vendor, status=code)
        if code in dialect.final_codes:
            return PatterConnectionError(text, vendor=vendor, retryable=False, status=code)
        return error

    def _unasked(self) -> PatterError:
        return PatterConnectionError(
            "the recogniser ended the stream without being asked",
            vendor=self._dialect.request().vendor,
            status=self._socket.close_code or None,
        )

    async def close(self) -> None:
        if self._gone.is_set():
            return
        if not self._is_ending and self._failure is None:
            self._send_rest()
            self._send_all(self._dialect.ending)
            self._is_ending = True
            if self._pulse is not None:
                self._pulse.cancel()
            await self._last_words()
        await self._socket.close(limit_s=0.4)
        self._gone.set()
        self._news.set()

    async def _last_words(self) -> None:
        try:
            async with asyncio.timeout(CLOSE_LIMIT_S):
                while not (self._has_ended or self._gone.is_set()):
                    self._ready.clear()
                    await self._ready.wait()
        except TimeoutError:
            logger.info("stt.end_not_confirmed")

    def abort(self) -> None:
        self._is_ending = True
        self._end(None)
        self._socket.abort()


def _parts(data: bytes, least: int, most: int) -> Sequence[bytes]:
    """`data` in messages of at most `most` bytes, none of them shorter than `least`."""
    parts = [data[start : start + most] for start in range(0, len(data), most)]
    if len(parts[-1]) < least:
        short = parts.pop()
        whole = parts.pop() + short
        middle = len(whole) // 4 * 2
        parts += [whole[:middle], whole[middle:]]
    return parts
