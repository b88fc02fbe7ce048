"""Which addresses a server may be made to ask: public ones, and no others.

A URL in a tool, or a redirect behind it, could point at this machine, its neighbours, or the cloud's metadata
service. So a name is resolved here, every address it has must be public, and the connection goes to the very
address that was checked: a name server that answers differently the second time is not asked a second time.

Ranges: the IANA special-purpose address registries (RFC 6890 and its updates).
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final
from urllib.parse import SplitResult, urlsplit

from getpatter.errors import ErrorCode, PatterConnectionError

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""All addresses of a host name, as text."""

HTTP: Final = frozenset({"http", "https"})
WEBSOCKET: Final = frozenset({"ws", "wss"})
PORTS: Final = {"http": 80, "ws": 80, "https": 443, "wss": 443}

_NOT_PUBLIC_V4: Final = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",
            "240.0.0.0/4",
            "168.63.129.16/32",  # a cloud's metadata and control address, in the middle of a public range
        ),
    )
)
_PUBLIC_V6: Final = ipaddress.IPv6Network("2000::/3")
_NOT_PUBLIC_V6: Final = tuple(
    map(
        ipaddress.IPv6Network,
        (
            "2001::/23",  # protocol assignments; Teredo, which carries an IPv4 address, among them
            "2001:db8::/32",
            "2002::/16",  # 6to4: an IPv4 address inside
            "3fff::/20",
        ),
    )
)
_NUMBER_PART: Final = re.compile(r"0[xX][0-9a-fA-F]*|\d+")


class AddressRefusedError(PatterConnectionError):
    """A URL leads to a place that must not be asked. Nothing was sent."""

    default_code = ErrorCode.INPUT_VALIDATION
    default_retryable = False


def is_public(address: IPAddress) -> bool:
    """Whether an address is one of the public internet. Addresses with another inside are not."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_V4)
    return address in _PUBLIC_V6 and not any(address in network for network in _NOT_PUBLIC_V6)


def judge_url(
    url: str, *, schemes: Collection[str] = HTTP, allow_private: bool = False
) -> SplitResult:
    """The parts of `url`, as far as it can be judged without asking a name server.

    Raises:
        ValueError: its scheme is none of `schemes`, it has no host or a bad port, it carries user and
            password, or its host is an address that is not public. The text does not show the URL.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError("this is no URL") from error
    if parts.scheme not in schemes:
        raise ValueError(f"the URL must begin with {' or '.join(sorted(schemes))}://")
    if not host or port == 0 or re.search(r"[\s\\\x00-\x1f\x7f]", url):
        raise ValueError("the URL has no host, or characters that no URL has")
    if "@" in parts.netloc:
        raise ValueError("the URL must not carry user and password; use a header or a path")
    if not allow_private:
        _judge_host(host.rstrip("."))
    return parts


def _judge_host(host: str) -> None:
    if host == "localhost" or host.endswith(".localhost"):
        raise ValueError("the URL leads to this machine")
    literal = _literal(host)
    if literal is not None and not is_public(literal):
        raise ValueError("the URL leads to an address that is not public")


def _literal(host: str) -> IPAddress | None:
    """The address that a host is; `None` for a name. Other ways to write an IPv4 address are refused."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    last = host.rpartition(".")[2]
    if ":" in host or _NUMBER_PART.fullmatch(last):
        # `2130706433`, `0x7f.1` and `127.1` are 127.0.0.1 to a system's resolver.
        raise ValueError("write the address as four decimal numbers, or use a name")
    return None


async def resolve(host: str, port: int) -> Sequence[str]:
    """Ask the system's resolver, off the loop."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


async def checked_addresses(
    host: str, port: int, *, ask: Resolve = resolve, allow_private: bool = False
) -> list[str]:
    """The addresses of `host`, all of them public.

    Raises:
        AddressRefusedError: one of them is not.
        OSError: there is no such name.
    """
    if not allow_private:
        try:
            _judge_host(host.rstrip("."))
        except ValueError as error:
            raise AddressRefusedError(str(error)) from error
    texts = list(dict.fromkeys(await ask(host, port)))
    for text in texts:
        if not allow_private and not _is_public_text(text):
            raise AddressRefusedError("the name leads to an address that is not public")
    if not texts:
        raise OSError("the name has no address")
    return texts


def _is_public_text(text: str) -> bool:
    try:
        return is_public(ipaddress.ip_address(text))
    except ValueError:  # with a zone, such as fe80::1%eth0
        return False
