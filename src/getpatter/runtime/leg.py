"""The carrier's side of one call: everything that is asked of the phone company about it, and who ends it.

One question decides whether a call may outlive our stream: has somebody seen to its end? Our own hang-up has,
and so has a document of the carrier's that took over (a transfer, a voicemail message).
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, TypeVar

from getpatter.carriers.base import Carrier, Stream, Warm, WarmSteps
from getpatter.errors import PatterError
from getpatter.net.messages import Exchange

if TYPE_CHECKING:
    from getpatter.runtime.house import House
    from getpatter.runtime.identity import Identity

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

RELEASE_WITHIN: Final = 5.0


class Leg:
    """One call at its carrier. Nothing here raises for what the carrier answers, unless it says so."""

    def __init__(self, identity: Identity, carrier: Carrier, house: House) -> None:
        """Stand for the call that `identity` names."""
        self._identity = identity
        self._carrier = carrier
        self._house = house
        self.transfers = 0
        """How many were asked for."""
        self._keys = 0
        self.is_released = False
        """Whether somebody has seen to its end."""
        self.has_outlived_us = False
        """Whether it was still up when its stream had ended."""

    async def hang_up(self) -> None:
        """End the call."""
        self.is_released = True
        error = await self._bounded(self._carrier.hang_up(self._identity.call_id))
        if error is not None:
            logger.warning("call.hang_up_failed call=%s error=%s", self._identity, error)

    async def release(self) -> None:
        """End the call if it has outlived the conversation and nobody has seen to its end (CA-9)."""
        if self.is_released:
            return
        self.is_released = True
        error = await self._bounded(self._hang_up_if_alive())
        if error is not None:
            logger.warning("call.release_failed call=%s error=%s", self._identity, error)

    def _hang_up_if_alive(self) -> Exchange[None]:
        call_id = self._identity.call_id
        self.has_outlived_us = yield from self._carrier.is_alive(call_id)
        if self.has_outlived_us:
            yield from self._carrier.hang_up(call_id)

    async def _bounded(self, exchange: Exchange[None]) -> str | None:
        """The name of the error, or `None`."""
        try:
            async with asyncio.timeout(RELEASE_WITHIN):
                await self._house.http.run(exchange)
        except (PatterError, TimeoutError) as error:
            return type(error).__name__
        return None

    async def limit(self, seconds: int) -> bool:
        """Have the carrier itself end the call after `seconds`. False: it would not."""
        try:
            await self._house.http.run(self._carrier.limit(self._identity.call_id, seconds=seconds))
        except PatterError as error:
            logger.info("call.limit_failed call=%s error=%s", self._identity, type(error).__name__)
            return False
        return True

    async def record(self) -> bool:
        """Have the carrier record the call. False: it would not, and the call goes on."""
        try:
            await self._house.http.run(
                self._carrier.record(self._identity.call_id, host=self._house.host)
            )
        except PatterError as error:
            logger.error(  # noqa: TRY400 - the carrier's answer says it all
                "call.recording_failed call=%s error=%s", self._identity, type(error).__name__
            )
            return False
        return True

    async def hand_over(self, to: str, steps: WarmSteps | None) -> None:
        """Connect the caller to `to`, or (`steps`) let them wait. The stream may stop before the answer is here.

        Raises:
            PatterError: the carrier refused; the call is as it was.
        """
        was_released, self.is_released = self.is_released, True
        serial, self.transfers = self.transfers, self.transfers + 1
        try:
            await self._house.http.run(
                self._transfer(to, serial) if steps is None else steps.hold()
            )
        except BaseException:
            self.is_released = was_released
            raise

    def _transfer(self, to: str, serial: int) -> Exchange[None]:
        identity = self._identity
        return self._carrier.transfer(
            identity.call_id,
            to,
            host=self._house.host,
            from_number=identity.our_number,
            serial=serial,
            keep=self._house.documents.keep,
        )

    def warm(self, order: Warm) -> WarmSteps:
        """How this carrier makes a warm transfer."""
        return self._carrier.warm(order, keep=self._house.documents.keep)

    async def ask(self, exchange: Exchange[_T]) -> _T:
        """Ask the carrier for one more thing about the call.

        Raises:
            PatterError: it refused.
        """
        return await self._house.http.run(exchange)

    async def reconnect(self, stream: Stream) -> None:
        """Bring the caller back to us.

        Raises:
            PatterError: the carrier refused.
        """
        call_id, keep = self._identity.call_id, self._house.documents.keep
        await self._house.http.run(self._carrier.reconnect(call_id, stream, keep=keep))

    async def is_alive(self) -> bool:
        """Whether the carrier still has the call; when it cannot be asked: yes."""
        try:
            async with asyncio.timeout(RELEASE_WITHIN):
                return await self._house.http.run(self._carrier.is_alive(self._identity.call_id))
        except (PatterError, TimeoutError):
            return True

    async def hang_up_other(self, call_id: str) -> None:
        """End another call that was placed for this one."""
        error = await self._bounded(self._carrier.hang_up(call_id))
        if error is not None:
            logger.warning("call.hang_up_failed call=%s error=%s", self._identity, error)

    async def send_keys(self, digits: str, *, delay_ms: int) -> bool:
        """Have the carrier press keys. False: it has no such request, tones have to do.

        Raises:
            PatterError: the carrier refused.
        """
        serial, self._keys = self._keys, self._keys + 1
        pressing = self._carrier.send_keys(
            self._identity.call_id, digits, delay_ms=delay_ms, serial=serial
        )
        if pressing is not None:
            await self._house.http.run(pressing)
        return pressing is not None

    async def leave_message(self, text: str, *, language: str) -> None:
        """Have the carrier's own voice say `text` and end the call.

        Raises:
            PatterError: the carrier refused.
        """
        self.is_released = True
        await self._house.http.run(
            self._carrier.leave_message(
                self._identity.call_id,
                text,
                language=language,
                host=self._house.host,
                keep=self._house.documents.keep,
            )
        )
