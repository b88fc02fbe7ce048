"""Who is asking, and how much of us a stranger may take.

A media socket that has not yet shown its token costs memory and a file descriptor, and anybody can open
one. So strangers are counted per client address, and all sockets in total; a socket that has proved whose
call it carries is a stranger no longer, because a carrier brings many calls from few addresses.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class SocketLimits:
    """How much a media socket may take."""

    strangers_per_address: int = 10
    """Sockets of one client address that have not shown a valid token yet."""
    total: int = 1000
    """All media sockets; `max_concurrent_calls + 50` where that is set."""
    proof_seconds: float = 10.0
    """Time to show the token."""
    stranger_bytes: int = 64 * 1024
    """Bytes received before the token."""
    frame_bytes: int = 256 * 1024
    """Longest text frame handed to a call; longer ones are dropped."""
    unsent_bytes: int = 1024 * 1024
    """What may wait for a peer that reads slowly (24 s of wideband audio) before it is cut off."""
    close_seconds: float = 5.0
    """Time a peer has to answer our close frame."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that ends a request before anything came of it."""

    status: int
    detail: str
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


_CROWDED: Final = Refusal(429, "Too Many Requests", {"retry-after": "1"})
_FULL: Final = Refusal(503, "Too many connections")


class Place:
    """The room that one socket takes. Must be left, whatever becomes of the socket."""

    __slots__ = ("_census", "_stranger_of")

    def __init__(self, census: SocketCensus, stranger_of: str | None) -> None:
        """`stranger_of`: the address this socket counts for, `None` when it has proved itself."""
        self._census: SocketCensus | None = census
        self._stranger_of = stranger_of

    def prove(self) -> None:
        """The socket is a stranger no longer. Idempotent."""
        if self._census is not None and self._stranger_of is not None:
            self._census.befriend(self._stranger_of)
            self._stranger_of = None

    def leave(self) -> None:
        """The socket is gone. Idempotent."""
        if self._census is not None:
            self.prove()
            self._census.total -= 1
            self._census = None


class SocketCensus:
    """Counts the media sockets of one server."""

    def __init__(self, limits: SocketLimits) -> None:
        self._limits = limits
        self._strangers: Counter[str] = Counter()
        self.total = 0

    def strangers(self, address: str) -> int:
        """Sockets of this address without proof."""
        return self._strangers[address]

    def enter(self, address: str, *, is_proven: bool) -> Place | Refusal:
        """Take a place: 503 when the house is full, 429 when too many strangers came from there."""
        if self.total >= self._limits.total:
            return _FULL
        if not is_proven:
            if self._strangers[address] >= self._limits.strangers_per_address:
                return _CROWDED
            self._strangers[address] += 1
        self.total += 1
        return Place(self, None if is_proven else address)

    def befriend(self, address: str) -> None:
        """One stranger fewer of this address. Called by `Place` only."""
        self._strangers[address] -= 1
        if self._strangers[address] <= 0:
            del self._strangers[address]


@dataclass(frozen=True, slots=True)
class TrustedProxies:
    """Whose word about the client's address is taken."""

    networks: tuple[_Network, ...] = ()
    tunnel_header: str = ""
    """Header in which a tunnel that this SDK started on this machine names the client, in lower case."""

    @classmethod
    def of(cls, entries: Iterable[str], *, tunnel_header: str = "") -> TrustedProxies:
        """Addresses and networks such as `10.0.0.7` and `10.1.0.0/16`.

        Raises:
            ValueError: an entry is neither.
        """
        networks: list[_Network] = []
        for entry in entries:
            try:
                networks.append(ipaddress.ip_network(entry, strict=False))
            except ValueError as exc:
                message = f"trusted_proxies: {entry!r} is neither an address nor a network"
                raise ValueError(message) from exc
        return cls(tuple(networks), tunnel_header.lower())

    def client(self, peer: str, headers: Mapping[str, str]) -> str:
        """Address of the client, given the peer of the TCP connection.

        `headers` have lower-case names, and repeated `x-forwarded-for` lines joined by commas in their
        order. Headers of a peer that is not trusted mean nothing.
        """
        address = _address(peer)
        if address is None:
            return peer
        if self.tunnel_header and address.is_loopback:
            named = _address(headers.get(self.tunnel_header, ""))
            if named is not None:
                return str(named)
        if not self._trusts(address):
            return str(address)
        return str(self._behind(address, headers.get("x-forwarded-for", "")))

    def _behind(self, peer: _Address, forwarded: str) -> _Address:
        nearest = peer
        for hop in reversed(forwarded.split(",")):
            address = _address(hop)
            if address is None:  # a proxy's own word, or nonsense: what lies behind it is hearsay
                return nearest
            nearest = address
            if not self._trusts(address):
                break
        return nearest

    def _trusts(self, address: _Address) -> bool:
        return any(address in network for network in self.networks)


def _address(text: str) -> _Address | None:
    """Read `1.2.3.4`, `1.2.3.4:567`, `::1`, `[::1]:567`; an IPv4 address inside IPv6 is the IPv4 one."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
