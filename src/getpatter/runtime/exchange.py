"""All calls of one server: who is expected, who is talking, who has gone. The real `Switchboard`."""

from __future__ import annotations

import asyncio
import logging
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Final

from getpatter.carriers.base import (
    FINAL_STATUSES,
    CallArrived,
    CallCosted,
    CallProgressed,
    Carrier,
    Dial,
    DocumentAsked,
    MachineJudged,
    MediaWire,
    RecordingFinished,
    RoomChanged,
    Stream,
    StreamAwaited,
    StreamStarted,
    TargetProgressed,
    TransferOver,
    WebhookEvent,
)
from getpatter.errors import PatterConnectionError, PatterError, RateLimitError
from getpatter.net.messages import Exchange as CarrierExchange
from getpatter.net.messages import WebhookReply
from getpatter.runtime import clock
from getpatter.runtime.house import House
from getpatter.runtime.identity import Direction, Identity, Orders
from getpatter.runtime.line import Line
from getpatter.runtime.media import MediaListener, MediaSocket
from getpatter.runtime.outbound import MEDIA_WITHIN, Attempt, Placing
from getpatter.runtime.tokens import INBOUND_LIFE, Entropy, Grant, StreamTokens, outbound_life
from getpatter.types import Instant

logger = logging.getLogger(__name__)

REMEMBERED: Final = 60.0
"""Seconds that late news of a finished call still finds it (HT-40)."""
HANG_UP_WITHIN: Final = 5.0
DRAIN_WITHIN: Final = 10.0
IDENTIFIED_WITHIN: Final = 5.0
"""Seconds that a stream waits for the id of its call (HT-24)."""
NAMED_WITHIN: Final = 10.0
"""Seconds from the carrier's yes to the first webhook that brings the call's own id (CA-39)."""
EARLY_EVENTS: Final = 100
REFERENCE_BYTES: Final = 18


class _Dialling:
    """A call that is being placed: the carrier has not said yet which it is."""

    def __init__(self) -> None:
        self.is_over = asyncio.Event()
        self._call_id = ""
        self._named = asyncio.Event()

    @property
    def known_id(self) -> str:
        """The call's own id, as far as webhooks have brought it."""
        return self._call_id

    def name(self, call_id: str) -> None:
        """A webhook brought our reference and the call's own id."""
        self._call_id = self._call_id or call_id
        self._named.set()

    async def own_id(self) -> str:
        """The call's own id, or nothing when no webhook came in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(NAMED_WITHIN):
                await self._named.wait()
        return self._call_id


class Exchange:
    """The calls of one server, by the carrier's call id."""

    def __init__(
        self,
        house: House,
        *,
        orders: Callable[[], Orders],
        max_concurrent_calls: int | None = None,
        entropy: Entropy = secrets.token_bytes,
    ) -> None:
        """Begin with no calls.

        Args:
            house: What all calls share.
            orders: How an inbound call shall be held; asked once for each.
            max_concurrent_calls: Above it callers get a busy signal.
            entropy: Source of stream tokens; unpredictable outside of tests.
        """
        self._house = house
        self._orders = orders
        self._most = max_concurrent_calls
        self._entropy = entropy
        self._tokens = StreamTokens(entropy)
        self._lines: dict[str, Line] = {}
        self._dialling: dict[str, _Dialling] = {}
        self._early: dict[str, list[WebhookEvent]] = {}
        self._unwanted: set[str] = set()
        """References of dials that failed without a clear no: whatever rings under them is hung up."""
        self._is_stopping = False
        self.unknown_events = 0
        house.over = self._forget_later
        house.invite = lambda line: self._stream_for(line, line.carrier)

    # ------------------------------------------------------------------------------- Switchboard

    @property
    def is_stopping(self) -> bool:
        """Whether new calls are refused because the server is shutting down."""
        return self._is_stopping

    @property
    def active(self) -> list[Line]:
        """Calls that have begun to ring and whose conversation has not ended."""
        return [line for line in self._lines.values() if not line.is_over]

    def ring(self, carrier: Carrier, arrived: CallArrived) -> Stream | None:
        """Register an inbound call; providers begin to connect while the carrier connects the audio."""
        line = self._lines.get(arrived.call_id)
        if self._is_stopping:
            return None
        if line is None and arrived.reference in self._dialling:
            self._dialling[arrived.reference].name(arrived.call_id)
            return self._stream(
                arrived.reference,
                carrier,
                arrived.call_id,
                "outbound",
                arrived.caller,
                arrived.callee,
            )
        if line is None and self._is_unwanted(carrier, arrived):
            return None
        if line is None:
            if self._most is not None and len(self.active) >= self._most:
                logger.warning("call.refused reason=max_concurrent_calls")
                self._follow_up(carrier, arrived.call_id, None)
                return None
            identity = Identity(
                call_id=arrived.call_id,
                caller=arrived.caller,
                callee=arrived.callee,
                direction="inbound",
                carrier=carrier.name,
                custom_params=dict(arrived.custom_params),
            )
            line = self._lines[arrived.call_id] = Line(
                identity, carrier, self._orders(), self._house
            )
            line.prewarm()
            self._house.nest.spawn(
                self._abandon_unanswered(line), name=f"unanswered {arrived.call_id}"
            )
            stream = self._stream_for(line, carrier)
            self._follow_up(carrier, arrived.call_id, stream)
            return stream
        return self._stream_for(line, carrier)

    def _follow_up(self, carrier: Carrier, call_id: str, stream: Stream | None) -> None:
        """What some carriers have to be asked beside the answer to their webhook."""
        self._ask(carrier.follow_up(call_id, stream), "follow-up", call_id)

    def _ask(self, exchange: CarrierExchange[None] | None, what: str, call_id: str) -> None:
        if exchange is not None:
            self._house.nest.spawn(self._asked(exchange, what), name=f"{what} {call_id}")

    async def _asked(self, exchange: CarrierExchange[None], what: str) -> None:
        try:
            await self._house.http.run(exchange)
        except PatterError as error:
            logger.warning("call.request_failed what=%s error=%s", what, type(error).__name__)

    def _stream_for(self, line: Line, carrier: Carrier) -> Stream:
        identity = line.identity
        return self._stream(
            line.reference,
            carrier,
            identity.call_id,
            identity.direction,
            identity.caller,
            identity.callee,
        )

    def _stream(
        self,
        reference: str,
        carrier: Carrier,
        call_id: str,
        direction: Direction,
        caller: str,
        callee: str,
    ) -> Stream:
        now = clock.now()
        grant = Grant(
            reference, carrier.name, direction, Instant(now + INBOUND_LIFE), call_id=call_id
        )
        token = self._tokens.mint(grant, now=now)
        return Stream(self._house.host, reference, token, caller, callee)

    async def admit(
        self,
        carrier: Carrier,
        wire: MediaWire,
        started: StreamStarted,
        *,
        reference: str,
        token: str,
        socket: MediaSocket,
    ) -> MediaListener | None:
        """Spend the token; the conversation begins."""
        await self._until_identified(reference)
        line = self._lines.get(started.call_id)
        grant = self._tokens.spend(
            token,
            reference=reference,
            call_id=started.call_id,
            carrier=carrier.name,
            now=clock.now(),
        )
        if grant is None or line is None or self._is_stopping:
            return None
        if line.steering.is_expecting:
            return line.come_back(socket, wire, started)
        if line.call is not None:
            return None
        return line.answer(socket, wire, started)

    def is_expected(self, reference: str, token: str) -> bool:
        """Whether this token would be accepted now."""
        return self._tokens.look(token, reference=reference, now=clock.now()) is not None

    def fetch(self, reference: str) -> WebhookReply | None:
        """A document that was kept for the carrier, once."""
        return self._house.documents.fetch(reference)

    def take_back(self, carrier: Carrier, event: TransferOver) -> Stream | None:
        """A transfer is over: where the caller shall be connected, or `None` when the call is over too."""
        line = self._lines.get(event.call_id)
        if line is None or line.identity.carrier != carrier.name or self._is_stopping:
            return None
        return line.steering.take_back(event)

    def note(self, carrier: Carrier, event: WebhookEvent) -> None:
        """News of a call from its carrier."""
        line = self._lines.get(event.call_id)
        if self._house.targets.take(event, is_known=line is not None):
            return
        reference = event.reference if isinstance(event, CallProgressed) else ""
        if line is None and isinstance(event, CallProgressed) and self._is_unwanted(carrier, event):
            return
        if line is None and reference in self._dialling:
            self._dialling[reference].name(event.call_id)
        if line is None and self._dialling and len(self._early) < EARLY_EVENTS:
            self._early.setdefault(event.call_id, []).append(event)
            return
        if line is None or line.identity.carrier != carrier.name:
            self._news_of_the_past(carrier, event)
            return
        self._tell(line, carrier, event)

    def _tell(self, line: Line, carrier: Carrier, event: WebhookEvent) -> None:
        match event:
            case CallProgressed():
                self._progressed(line, event)
            case StreamAwaited(attempt=attempt):
                self._open_stream(line, carrier, attempt)
            case MachineJudged():
                if line.attempt is not None:
                    line.attempt.judged(event)
            case TargetProgressed() | RoomChanged():
                line.steering.told(event)
            case CallArrived() | DocumentAsked() | TransferOver():
                pass
            case _:
                line.told_by_carrier(event)

    def _news_of_the_past(self, carrier: Carrier, event: WebhookEvent) -> None:
        """News of a call that is forgotten but for what it cost and where its recording is, or of none of ours."""
        call = self._house.aftermaths.find(carrier.name, event.call_id)
        if call is not None and isinstance(event, CallCosted | RecordingFinished):
            call.told(event)
        else:
            self.unknown_events += 1

    def _open_stream(self, line: Line, carrier: Carrier, attempt: int) -> None:
        if line.call is None or line.steering.is_expecting:
            stream = self._stream_for(line, carrier)
            opening = carrier.open_stream(line.identity.call_id, stream, attempt=attempt)
            self._ask(opening, "open-stream", line.identity.call_id)

    def _progressed(self, line: Line, event: CallProgressed) -> None:
        if line.status in FINAL_STATUSES:
            return
        line.status_changed(event.status)
        if event.status == "in-progress" and line.call is None:
            line.work(self._expect_media(line), name="expect-media")
        if event.status in FINAL_STATUSES:
            if line.call is None:
                self._nobody_came(line)
            else:
                line.ended_at_carrier()

    # ------------------------------------------------------------------------------------ placing

    async def place(self, carrier: Carrier, placing: Placing) -> Attempt:
        """Place a call; returns once the carrier has accepted it.

        Raises:
            RateLimitError: too many calls run already, or the carrier says so.
            AuthenticationError: the carrier refused the credentials.
            PatterConnectionError: the carrier refused the call, or the server is stopping.
        """
        if self._is_stopping:
            raise PatterConnectionError("the server is shutting down: no call was placed")
        if self._most is not None and len(self.active) >= self._most:
            raise RateLimitError(f"max_concurrent_calls={self._most} calls run already")
        reference = urlsafe_b64encode(self._entropy(REFERENCE_BYTES)).decode().rstrip("=")
        now = clock.now()
        expires = Instant(now + outbound_life(placing.ring_timeout))
        grant = Grant(reference, carrier.name, "outbound", expires)
        token = self._tokens.mint(grant, now=now)
        dialling = self._dialling[reference] = _Dialling()
        stream = Stream(self._house.host, reference, token, placing.from_number, placing.to)
        try:
            call_id = await self._dialled(carrier, placing, stream, dialling)
            attempt = self._registered(carrier, placing, call_id, reference)
            self._tokens.attach(reference, call_id)
        except BaseException as error:
            self._tokens.revoke(reference)
            if not _is_refusal(error):
                self._unwanted.add(reference)
                self._later(expires - now, lambda: self._unwanted.discard(reference))
            raise
        finally:
            del self._dialling[reference]
            dialling.is_over.set()
            if not self._dialling:
                early, self._early = self._early, {}
            else:
                early = {}
        for event in early.pop(call_id, None) or self._early.pop(call_id, []):
            self.note(carrier, event)
        self.unknown_events += sum(map(len, early.values()))
        line = attempt.line
        line.work(self._give_up_ringing(line, expires), name="unanswered")
        return attempt

    async def _dialled(
        self, carrier: Carrier, placing: Placing, stream: Stream, dialling: _Dialling
    ) -> str:
        """The id of the call. A carrier whose answer got lost may have told it by a webhook meanwhile."""
        dial = Dial(
            to=placing.to,
            from_number=placing.from_number,
            stream=stream,
            ring_timeout=placing.ring_timeout,
            max_call_duration=placing.max_call_duration,
            detects_machines=placing.detects_machines,
        )
        try:
            call_id = await self._house.http.run(carrier.dial(dial))
        except PatterConnectionError as error:
            if _is_refusal(error) or not dialling.known_id:
                raise
            logger.warning("call.dial_unanswered carrier=%s", carrier.name)
            return dialling.known_id
        if carrier.names_calls_late:
            return await dialling.own_id() or call_id
        return call_id

    def _is_unwanted(self, carrier: Carrier, event: CallArrived | CallProgressed) -> bool:
        """Whether this is a call of ours that nobody waits for any more; it is hung up then."""
        if event.reference not in self._unwanted:
            return False
        if isinstance(event, CallProgressed) and event.status in FINAL_STATUSES:
            return True
        self._unwanted.discard(event.reference)
        logger.warning("call.unwanted carrier=%s", carrier.name)
        self._ask(carrier.hang_up(event.call_id), "hang-up", event.call_id)
        return True

    def _registered(
        self, carrier: Carrier, placing: Placing, call_id: str, reference: str
    ) -> Attempt:
        identity = Identity(
            call_id=call_id,
            caller=placing.from_number,
            callee=placing.to,
            direction="outbound",
            carrier=carrier.name,
        )
        orders = Orders(
            agent=placing.agent,
            first_message=placing.first_message or placing.agent.first_message,
            variables=placing.variables,
            max_call_duration=placing.max_call_duration,
            is_recorded=placing.is_recorded,
            idle_timeout=self._orders().idle_timeout,
        )
        line = Line(identity, carrier, orders, self._house, reference=reference)
        attempt = line.attempt = Attempt(placing, line, carrier)
        self._lines[call_id] = line
        line.placed()
        line.prewarm()
        return attempt

    async def _until_identified(self, reference: str) -> None:
        dialling = self._dialling.get(reference)
        if dialling is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(IDENTIFIED_WITHIN):
                    await dialling.is_over.wait()

    async def _give_up_ringing(self, line: Line, at: Instant) -> None:
        await asyncio.sleep(max(0.0, at - clock.now()))
        await self._end_silent(line)

    async def _expect_media(self, line: Line) -> None:
        await asyncio.sleep(MEDIA_WITHIN)
        await self._end_silent(line)

    async def _end_silent(self, line: Line) -> None:
        """A call without a stream: end it at its carrier, and here."""
        if line.call is None and not line.is_settled:
            logger.warning("call.without_media call=%s", line.identity)
            await line.end_leg()
            self._nobody_came(line)

    # ------------------------------------------------------------------------------------- ends

    async def _abandon_unanswered(self, line: Line) -> None:
        await asyncio.sleep(INBOUND_LIFE)
        if line.call is None:
            self._nobody_came(line)

    def _nobody_came(self, line: Line) -> None:
        self._tokens.revoke(line.reference)
        self._house.nest.spawn(line.abandon(), name=f"abandon {line.identity.call_id}")

    def _forget_later(self, line: Line) -> None:
        call_id = line.identity.call_id
        self._tokens.revoke(line.reference)
        self._later(REMEMBERED, lambda: self._lines.pop(call_id, None))

    @staticmethod
    def _later(seconds: float, act: Callable[[], object]) -> None:
        asyncio.get_running_loop().call_later(seconds, act)

    async def end_call(self, call_id: str) -> None:
        """Hang one call up. Unknown or over: nothing happens."""
        line = self._lines.get(call_id)
        if line is not None and not line.is_over:
            await line.end_by_program()

    def refuse_new(self) -> None:
        """Step 1 of a shutdown."""
        self._is_stopping = True

    async def hang_up_all(self) -> None:
        """Step 2: end every call at its carrier, all at once, 5 s each at most."""
        lines = self.active
        if lines:
            await asyncio.gather(*(line.shut_down() for line in lines))

    async def settled(self, within: float) -> None:
        """Wait until every call's `on_call_end` has run, `within` seconds at most."""
        try:
            async with asyncio.timeout(within):
                for line in list(self._lines.values()):
                    await line.settled()
        except TimeoutError:
            late = sum(not line.is_settled for line in self._lines.values())
            logger.warning("server.calls_unsettled count=%d", late)


def _is_refusal(error: BaseException) -> bool:
    """Whether it is certain that nothing was dialled: the carrier said no, or was never asked."""
    if not isinstance(error, PatterConnectionError):
        return isinstance(error, PatterError)
    return error.status is not None and error.status < HTTPStatus.INTERNAL_SERVER_ERROR
