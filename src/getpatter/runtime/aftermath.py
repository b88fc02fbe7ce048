"""What a carrier says of a call when it is over: what it cost, and where its recording is.

Both come late, and nothing waits for them: `on_call_end` has an estimate of the cost. A carrier that reports a
price by itself is believed when it does; the others are asked a few times (CA-40). The first price counts.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from getpatter.carriers.base import CallCosted, Carrier, RecordingFinished
from getpatter.errors import PatterError
from getpatter.models import CostBreakdown
from getpatter.runtime import clock
from getpatter.runtime.clerk import Clerk
from getpatter.runtime.identity import Identity
from getpatter.runtime.tasks import TaskNest

if TYPE_CHECKING:
    from getpatter.observability.event_bus import EventBus
    from getpatter.runtime.house import RunsExchanges

logger = logging.getLogger(__name__)

ASKED_AFTER: Final = (30.0, 120.0, 600.0)
"""Seconds after its end at which a carrier is asked what a call has cost."""
LAST_WORD_WITHIN: Final = 5.0
"""Seconds that a server which stops waits for the prices it asks for once more."""
REMEMBERED: Final = 1000
"""Calls whose news are still understood after their end, the newest."""


class Aftermath:
    """What becomes known of one call after its end. Holds nothing of its conversation."""

    def __init__(self, identity: Identity, clerk: Clerk, bus: EventBus) -> None:
        """`clerk` writes down what comes."""
        self.identity = identity
        self._clerk = clerk
        self._bus = bus
        self._estimate: CostBreakdown | None = None
        self._dollars: float | None = None

    @property
    def is_billed(self) -> bool:
        """Whether the carrier has named its price."""
        return self._dollars is not None

    def over(self, estimate: CostBreakdown) -> None:
        """The call's end is written down, with this cost. A price that came before it counts now."""
        self._estimate = estimate
        if self._dollars is not None:
            self._settle(estimate, self._dollars)

    def told(self, event: RecordingFinished | CallCosted) -> None:
        """News from the carrier."""
        match event:
            case CallCosted(dollars=dollars):
                self.billed(dollars)
            case RecordingFinished(url=""):
                logger.error("call.recording_lost call=%s", self.identity)
                failed = {"code": "", "stage": "recording", "provider": self.identity.carrier}
                self._emit("error", {**failed, "error": "RecordingFailed"})
            case RecordingFinished():
                recording: dict[str, object] = {
                    "recording_id": event.recording_id,
                    "url": event.url,
                    "duration_seconds": event.duration_seconds,
                    "channels": event.channels,
                    "format": event.format,
                }
                self._clerk.recorded(recording)
                self._emit("recording_ready", recording)

    def billed(self, dollars: float) -> None:
        """The carrier's own price of the call, in US dollars. Only the first one counts."""
        if self._dollars is not None:
            return
        self._dollars = dollars
        if self._estimate is not None:
            self._settle(self._estimate, dollars)

    def _settle(self, estimate: CostBreakdown, dollars: float) -> None:
        cost = replace(estimate, telephony=dollars)
        self._clerk.billed(cost)
        self._emit(
            "call_cost_updated",
            {"cost": cost, "telephony": dollars, "estimate": estimate.telephony},
        )

    def _emit(self, event: str, payload: dict[str, object]) -> None:
        told = {"call_id": self.identity.call_id, "timestamp": clock.wall(), **payload}
        self._bus.emit(event, told)


class Aftermaths:
    """Those of all calls that have ended, the newest `REMEMBERED`."""

    def __init__(self, http: RunsExchanges, nest: TaskNest) -> None:
        """Prices are asked for by `http`, in tasks of `nest`."""
        self._http = http
        self._nest = nest
        self._calls: OrderedDict[str, Aftermath] = OrderedDict()
        self._asking: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()

    def follow(self, call: Aftermath, carrier: Carrier) -> None:
        """A call is over: understand its news, and ask what it cost where the carrier has to be asked."""
        call_id = call.identity.call_id
        self._calls[call_id] = call
        if len(self._calls) > REMEMBERED:
            self._calls.popitem(last=False)
        if call.is_billed or self._nest.is_closed or carrier.price(call_id) is None:
            return
        task = self._nest.spawn(self._ask(call, carrier), name=f"price {call_id}")
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    def find(self, carrier: str, call_id: str) -> Aftermath | None:
        """That of one call, while it is remembered."""
        call = self._calls.get(call_id)
        return call if call is not None and call.identity.carrier == carrier else None

    async def _ask(self, call: Aftermath, carrier: Carrier) -> None:
        waited = 0.0
        for after in ASKED_AFTER:
            is_stopping = await self._stops_within(after - waited)
            if call.is_billed or (is_stopping and waited == 0):  # nobody knows the price so soon
                return
            waited = after
            dollars = await self._price(call, carrier)
            if dollars is not None:
                call.billed(dollars)
                return
            if is_stopping:
                return
        logger.info("call.price_unknown call=%s", call.identity)

    async def _stops_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        return self._stopping.is_set()

    async def _price(self, call: Aftermath, carrier: Carrier) -> float | None:
        exchange = carrier.price(call.identity.call_id)
        assert exchange is not None, "it had one before"
        try:
            return await self._http.run(exchange)
        except PatterError as error:
            logger.info("call.price_failed call=%s error=%s", call.identity, type(error).__name__)
            return None

    async def close(self) -> None:
        """Ask once more for the prices that are still unknown, 5 s at most; then no more."""
        self._stopping.set()
        if self._asking:
            await asyncio.wait(self._asking, timeout=LAST_WORD_WITHIN)
