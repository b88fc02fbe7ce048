"""Which requests for a media socket are let in, decided before the upgrade.

Order: path (404) → shutting down (503) → carrier's signature, where one came (403) → room (503, 429).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol
from urllib.parse import parse_qs, unquote

from getpatter.carriers.base import Carrier, Verdict
from getpatter.net.messages import WebhookRequest
from getpatter.runtime import clock
from getpatter.runtime.media import Switchboard
from getpatter.server.limits import Place, Refusal, SocketCensus, SocketLimits, TrustedProxies
from getpatter.types import Instant

_STREAM_PATH: Final = re.compile(r"/ws/(?:([a-z0-9_-]{1,32})/)?stream/([^/]{1,512})")
_MOST_QUERY_FIELDS: Final = 50

NOT_FOUND: Final = Refusal(404, "Not Found")
STOPPING: Final = Refusal(503, "Server shutting down")
_FORGED: Final = Refusal(403, "Invalid signature")


@dataclass(slots=True)
class ServerSettings:
    """How the server meets the outside. Only `host` ever changes: a tunnel has a new name at every start."""

    host: str
    """Public host name, as in `webhook_url`; a path after it (`example.com/phone`) is not part of it."""
    require_signature: bool = True
    proxies: TrustedProxies = field(default_factory=TrustedProxies)
    sockets: SocketLimits = field(default_factory=SocketLimits)
    body_bytes: int = 1024 * 1024
    body_seconds: float = 10.0
    """How long a webhook's body may take to arrive."""

    @property
    def signed_host(self) -> str:
        """What carriers put before the path when they sign a URL."""
        return self.host.partition("/")[0]


@dataclass(frozen=True, slots=True)
class Clocks:
    """The two readers of time that the server is given."""

    now: Callable[[], Instant] = clock.now
    """Monotonic."""
    unix: Callable[[], float] = clock.wall
    """Wall clock, for the age of signatures."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A media socket that may be opened."""

    carrier: Carrier
    reference: str
    place: Place
    url_token: str = field(default="", repr=False)


class OpenSocket(Protocol):
    """A media socket in use, as a shutdown sees it."""

    def close(self, code: int, reason: str) -> None:
        """Send a close frame and end."""
        ...

    def abort(self) -> None:
        """End now."""
        ...


class MediaGate:
    """Lets media sockets in, and knows those that are open."""

    def __init__(
        self,
        switchboard: Switchboard,
        carriers: Mapping[str, Carrier],
        *,
        settings: ServerSettings,
        clocks: Clocks | None = None,
        absent: Iterable[str] = (),
    ) -> None:
        """`carriers` by name, the first one serving `/ws/stream/`; `absent`: known, but not configured."""
        self.switchboard = switchboard
        self.settings = settings
        self.clocks = clocks or Clocks()
        self.census = SocketCensus(settings.sockets)
        self._carriers = dict(carriers)
        self._names = {*carriers, *absent}
        self._open: set[OpenSocket] = set()
        self._emptied = asyncio.Event()
        self._emptied.set()
        self._is_closing = False

    @property
    def is_stopping(self) -> bool:
        """Whether new requests and sockets get 503."""
        return self._is_closing or self.switchboard.is_stopping

    def leads_to(self, path: str) -> bool:
        """Whether a (decoded) path is that of a media socket."""
        return self._find(path) is not None

    def decide(self, request: WebhookRequest, path: str, peer: str) -> Entry | Refusal:
        """May this socket be opened? `path` is decoded and without mount point, `peer` an address.

        Whoever gets an `Entry` must see to it that its place is left.
        """
        found = self._find(path)
        if found is None:
            return NOT_FOUND
        if self.is_stopping:
            return STOPPING
        carrier, reference = found
        # A signature that is there must be right; without one the token decides. Carriers name the header
        # differently, but all name it so.
        is_signed = any("signature" in name for name in request.headers)
        verdict = self._verify(carrier, request) if is_signed else Verdict.UNSIGNABLE
        if verdict in (Verdict.FORGED, Verdict.STALE):
            return _FORGED
        token = _token_in(request.query)
        is_proven = verdict is Verdict.GENUINE or (
            token != "" and self.switchboard.is_expected(reference, token)
        )
        address = self.settings.proxies.client(peer, request.headers)
        place = self.census.enter(address, is_proven=is_proven)
        if isinstance(place, Refusal):
            return place
        return Entry(carrier, reference, place, token)

    def _find(self, path: str) -> tuple[Carrier, str] | None:
        match = _STREAM_PATH.fullmatch(path)
        if match is None or not self._carriers:
            return None
        name, reference = match.groups()
        if name is not None and name not in self._names:
            return None
        default = next(iter(self._carriers.values()))
        return self._carriers.get(name or "", default), reference

    def _verify(self, carrier: Carrier, request: WebhookRequest) -> Verdict:
        return carrier.verify(request, host=self.settings.signed_host, now=self.clocks.unix())

    # ------------------------------------------------------------------------------- open sockets

    def opened(self, socket: OpenSocket) -> None:
        """A socket is in use until `gone`."""
        self._open.add(socket)
        self._emptied.clear()

    def gone(self, socket: OpenSocket) -> None:
        """A socket has ended."""
        self._open.discard(socket)
        if not self._open:
            self._emptied.set()

    async def close_all(self, code: int, reason: str, *, within: float) -> None:
        """Close every socket and let no other in; after `within` seconds those left are aborted."""
        self._is_closing = True
        for socket in list(self._open):
            socket.close(code, reason)
        try:
            async with asyncio.timeout(within):
                await self._emptied.wait()
        except TimeoutError:
            self.abort_all()

    def abort_all(self) -> None:
        """Cut every socket off now."""
        self._is_closing = True
        for socket in list(self._open):
            socket.abort()


def headers_of(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Lower-case names; of a repeated header the last value, but of `x-forwarded-for` all of them."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in raw:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1").strip()
        if name == "x-forwarded-for" and name in headers:
            value = f"{headers[name]}, {value}"
        headers[name] = value
    return headers


def _token_in(query: str) -> str:
    try:
        return parse_qs(query, max_num_fields=_MOST_QUERY_FIELDS).get("token", [""])[-1]
    except ValueError:  # more fields than any carrier sends
        return ""


def decoded(raw_path: str) -> str:
    """The path that a raw, percent-encoded one stands for."""
    return unquote(raw_path)
