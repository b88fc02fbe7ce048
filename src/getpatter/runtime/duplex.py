"""The engine's side of one call: a connection that hears and speaks, its losses, tools and guardrails.

Reading never waits for anything: frames are translated and told to the session as they come, tools and checks run
beside (CV-59). Before the engine's session is complete nothing is sent but its settings; the caller's audio is kept
meanwhile, `KEPT_SECONDS` of it, and follows.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Protocol

from getpatter.audio.convert import Converter, converter
from getpatter.core import messages as m
from getpatter.engines.base import (
    Amends,
    Answer,
    Binary,
    Briefing,
    Complaint,
    Dialect,
    Expires,
    ExplainsClosing,
    Frame,
    HasHeir,
    Said,
    SpeechEngine,
    Usage,
)
from getpatter.errors import PatterConnectionError, PatterError
from getpatter.net.messages import Exchange
from getpatter.net.sockets import SocketRequest, WebSocket
from getpatter.net.standby import may_help
from getpatter.runtime import clock
from getpatter.runtime.losses import shown
from getpatter.runtime.screening import Screening
from getpatter.types import AudioFormat, Instant

if TYPE_CHECKING:
    from getpatter.runtime.house import RunsExchanges

logger = logging.getLogger(__name__)

KEPT_SECONDS: Final = 5.0
RECONNECTS: Final = 3
RECONNECT_WITHIN: Final = 5.0
READY_WITHIN: Final = 5.0
CLOSE_WITHIN: Final = 2.0
SAID_WITHIN: Final = 3.0
"""Seconds that a session whose agent changes has to complete what it is saying."""
STILL_FOR: Final = 0.4
"""Seconds without sound after which a response that waits for a tool has said what it had to say."""
RENEWAL_GRACE: Final = 60.0
"""Seconds that a session about to expire waits for a pause in the talk."""
RENEWAL_MARGIN: Final = 1.0
"""Seconds before its end at which a session is left, pause or not."""
PAUSE_CHECKED_EVERY: Final = 0.2


class Toolbox(Protocol):
    """The tools of one call, and who runs them (`runtime/tools.py`)."""

    @property
    def schemas(self) -> Sequence[Mapping[str, object]]:
        """What the model is offered, in the function form that all providers take."""
        ...

    async def run(self, name: str, arguments: str, call_id: str = "") -> str:
        """The answer for the model: text or JSON. Never raises; failures are `{"error": …}` (CV-49)."""
        ...


class Conversation(Protocol):
    """The session, as far as a new connection needs it."""

    def so_far(self) -> list[tuple[str, str]]:
        """`(role, text)` of everything said."""
        ...

    @property
    def is_quiet(self) -> bool:
        """Nobody speaks and nothing is owed."""
        ...


class Duplex:
    """The engine of one call. `run` may begin before there is any media; `attach` when there is."""

    def __init__(  # noqa: PLR0913 - an engine's whole surroundings
        self,
        engine: SpeechEngine,
        briefing: Briefing,
        *,
        http: RunsExchanges,
        report: Callable[[m.AnyInput], None],
        lost: Callable[[Exception], None],
        spawn: Callable[..., asyncio.Task[None]],
        used: Callable[[Usage], None] = lambda _: None,
    ) -> None:
        """Speak through `engine`.

        Args:
            engine: The program's configuration.
            briefing: As far as it is known; `attach` gives the final one.
            http: Asks the service where to connect, where it must be asked.
            report: Tells the session, at once.
            lost: Told once when the engine could not be brought back.
            spawn: Starts a task that ends with the call.
            used: Told what will be billed.
        """
        self._engine = engine
        self._briefing = briefing
        self._report = report
        self._lost = lost
        self._spawn = spawn
        self._used = used
        self._open_socket: Callable[[SocketRequest], Awaitable[WebSocket]] = getattr(
            engine, "open_socket", WebSocket.connect
        )
        self._run_exchange: Callable[[Exchange[SocketRequest]], Awaitable[SocketRequest]] = getattr(
            engine, "run_exchange", http.run
        )
        self._greets_itself = engine.manners(briefing).greets_itself
        self._dialect: Dialect = engine.dialect(briefing)
        self._socket: WebSocket | None = None
        self._stream = briefing.stream
        self._session: Conversation | None = None
        self._tools: Toolbox | None = None
        self._screening: Screening | None = None
        self._to_engine: Converter = converter(self._stream, self._dialect.caller_format)
        self._to_carrier: dict[str, Converter] = {}
        self._kept: deque[bytes] = deque()
        self._kept_bytes = 0
        self._is_ready = False
        self._was_ready = False
        self._is_attached = False
        self._is_closed = False
        self._is_gone = False
        self._error: Exception | None = None
        self._ends_at: Instant | None = None
        self._patience: asyncio.Timeout | None = None
        """Runs out when a pause to renew the session in is looked for."""
        self._attached = asyncio.Event()
        self._over = asyncio.Event()
        self._settled = asyncio.Event()
        """The connection that is being made has succeeded, or failed."""
        self._is_leaving = False
        """The session is to be renewed at once: what it was told has changed."""
        self._renewed = asyncio.Event()
        self._making: str | None = None
        """The response that is being made."""
        self._sounded_at = Instant(0.0)

    # ------------------------------------------------------------------------------------ the call

    def attach(
        self,
        briefing: Briefing,
        session: Conversation,
        *,
        tools: Toolbox | None = None,
        screening: Screening | None = None,
    ) -> None:
        """The media is there, and everything about the call is known."""
        self._session, self._tools, self._screening = session, tools, screening
        self._stream = briefing.stream
        self._is_attached = True
        self._attached.set()
        was, self._briefing = self._briefing, briefing
        frames = None if self._socket is None else self._dialect.brief(briefing)
        if self._socket is None or frames is None:
            self._dialect = self._engine.dialect(briefing)
            if was != briefing and self._socket is not None:
                self._hang_up_for_another()
        elif frames:
            self._is_ready = False
            self._send(frames)
        elif self._is_ready:
            self._now_ready()
        if self._is_gone:
            self._report(m.EngineGone())

    def prepare(self, briefing: Briefing) -> None:
        """More is known of the call, and nothing is connected yet."""
        self._briefing = briefing
        self._dialect = self._engine.dialect(briefing)

    async def rebrief(
        self,
        briefing: Briefing,
        engine: SpeechEngine | None = None,
        screening: Screening | None = None,
    ) -> None:
        """Have the agent be another in the middle of the call. Returns when the service knows, 8 s at most.

        A service whose session cannot be changed gets a new one, with what was said before.
        """
        if not self._is_attached:
            self.prepare(briefing)
            return
        if engine is not None:
            self._engine, self._screening = engine, screening
        if not self._was_ready:
            self._briefing = briefing
            self._dialect = self._engine.dialect(briefing)
            if self._socket is not None:
                self._hang_up_for_another()
            return
        self._briefing = replace(briefing, first_message="", is_resumed=True)
        if not self._is_ready:
            # It is being connected again: with a translator that knows this.
            self._dialect = self._next_dialect()
            if self._socket is not None:
                self._hang_up_for_another()
            return
        frames = self._dialect.amend(briefing) if isinstance(self._dialect, Amends) else None
        if frames is not None:
            self._send(frames)
            return
        await self._renew()

    async def _renew(self) -> None:
        until = clock.now() + SAID_WITHIN
        while self._is_sounding and clock.now() < until:  # noqa: ASYNC110 - silence is no event
            await asyncio.sleep(PAUSE_CHECKED_EVERY)
        self._renewed.clear()
        self._is_leaving = True
        self._over.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RECONNECT_WITHIN):
                await self._renewed.wait()

    @property
    def _is_sounding(self) -> bool:
        """Whether sound of a response that is being made has come of late."""
        return self._making is not None and clock.now() - self._sounded_at < STILL_FOR

    def _hang_up_for_another(self) -> None:
        self._is_ready = False
        self._over.set()
        self._settled.set()

    def hear(self, data: bytes) -> None:
        """The caller's sound in the carrier's format. Never waits."""
        if self._is_ready and self._is_attached and self._socket is not None and not self._kept:
            audio = self._to_engine.convert(data)
            if audio:
                self._send((self._dialect.audio(audio),))
            return
        self._kept.append(data)
        self._kept_bytes += len(data)
        limit = self._stream.size(KEPT_SECONDS * 1000)
        while self._kept_bytes > limit:
            self._kept_bytes -= len(self._kept.popleft())

    def order(self, command: m.AnyCommand) -> None:
        """Carry out what the session wants of the engine."""
        match command:
            case m.RunTool():
                self._spawn(self._run_tool(command), name=f"tool {command.name}")
            case m.Screen():
                if self._screening is not None:
                    self._screening.screen(command)
            case _:
                self._send(self._dialect.carry_out(command))

    def tune(self, stream: AudioFormat) -> None:
        """The caller came back on a stream of another format; the engine's own stay as they are."""
        self._stream = stream
        self._to_carrier.clear()
        self._kept.clear()
        self._kept_bytes = 0
        self._to_engine = converter(stream, self._dialect.caller_format)

    def room_made(self) -> None:
        """Nothing waits here for room: the session keeps what is not due."""

    def cancel(self) -> None:
        """The call is over."""
        self._is_closed = True
        self._is_ready = False
        self._over.set()
        self._settled.set()

    @property
    def is_closed(self) -> bool:
        """Whether the call is done with its engine."""
        return self._is_closed

    async def close(self) -> None:
        """End the connection. Idempotent."""
        self.cancel()
        socket, self._socket = self._socket, None
        if socket is not None:
            await socket.close(limit_s=CLOSE_WITHIN)

    async def _run_tool(self, command: m.RunTool) -> None:
        output = '{"error": "unknown tool"}'
        if self._tools is not None:
            output = await self._tools.run(command.name, command.arguments, command.call)
        self._report(m.ToolDone(command.call, output))

    # ------------------------------------------------------------------------------- the connection

    async def run(self) -> None:
        """Be connected until cancelled. A lost connection is opened again, with what was said before (CV-66)."""
        attempts = 0
        lost_at = clock.now()
        while True:
            try:
                await self._connect(lost_at if attempts else None)
            except PatterError as error:
                failure: Exception = error
            else:
                attempts, failure = 0, await self._until_over()
                lost_at = clock.now()
                if self.is_closed:
                    return
                self._report(m.EngineLost())
            attempts += 1
            if not self._may_try_again(failure, attempts, lost_at):
                self._give_up(failure)
                return
            logger.warning(
                "engine.connection_lost attempt=%d error=%s", attempts, type(failure).__name__
            )
            await asyncio.sleep(0.1 * 3 ** (attempts - 1) if attempts > 1 else 0)
            if self._was_ready:
                self._briefing = replace(self._briefing, first_message="", is_resumed=True)
            self._dialect = self._next_dialect()

    def _next_dialect(self) -> Dialect:
        last = self._dialect
        if self._was_ready and isinstance(last, HasHeir):
            lines = self._session.so_far() if self._session is not None else []
            return last.heir(self._briefing, lines)
        return self._engine.dialect(self._briefing)

    def _may_try_again(self, failure: Exception, attempts: int, lost_at: Instant) -> bool:
        return (
            may_help(failure)
            and attempts <= RECONNECTS
            and clock.now() - lost_at < RECONNECT_WITHIN
        )

    def _give_up(self, failure: Exception) -> None:
        self._is_gone = True
        logger.error("engine.gone error=%s", shown(failure))
        self._report(m.EngineGone())
        self._lost(failure)

    async def _connect(self, lost_at: Instant | None) -> None:
        limit = READY_WITHIN
        if lost_at is not None:
            limit = max(0.1, RECONNECT_WITHIN - (clock.now() - lost_at))
        self._over.clear()
        self._settled.clear()
        self._making = None
        self._error = None
        vendor = self._engine.provider_key
        try:
            async with asyncio.timeout(limit):
                self._socket = socket = await self._socket_for_briefing()
                socket.listen(self._received, self._closed)
                self._send(self._dialect.opened())
                await self._until_ready()
        except TimeoutError as error:
            self._abort()
            raise PatterConnectionError(
                f"{vendor} was not ready within {limit:g} s", vendor=vendor
            ) from error

    async def _socket_for_briefing(self) -> WebSocket:
        """A socket, for the briefing as it is once the socket is open."""
        while True:
            dialect = self._dialect
            request = await self._run_exchange(dialect.address())
            if self._greets_itself:
                # It speaks as soon as it is connected.
                await self._attached.wait()
                dialect = self._dialect
            socket = await self._open_socket(request)
            if self._dialect is dialect:
                return socket
            fresh = await self._run_exchange(self._dialect.address())
            if fresh.key == request.key:
                return socket
            socket.abort()

    async def _until_ready(self) -> None:
        await self._settled.wait()
        if not self._is_ready:
            vendor = self._engine.provider_key
            self._abort()
            raise self._error or PatterConnectionError(f"{vendor} hung up", vendor=vendor)

    def _abort(self) -> None:
        socket, self._socket = self._socket, None
        self._is_ready = False
        if socket is not None:
            socket.abort()

    async def _until_over(self) -> Exception:
        began_at = clock.now()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None) as self._patience:
                if self._dialect.lifetime is not None:
                    self._expires(self._dialect.lifetime)
                elif self._ends_at is not None:
                    self._look_for_pause()  # said before we listened
                await self._over.wait()
        self._patience = None
        await self._until_pause()
        if self._is_leaving or not self._over.is_set():
            self._is_leaving = False
            logger.info("engine.session_renewed after_s=%.0f", clock.now() - began_at)
            self._leave()
        self._ends_at = None
        self._is_ready = False
        if not self._is_closed:
            self._abort()
        return self._error or PatterConnectionError("the engine hung up")

    def _expires(self, within_s: float) -> None:
        ends_at = Instant(clock.now() + within_s - RENEWAL_MARGIN)
        self._ends_at = ends_at if self._ends_at is None else min(ends_at, self._ends_at)
        self._look_for_pause()

    def _look_for_pause(self) -> None:
        """Have it looked for, beginning `RENEWAL_GRACE` before the session ends."""
        if self._patience is not None and self._ends_at is not None:
            wait = max(0.0, self._ends_at - RENEWAL_GRACE - clock.now())
            self._patience.reschedule(asyncio.get_running_loop().time() + wait)

    async def _until_pause(self) -> None:
        """Until nobody speaks, or the session is about to end all the same."""
        while not self._over.is_set() and self._ends_at is not None:
            is_quiet = self._session is None or self._session.is_quiet
            if is_quiet or clock.now() >= self._ends_at:
                return
            await asyncio.sleep(PAUSE_CHECKED_EVERY)

    def _leave(self) -> None:
        """Take leave of a service that has not hung up, so that it stops its own clock."""
        socket, self._socket = self._socket, None
        self._is_ready = False
        if socket is not None:
            self._spawn(socket.close(limit_s=CLOSE_WITHIN), name="engine farewell")

    def _closed(self, error: PatterError | None) -> None:
        if error is not None and isinstance(self._dialect, ExplainsClosing):
            error = self._dialect.explained(error)
        self._error = self._error or error
        self._is_ready = False
        self._over.set()
        self._settled.set()

    # -------------------------------------------------------------------------------------- frames

    def _send(self, frames: Sequence[Frame]) -> None:
        socket = self._socket
        if socket is None:
            return
        for frame in frames:
            if isinstance(frame, Binary):
                socket.send(frame)
            elif isinstance(frame, bytes):
                socket.send_text(frame)
            else:
                socket.send(frame)

    def _received(self, frame: Frame) -> None:
        for said in self._dialect.receive(frame):
            self._take(said)

    def _take(self, said: Said) -> None:  # noqa: C901 - one case for each event
        match said:
            case m.EngineReady():
                self._is_ready = True
                self._settled.set()
                if self._is_attached:
                    self._now_ready()
            case m.EngineAudio():
                self._sounded_at = clock.now()
                audio = self._carriers(said)
                if audio:
                    self._report(m.EngineAudio(said.response, said.item, audio))
            case m.EngineItemDone():
                rest = self._to_carrier.pop(said.item, None)
                tail = rest.flush() if rest is not None else b""
                if tail:
                    self._report(m.EngineAudio(said.response, said.item, tail))
                self._report(said)
            case m.EngineReplyBegan() | m.EngineReplyEnded():
                self._follow(said)
                self._report(said)
            case Answer(frame=frame):
                self._send((frame,))
            case Usage():
                self._used(said)
            case Expires(within_s=within):
                self._expires(within)
            case Complaint():
                self._complained(said)
            case _:
                self._report(said)

    def _follow(self, said: m.EngineReplyBegan | m.EngineReplyEnded) -> None:
        if isinstance(said, m.EngineReplyBegan):
            self._making = said.response
        elif said.response == self._making:
            self._making = None

    def _carriers(self, said: m.EngineAudio) -> bytes:
        change = self._to_carrier.get(said.item)
        if change is None:
            self._to_carrier.clear()
            change = self._to_carrier[said.item] = converter(
                self._dialect.agent_format, self._stream
            )
        return change.convert(said.audio)

    def _complained(self, complaint: Complaint) -> None:
        logger.warning("engine.complained code=%s", complaint.code[:60])
        if complaint.ends:
            self._error = PatterConnectionError(
                f"{self._engine.provider_key} ended the session: {complaint.code}",
                vendor=self._engine.provider_key,
            )
            self._over.set()
            self._settled.set()

    def _now_ready(self) -> None:
        self._to_engine = converter(self._stream, self._dialect.caller_format)
        if self._was_ready and self._session is not None:
            self._send(self._dialect.recall(self._session.so_far()))
        kept, self._kept, self._kept_bytes = list(self._kept), deque(), 0
        is_again, self._was_ready = self._was_ready, True
        self._renewed.set()
        self._report(m.EngineReady(is_again=is_again))
        for data in kept:
            self.hear(data)
