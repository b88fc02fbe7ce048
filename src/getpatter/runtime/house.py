"""What all calls of one server share, and what the program asked of it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from getpatter.carriers.base import Stream
from getpatter.errors import PatterConnectionError
from getpatter.net.messages import Exchange
from getpatter.observability.event_bus import EventBus
from getpatter.pricing import Pricing
from getpatter.runtime import clock
from getpatter.runtime.aftermath import Aftermaths
from getpatter.runtime.clerk import CallStore
from getpatter.runtime.consulting import Consulting
from getpatter.runtime.detector import SharedDetector
from getpatter.runtime.documents import Documents
from getpatter.runtime.handover import Targets
from getpatter.runtime.local_recording import LocalRecording, RecordingPlace
from getpatter.runtime.mouth import GreetingShelf
from getpatter.runtime.remote import RemoteMessages
from getpatter.runtime.services import Originals
from getpatter.runtime.tasks import TaskNest
from getpatter.runtime.tools import Webhooks
from getpatter.runtime.wheel import PacingWheel
from getpatter.types import AudioFormat, Instant

if TYPE_CHECKING:
    from getpatter.observability.call_log import CallLogger
    from getpatter.runtime.line import Line

Callback = Callable[..., object]
_T = TypeVar("_T")


class RunsExchanges(Protocol):
    """Does a carrier's REST work: `net.http.HttpClient`, or a simulated carrier without sockets."""

    async def run(self, exchange: Exchange[_T]) -> _T:
        """Send each request the exchange yields, give it the answers, return its result."""
        ...

    async def aclose(self) -> None:
        """Give back connections."""
        ...


class Observer(Protocol):
    """Makes spans or counts of what is told of calls. Must return at once, and must not raise."""

    wanted: frozenset[str]
    """The events of the bus that it wants to see."""

    def note(self, event: str, payload: Mapping[str, object]) -> None:
        """An event of a call, with the payload of the bus. It may be read, not kept or changed."""
        ...

    def trace_id(self, call_id: str) -> str:
        """Under which the call is found elsewhere; empty: nowhere."""
        ...


def _nobody(_: Line) -> Stream:
    raise PatterConnectionError("there is no switchboard")


@dataclass(slots=True)
class House:
    """Shared by every call of a server; holds nothing of any one of them."""

    host: str
    wheel: PacingWheel
    detector: SharedDetector
    http: RunsExchanges
    nest: TaskNest
    bus: EventBus
    documents: Documents = field(default_factory=lambda: Documents(secrets.token_bytes))
    """What carriers will fetch."""
    shelf: GreetingShelf = field(default_factory=GreetingShelf)
    originals: Originals = field(default_factory=Originals)
    """The provider objects of all agents that have had a call."""
    flights: Path | None = None
    """Where flight recordings are kept; `None`: nowhere."""
    recordings: RecordingPlace | None = None
    """Where recordings of both sides are kept; `None`: nowhere."""
    pricing: Pricing | None = None
    """What services cost; `None`: the package's own table."""
    store: CallStore | None = None
    log: CallLogger | None = None
    webhooks: Webhooks | None = None
    """Asks tools on the web."""
    consulting: Consulting | None = None
    """Asks other agents on the web."""
    remote: RemoteMessages | None = None
    """An `on_message` that is somewhere on the web."""
    on_call_start: Callback | None = None
    on_call_end: Callback | None = None
    on_transcript: Callback | None = None
    on_metrics: Callback | None = None
    on_message: Callback | None = None
    speech: Mapping[str, Callback] = field(default_factory=dict)
    """The program's speech callbacks that are set, by name; they may change at any time."""
    observers: tuple[Observer, ...] = ()
    targets: Targets = field(default_factory=Targets)
    """Who is being called on behalf of a caller."""
    invite: Callable[[Line], Stream] = _nobody
    """A stream with a new token for a call that is coming back."""
    over: Callable[[Line], None] = lambda _: None
    """Told when a call is done with, `on_call_end` included."""
    aftermaths: Aftermaths = field(init=False)
    """What becomes known of calls when they are over."""

    def tape(self, call_id: str, stream: AudioFormat, now: Instant) -> LocalRecording | None:
        """The recording of a call whose stream begins now, where calls are recorded here."""
        if self.recordings is None:
            return None
        return LocalRecording(self.recordings.path(call_id, clock.wall()), stream, now)

    def __post_init__(self) -> None:
        self.aftermaths = Aftermaths(self.http, self.nest)
