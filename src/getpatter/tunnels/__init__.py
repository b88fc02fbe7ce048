"""Public names for a server behind a router: tunnels that the SDK starts, and names that you forward yourself."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

from getpatter.runtime.hosts import checked_host
from getpatter.tunnels._cloudflare import CloudflareTunnel
from getpatter.tunnels._keeping import keep_up

__all__ = ["CloudflareTunnel", "Ngrok", "Static", "StaticTunnel", "Tunnel", "keep_up", "tunnel_of"]


@runtime_checkable
class Tunnel(Protocol):
    """A public host name that leads to a port of this machine."""

    is_started_here: ClassVar[bool]
    """Whether the SDK starts and stops it, so that its end is ours to notice."""
    client_header: ClassVar[str]
    """Header in which it names the client, in lower case; empty when it names none that can be trusted."""

    @property
    def hostname(self) -> str:
        """The public name; empty while there is none."""
        ...

    async def start(self, port: int) -> str:
        """Lead the name to `port` on the loopback address; returns the name.

        Raises:
            PatterConnectionError: it did not come up.
        """
        ...

    async def lost(self) -> None:
        """Wait until the tunnel ends by itself, which one that is not ours never does."""
        ...

    async def stop(self) -> None:
        """End it. Idempotent."""
        ...


@dataclass(frozen=True, slots=True)
class Static:
    """A host name that you already forward to this machine. The SDK starts nothing.

    Raises:
        ValueError: no name, or not a bare host name.
    """

    is_started_here: ClassVar[bool] = False
    client_header: ClassVar[str] = ""

    hostname: str

    def __post_init__(self) -> None:
        if not checked_host(self.hostname, name="hostname"):
            raise ValueError("hostname is empty: pass Static(hostname='abc123.ngrok.io')")

    async def start(self, port: int) -> str:
        """The name; `port` is for whoever forwards it."""
        del port
        return self.hostname

    async def lost(self) -> None:
        """Wait for ever."""
        await asyncio.get_running_loop().create_future()

    async def stop(self) -> None:
        """Nothing: it is not ours."""


@dataclass(frozen=True, slots=True)
class Ngrok:
    """The host name of an ngrok tunnel that you run yourself (`ngrok http 8000`).

    Raises:
        NotImplementedError: no name; the SDK does not start ngrok.
        ValueError: not a bare host name.
    """

    is_started_here: ClassVar[bool] = False
    client_header: ClassVar[str] = ""

    hostname: str = ""

    def __post_init__(self) -> None:
        if not self.hostname:
            raise NotImplementedError(
                "getpatter does not start ngrok: run 'ngrok http 8000' and pass Ngrok(hostname=...)"
            )
        checked_host(self.hostname, name="hostname")

    async def start(self, port: int) -> str:
        """The name; `port` is for whoever forwards it."""
        del port
        return self.hostname

    async def lost(self) -> None:
        """Wait for ever."""
        await asyncio.get_running_loop().create_future()

    async def stop(self) -> None:
        """Nothing: it is not ours."""


StaticTunnel = Static


def tunnel_of(value: object) -> Tunnel | None:
    """What a program means by `tunnel=`: `True` is a `CloudflareTunnel()`, `None` and `False` are none.

    Raises:
        TypeError: it is something else.
    """
    if value is None or value is False:
        return None
    if value is True:
        return CloudflareTunnel()
    if isinstance(value, (CloudflareTunnel, Static, Ngrok)) or (
        not isinstance(value, type) and isinstance(value, Tunnel)
    ):
        return value
    raise TypeError(
        "tunnel must be True, CloudflareTunnel(), Static(hostname=...) or Ngrok(hostname=...), "
        f"not {type(value).__name__}"
    )
