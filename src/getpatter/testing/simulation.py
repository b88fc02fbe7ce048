"""A whole phone in one object: your agent, a server without a port, and a simulated carrier.

```python
async def test_the_desk_books() -> None:
    async with Simulation(agent, on_message=desk) as phone:
        call = phone.ring(Polite("a haircut please", "thank you"))
        await call.ended()
    assert phone.transcript(call.sid)[-1] == ("assistant", "Goodbye!")
    assert not phone.problems
```

Nothing here opens a socket, so in virtual time (`getpatter.testing.time`) an hour of talk takes seconds, and a hundred
calls can talk at once. The media frames, webhooks, signatures and tokens are the real ones.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from getpatter.models import CallResult
from getpatter.net.messages import Exchange
from getpatter.server.phone import PhoneServer, Serving
from getpatter.testing.callers import Program
from getpatter.testing.line import Conditions
from getpatter.testing.network import InMemory
from getpatter.testing.twilio import Callee, SimulatedCall, SimulatedTwilio

if TYPE_CHECKING:
    from getpatter.agent import Agent
    from getpatter.observability.event_bus import EventBus

_T = TypeVar("_T")
HOST: Final = "agent.example"
FAREWELL_WITHIN: Final = 60.0


@dataclass(slots=True)
class _Desk:
    """The carrier's REST API, without a socket."""

    twilio: SimulatedTwilio | None = None

    async def run(self, exchange: Exchange[_T]) -> _T:
        assert self.twilio is not None, "entered before anybody rings"
        return await self.twilio.run(exchange)

    async def aclose(self) -> None:
        """Nothing to give back."""


@dataclass(slots=True)
class Ended:
    """What `on_call_end` was told, and every line before it."""

    lines: list[tuple[str, str]] = field(default_factory=list)
    metrics: list[Mapping[str, Any]] = field(default_factory=list)
    start: Mapping[str, Any] = field(default_factory=dict)
    end: Mapping[str, Any] = field(default_factory=dict)


class Simulation:
    """Serves an agent to simulated callers. An async context manager; keeps what the callbacks were told."""

    def __init__(
        self,
        agent: Agent,
        *,
        conditions: Conditions | None = None,
        callees: Mapping[str, Callee] | None = None,
        **serving: Any,
    ) -> None:
        """Prepare a phone.

        Args:
            agent: Answers the calls.
            conditions: What is wrong with every line.
            callees: Who can be called, by number.
            serving: As `Patter.serve`: `on_message`, `max_concurrent_calls`, `flight_recorder` ...
        """
        self.calls: dict[str, Ended] = {}
        """By call id."""
        self._desk = _Desk()
        self._serving = serving
        self._agent = agent
        self._conditions = conditions
        self._callees = dict(callees or {})
        self._server: PhoneServer | None = None
        self._changed = asyncio.Event()
        self._twilio: SimulatedTwilio | None = None

    @property
    def twilio(self) -> SimulatedTwilio:
        """The carrier."""
        assert self._twilio is not None, "use 'async with Simulation(...)'"
        return self._twilio

    async def __aenter__(self) -> Self:
        """Open the phone."""
        twilio = SimulatedTwilio(
            listens=False,
            network=InMemory(self._app),
            conditions=self._conditions,
        )
        twilio.callees.update(self._callees)
        given: dict[str, Any] = {"notifies": False, **self._serving}
        serving = Serving(
            agent=self._agent,
            host=HOST,
            phone_number=twilio.number,
            on_call_start=self._both(self._started, given.pop("on_call_start", None)),
            on_call_end=self._both(self._ended, given.pop("on_call_end", None)),
            on_transcript=self._both(self._said, given.pop("on_transcript", None)),
            on_metrics=self._both(self._measured, given.pop("on_metrics", None)),
            **given,
        )
        self._server = PhoneServer(serving, twilio.carrier(), http=self._desk)
        self._server.open()
        self._desk.twilio = twilio
        await self._server.point_number()
        self._twilio = await twilio.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Hang up and close."""
        assert self._server is not None, "entered"
        await self._server.stop()
        await self.twilio.__aexit__(kind, error, traceback)

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        assert self._server is not None, "entered"
        await self._server(scope, receive, send)

    def ring(self, caller: Program, **options: Any) -> SimulatedCall:
        """Somebody calls. `await call.ended()` waits for the end."""
        return self.twilio.ring(caller, **options)

    async def talk(self, caller: Program, **options: Any) -> SimulatedCall:
        """Somebody calls, and both sides have finished: `on_call_end` has run."""
        call = self.ring(caller, **options)
        await call.ended(within_s=7200)
        async with asyncio.timeout(FAREWELL_WITHIN):
            while not self.calls.get(call.sid, Ended()).end:
                self._changed.clear()
                await self._changed.wait()
        return call

    async def call(self, to: str, *, agent: Agent | None = None, **options: Any) -> CallResult:
        """Call somebody, with the options of `Patter.call`; returns what became of it."""
        assert self._server is not None, "use 'async with Simulation(...)'"
        given: dict[str, Any] = {
            "from_number": self._server.serving.phone_number,
            "voicemail_message": "",
            "detects_machines": options.pop("machine_detection", True),
            "max_call_duration": None,
        } | options
        attempt = await self._server.place(self._server.carrier, to=to, agent=agent, **given)
        await attempt.line.settled()
        return attempt.result()

    def transcript(self, call_id: str) -> list[tuple[str, str]]:
        """`(role, text)` of every line of a call."""
        return self.calls[call_id].lines

    @property
    def events(self) -> EventBus:
        """The bus on which everything that happens in the calls is told."""
        assert self._server is not None, "use 'async with Simulation(...)'"
        return self._server.bus

    @property
    def problems(self) -> list[str]:
        """Everything the phone did that the carrier does not allow."""
        return self.twilio.problems

    # ----------------------------------------------------------------------------------- callbacks

    def _both(
        self, own: Callable[[Mapping[str, Any]], None], users: Callable[..., object] | None
    ) -> Callable[[Mapping[str, Any]], Any]:
        async def called(event: Mapping[str, Any]) -> object:
            own(event)
            answer = users(event) if users is not None else None
            return await answer if inspect.isawaitable(answer) else answer

        return called

    def _of(self, event: Mapping[str, Any]) -> Ended:
        return self.calls.setdefault(event["call_id"], Ended())

    def _started(self, event: Mapping[str, Any]) -> None:
        self._of(event).start = event

    def _ended(self, event: Mapping[str, Any]) -> None:
        self._of(event).end = event
        self._changed.set()

    def _said(self, event: Mapping[str, Any]) -> None:
        self._of(event).lines.append((event["role"], event["text"]))

    def _measured(self, event: Mapping[str, Any]) -> None:
        self._of(event).metrics.append(event)
