"""The server behind `Patter.serve()`: one carrier, one agent, all their calls."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from getpatter import config
from getpatter.carriers import KINDS
from getpatter.carriers.base import Carrier
from getpatter.dashboard.board import Board
from getpatter.dashboard.routes import api_routes, dashboard_routes, page_routes
from getpatter.dashboard.store import MetricsStore, MetricsStoreProtocol
from getpatter.errors import PatterError
from getpatter.net.http import HttpClient
from getpatter.net.public import PublicHttp
from getpatter.observability import tracing
from getpatter.observability.call_log import CallLogger, remove_old_days
from getpatter.observability.event_bus import EventBus
from getpatter.pricing import Pricing
from getpatter.runtime import clock
from getpatter.runtime.clerk import CallStore
from getpatter.runtime.consulting import Consulting
from getpatter.runtime.detector import SharedDetector
from getpatter.runtime.exchange import Exchange
from getpatter.runtime.house import House, Observer, RunsExchanges
from getpatter.runtime.identity import Orders
from getpatter.runtime.local_recording import RecordingPlace
from getpatter.runtime.outbound import Attempt, Placing
from getpatter.runtime.remote import RemoteMessages
from getpatter.runtime.services import providers_of
from getpatter.runtime.tasks import TaskNest
from getpatter.runtime.watchdog import LoopWatchdog
from getpatter.runtime.webhook_tools import WebhookTools
from getpatter.runtime.wheel import PacingWheel
from getpatter.server.access import Access, TokenNote
from getpatter.server.app import PhoneApp, create_app
from getpatter.server.gate import ServerSettings
from getpatter.server.limits import SocketLimits, TrustedProxies
from getpatter.server.listener import HttpServer
from getpatter.server.metrics import metrics_route
from getpatter.server.mounted import missing_in
from getpatter.server.notices import Notices

if TYPE_CHECKING:
    from starlette.routing import BaseRoute, Route
    from starlette.types import Receive, Scope, Send

    from getpatter.agent import Agent

logger = logging.getLogger(__name__)

Callback = Callable[..., object]

POINT_ATTEMPTS: Final = 3
FAREWELL_WITHIN: Final = 30.0
DRAIN_WITHIN: Final = 10.0
DAY: Final = 86400.0
LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
SPARE_SOCKETS: Final = 50


@dataclass(frozen=True, slots=True)
class Serving:
    """What `serve()` was asked for, validated."""

    agent: Agent
    host: str
    phone_number: str = field(default="", repr=False)
    recording: bool = False
    voicemail_message: str = ""
    on_call_start: Callback | None = None
    on_call_end: Callback | None = None
    on_transcript: Callback | None = None
    on_message: Callback | str | None = None
    on_metrics: Callback | None = None
    webhook_secret: str = field(default="", repr=False)
    """Signs requests to a remote `on_message`."""
    allow_private_urls: bool = False
    """Let tools and a remote `on_message` be on a private network."""
    require_signature: bool = True
    trusted_proxies: Sequence[str] = ()
    tunnel_header: str = ""
    """Header in which a tunnel that was started here names the client."""
    max_call_duration: int = 3600
    max_concurrent_calls: int | None = None
    idle_timeout: float | None = None
    flight_recorder: Path | None = None
    local_recording: RecordingPlace | None = None
    pricing: Pricing | None = None
    persist_root: Path | None = None
    store: CallStore | None = None
    dashboard: bool = True
    dashboard_token: str = field(default="", repr=False)
    allow_insecure_dashboard: bool = False
    notifies: bool = True
    """Tell a standalone dashboard of this machine of calls, unless the environment says otherwise."""
    speech: Mapping[str, Callback] = field(default_factory=dict)
    """Speech callbacks by name; they may change while it serves."""


class PhoneServer:
    """All that serves calls, on one event loop. `listen`, `point_number`, `closed`, `stop`."""

    def __init__(
        self,
        serving: Serving,
        carrier: Carrier,
        *,
        bus: EventBus | None = None,
        http: RunsExchanges | None = None,
    ) -> None:
        """Prepare; nothing is opened before `open` or `listen`.

        `http` replaces the client of the carrier's REST API.
        """
        self.serving = serving
        self.carrier = carrier
        self.bus = bus if bus is not None else EventBus()
        self.store: CallStore = serving.store if serving.store is not None else MetricsStore()
        self.log = CallLogger(None)
        self.exchange: Exchange | None = None
        self._http = http
        self.webhook_error = ""
        proxies = TrustedProxies.of(serving.trusted_proxies, tunnel_header=serving.tunnel_header)
        self.access = Access(
            token=serving.dashboard_token,
            allows_anybody=serving.allow_insecure_dashboard,
            host=serving.host,
            proxies=proxies,
        )
        """Who may see what calls say and cost."""
        self._note = TokenNote(self.access)
        self._board = self._new_board()
        self._notices: Notices | None = None
        self._proxies = proxies
        self._house: House | None = None
        self._outside: list[PublicHttp] = []
        self._app: PhoneApp | None = None
        self._http_server: HttpServer | None = None
        self._nest: TaskNest | None = None
        self._watchdog: LoopWatchdog | None = None
        self._ending = TaskNest("server's end")
        self._closed = asyncio.Event()
        self._stopping: asyncio.Task[None] | None = None

    def _new_board(self) -> Board | None:
        """What the dashboard shows; `None` without one."""
        store = self.store
        if not self.serving.dashboard:
            return None
        if isinstance(store, MetricsStoreProtocol):
            root = self.serving.persist_root
            return Board(store, root=root, flush=self._flush_log)
        logger.warning("server.store_not_shown missing=%s", ",".join(missing_in(store)))
        return None

    def _flush_log(self) -> None:
        self.log.flush()

    def open(self) -> PhoneApp:
        """The ASGI application, with everything it needs, on the running loop. Idempotent."""
        if self._app is not None:
            return self._app
        serving = self.serving
        self._nest = TaskNest("server")
        observers, routes = self._observers()
        wheel = PacingWheel()
        self.log = CallLogger(serving.persist_root)
        house = self._house = House(
            store=self.store,
            log=self.log,
            pricing=serving.pricing,
            host=serving.host,
            wheel=wheel,
            detector=SharedDetector(wheel),
            http=self._http if self._http is not None else HttpClient(self.carrier.name),
            nest=self._nest,
            bus=self.bus,
            flights=serving.flight_recorder,
            recordings=serving.local_recording,
            on_call_start=serving.on_call_start,
            on_call_end=serving.on_call_end,
            on_transcript=serving.on_transcript,
            on_metrics=serving.on_metrics,
            on_message=serving.on_message if callable(serving.on_message) else None,
            speech=serving.speech,
            observers=observers,
            webhooks=WebhookTools(self._public("tool")),
            consulting=Consulting(self._public("consult"), self._public("consult", anywhere=True)),
            remote=self._remote_messages(),
        )
        self.exchange = Exchange(
            house, orders=self._orders, max_concurrent_calls=serving.max_concurrent_calls
        )
        is_wanted = serving.notifies and config.notifies_dashboard()
        if is_wanted and isinstance(self.store, MetricsStoreProtocol):
            self._notices = Notices(self.store, lambda: self._port)
        most = serving.max_concurrent_calls
        self._app = create_app(
            self.exchange,
            {self.carrier.name: self.carrier},
            settings=ServerSettings(
                host=serving.host,
                require_signature=serving.require_signature,
                proxies=self._proxies,
                sockets=SocketLimits()
                if most is None
                else SocketLimits(total=most + SPARE_SOCKETS),
            ),
            absent={name: kinds for name, kinds in KINDS.items() if name != self.carrier.name},
            routes=(*routes, *self._dashboard_routes()),
        )
        self._watchdog = LoopWatchdog()
        self._watchdog.start()
        return self._app

    def _observers(self) -> tuple[tuple[Observer, ...], tuple[BaseRoute, ...]]:
        """Who makes spans and counts of calls, and where the counts are shown. Nobody, unless installed."""
        observers: list[Observer] = []
        routes: list[BaseRoute] = []
        if tracing.init_tracing():
            from getpatter.observability.spans import CallSpans  # noqa: PLC0415 - loads OpenTelemetry

            telemetry = tracing.telemetry()
            assert telemetry is not None, "tracing has just begun"
            observers.append(CallSpans(telemetry))
        try:
            from getpatter.observability.prometheus import CallCounts  # noqa: PLC0415 - an extra
        except ImportError:
            logger.debug("metrics.extra_missing install=pip install 'getpatter[metrics]'")
        else:
            counts = CallCounts(events_dropped=lambda: self.bus.dropped)
            observers.append(counts)
            routes.append(metrics_route(counts, self.access))
        return tuple(observers), tuple(routes)

    @property
    def _port(self) -> int:
        return self._http_server.port if self._http_server is not None else 0

    def _dashboard_routes(self) -> list[Route]:
        if self._board is None:
            return []
        guard = self.access.guard
        return [
            *page_routes(guard),
            *dashboard_routes(self._board, guard),
            *api_routes(self._board, guard),
        ]

    def _public(self, what: str, *, anywhere: bool = False) -> PublicHttp:
        client = PublicHttp(what, allow_private=anywhere or self.serving.allow_private_urls)
        self._outside.append(client)
        return client

    def _remote_messages(self) -> RemoteMessages | None:
        serving = self.serving
        if not isinstance(serving.on_message, str):
            return None
        return RemoteMessages(
            serving.on_message,
            self._public("on_message"),
            secret=serving.webhook_secret,
            allow_private=serving.allow_private_urls,
        )

    def _orders(self) -> Orders:
        serving = self.serving
        return Orders(
            agent=serving.agent,
            first_message=serving.agent.first_message,
            max_call_duration=serving.max_call_duration,
            is_recorded=serving.recording,
            idle_timeout=serving.idle_timeout,
        )

    async def recall(self) -> None:
        """Refill the store from disk, and remove what is too old to be kept. Later calls run once a day."""
        root = self.serving.persist_root
        if root is None:
            return
        days = config.retention_days()
        await asyncio.to_thread(remove_old_days, root, now=clock.wall(), days=days)
        hydrate = getattr(self.store, "hydrate", None)
        if callable(hydrate):
            await asyncio.to_thread(hydrate, root)

    async def _forget_daily(self) -> None:
        root = self.serving.persist_root
        while root is not None:
            await asyncio.sleep(DAY)
            days = config.retention_days()
            await asyncio.to_thread(remove_old_days, root, now=clock.wall(), days=days)

    async def listen(self, port: int, *, bind_host: str) -> int:
        """Accept requests; returns the port.

        Raises:
            PatterConnectionError: the port cannot be had.
        """
        # What is loaded by now stays: from here on a full garbage collection looks at calls only. With the modules
        # it held the loop for 110 ms at 350 calls, and for 70 ms without (benchmarks/capacity.py).
        gc.collect()
        gc.freeze()
        server = self._http_server = HttpServer(self.open(), bind_host=bind_host, port=port)
        assert self._nest is not None, "open() has made it"
        assert self._house is not None, "open() has made it"
        self._house.detector.warm_up()
        self._warn_of_strangers(bind_host)
        await self.recall()
        self._nest.spawn(self._forget_daily(), name="retention")
        self._nest.spawn(self._run(server), name="http")
        bound = await server.started()
        if self.serving.dashboard:
            await asyncio.to_thread(self._note.tell, bound)
        return bound

    def _warn_of_strangers(self, bind_host: str) -> None:
        """Without a token of the user's own the dashboard trusts what looks like this machine."""
        serving = self.serving
        if serving.dashboard_token or not serving.dashboard:
            return
        if bind_host not in LOOPBACK:
            logger.warning("server.open_to_the_network host=%s", bind_host)
        if serving.allow_insecure_dashboard:
            logger.warning("access.open_to_anybody host=%s", serving.host)
        elif bind_host not in LOOPBACK or serving.host.partition(":")[0] not in LOOPBACK:
            logger.warning(
                "access.without_token host=%s: a reverse proxy on this machine that strips forwarding "
                "headers makes strangers look local; pass dashboard_token",
                serving.host,
            )

    async def _run(self, server: HttpServer) -> None:
        try:
            await server.run()
        finally:
            self._closed.set()

    async def point_number(self) -> None:
        """Set the carrier's webhook to this server: three attempts, then a line that says what to do by hand."""
        assert self._house is not None, "open() has made it"
        exchange = self.carrier.point_number
        error: PatterError | None = None
        for attempt in range(POINT_ATTEMPTS):
            if attempt:
                await asyncio.sleep(0.5 * attempt)
            try:
                await self._house.http.run(
                    exchange(self.serving.phone_number, host=self.serving.host)
                )
            except PatterError as failure:
                error = failure
            else:
                self._note_webhook("")
                return
        self._note_webhook(str(error))
        logger.error(
            "server.webhook_not_set reason=%s set_by_hand=https://%s/webhooks/%s/voice",
            error,
            self.serving.host,
            self.carrier.name,
        )

    def _note_webhook(self, error: str) -> None:
        self.webhook_error = error
        if isinstance(self.store, MetricsStore):
            self.store.webhook_error = error

    async def move(self, host: str) -> None:
        """The public host name is another one from now on: for signatures, for new calls, and at the carrier.

        Calls go on. What their carrier was told before still has the old name.
        """
        assert self._house is not None, "open() has made it"
        assert self._app is not None, "open() has made it"
        self.serving = replace(self.serving, host=host)
        self._house.host = host
        self._app.gate.settings.host = host
        self.access.move(host)
        await self.point_number()

    async def place(
        self, carrier: Carrier, *, agent: Agent | None, max_call_duration: int | None, **call: Any
    ) -> Attempt:
        """Place a call with this server's defaults for what it leaves open."""
        assert self.exchange is not None, "serving"
        serving = self.serving
        message = call.pop("voicemail_message") or serving.voicemail_message
        detects = call.pop("detects_machines") or bool(message)
        recording = call.pop("recording", None)
        placing = Placing(
            agent=serving.agent if agent is None else agent,
            voicemail_message=message,
            detects_machines=detects,
            max_call_duration=(
                serving.max_call_duration if max_call_duration is None else max_call_duration
            ),
            is_recorded=serving.recording if recording is None else recording,
            **call,
        )
        return await self.exchange.place(carrier, placing)

    def conversation_state(self, call_id: str) -> dict[str, object] | None:
        """Where one running call stands."""
        for line in self.exchange.active if self.exchange is not None else ():
            if line.identity.call_id == call_id and line.call is not None:
                return {"call_id": call_id, **line.stages.state(line.call.session.floor)}
        return None

    async def end_call(self, call_id: str) -> None:
        """Hang one call up at its carrier."""
        if self.exchange is not None:
            await self.exchange.end_call(call_id)

    async def closed(self) -> None:
        """Wait until the server has stopped."""
        await self._closed.wait()

    def beside(self, work: Coroutine[Any, Any, None], *, name: str) -> None:
        """Run `work` as long as the server runs."""
        assert self._nest is not None, "open() has made it"
        self._nest.spawn(work, name=name)

    def ask_to_stop(self) -> None:
        """Begin to stop, without waiting for it."""
        if self._stopping is None:
            self._stopping = self._ending.spawn(self._stop(), name="stop")

    async def stop(self) -> None:
        """The six steps of a shutdown, and every `on_call_end`. Idempotent; several may wait for it."""
        self.ask_to_stop()
        assert self._stopping is not None, "just begun"
        await asyncio.shield(self._stopping)

    async def _stop(self) -> None:
        if self.exchange is not None:
            self.exchange.refuse_new()
            await self.exchange.hang_up_all()
        await self._close_doors()
        if self.exchange is not None:
            await self.exchange.settled(FAREWELL_WITHIN)
        await self._fall_silent()
        await asyncio.to_thread(self._note.tear_up)
        if self._house is not None:
            await self._house.aftermaths.close()
        if self._nest is not None:
            await self._nest.close()
        await asyncio.to_thread(self.log.close)
        if self._house is not None:
            await self._house.http.aclose()
            self._house.originals.add(*providers_of(self.serving.agent))
            await self._house.originals.close()
        for client in self._outside:
            await client.aclose()
        self._closed.set()

    async def _close_doors(self) -> None:
        if self._board is not None:
            self._board.close()
        if self._http_server is not None:
            await self._http_server.stop()
            gc.unfreeze()
        elif self._app is not None:
            await self._app.gate.close_all(1001, "Server shutting down", within=DRAIN_WITHIN)

    async def _fall_silent(self) -> None:
        if self._notices is not None:
            await self._notices.close()
        if self._watchdog is not None:
            self._watchdog.stop()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve as an ASGI application inside somebody else's server."""
        await self.open()(scope, receive, send)
