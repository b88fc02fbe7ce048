"""A server without a port behind a simulated carrier without one, whichever carrier it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from getpatter.agent import Agent
from getpatter.carriers.base import Carrier
from getpatter.models import CallResult
from getpatter.net.messages import Exchange
from getpatter.server.phone import PhoneServer, Serving
from getpatter.testing.network import InMemory
from getpatter.testing.plivo import SimulatedPlivo
from getpatter.testing.telnyx import SimulatedTelnyx
from getpatter.testing.twilio import SimulatedTwilio

_T = TypeVar("_T")

HOST = "agent.example"
THEIRS = "+15550002222"
SimulatedCarrier = SimulatedTwilio | SimulatedTelnyx | SimulatedPlivo


class Phone:
    """A server without a port behind a simulated carrier without one."""

    def __init__(self, simulated: SimulatedCarrier) -> None:
        self.simulated = simulated
        self.ended: dict[str, Mapping[str, Any]] = {}
        self.lines: list[tuple[str, str]] = []
        self.server: PhoneServer
        self._changed = asyncio.Event()

    async def run(self, exchange: Exchange[_T]) -> _T:
        return await self.simulated.run(exchange)

    async def aclose(self) -> None:
        """Nothing to give back."""

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        await self.server(scope, receive, send)

    def on_call_end(self, event: Mapping[str, Any]) -> None:
        self.ended[event["call_id"]] = event
        self._changed.set()

    def on_transcript(self, event: Mapping[str, Any]) -> None:
        self.lines.append((event["role"], event["text"]))

    async def farewell(self, call_id: str) -> Mapping[str, Any]:
        """What `on_call_end` was told."""
        async with asyncio.timeout(60):
            while call_id not in self.ended:
                self._changed.clear()
                await self._changed.wait()
        return self.ended[call_id]

    async def call(self, **options: Any) -> CallResult:
        given: dict[str, Any] = {
            "from_number": self.simulated.number,
            "voicemail_message": "",
            "detects_machines": True,
            "max_call_duration": None,
        } | options
        attempt = await self.server.place(self.server.carrier, to=THEIRS, agent=None, **given)
        await attempt.line.settled()
        return attempt.result()


@asynccontextmanager
async def phone(
    simulated: SimulatedCarrier, its_agent: Agent, *, carrier: Carrier | None = None, **serving: Any
) -> AsyncIterator[Phone]:
    """Serve `its_agent` behind `simulated`."""
    ours = Phone(simulated)
    simulated.network = InMemory(ours.app)
    ours.server = PhoneServer(
        Serving(
            agent=its_agent,
            host=HOST,
            phone_number=simulated.number,
            on_call_end=ours.on_call_end,
            on_transcript=ours.on_transcript,
            **serving,
        ),
        carrier or simulated.carrier(),
        http=ours,
    )
    ours.server.open()
    await ours.server.point_number()
    async with simulated:
        try:
            yield ours
        finally:
            await ours.server.stop()
